"""The makes of QUIC: how each is started as a server and as a client, and what it cannot do."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HTTP3 = "h3"


class Weir:
    name, roles, alpn = "weir", ("server", "client"), None
    cannot = faults = {"server": {}, "client": {}}

    def __init__(self, program):
        self.program = str(program)
        words = subprocess.run([self.program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.version = words.split()[-1]

    def server(self, case, place, address):
        any_address = "0.0.0.0" if "preferred-address" in case.ask else address
        command = [self.program, "interop", "server", "--addr", f"{any_address}:0", "--json", "--www", place.www]
        command += ["--cert", place.cert, "--key", place.key, "--keylog", place.keys("server")]
        command += ["--retry"] if "retry" in case.ask else []
        command += ["--cipher", "chacha20"] if "chacha20" in case.ask else []
        command += ["--version", "v2,v1"] if "v2" in case.ask else []
        command += ["--preferred-address", "127.0.0.2"] if "preferred-address" in case.ask else []
        return [str(word) for word in [*command, *self.pcap(case, place)]]

    def pcap(self, case, place):
        """The preferred address is not behind the network: what goes there is seen by an end alone."""
        return ["--pcap", place.root / "end.pcap"] if "preferred-address" in case.ask else []

    def client(self, case, place, address, paths):
        command = [self.program, "interop", "client", "--connect", address, "--name", "server", "--ca", place.ca]
        command += ["--alpn", case.alpn, "--out", place.got, "--json", "--keylog", place.keys("client")]
        command += ["--timeout", f"{case.secs}s"]
        command += ["--cipher", "chacha20"] if "chacha20" in case.ask else []
        command += ["--version", "v2,v1", "--begin-with", "v1"] if "v2" in case.ask else []
        for option in ("resume", "early-data", "many", "key-update"):
            command += [f"--{option}"] if option in case.ask else []
        return [str(word) for word in [*command, *self.pcap(case, place), *paths]]


def by_side(said):
    return {side: {**said.get("both", {}), **said.get(side, {})} for side in ("server", "client")}


class Peer:
    """A program of another make. All of them have the same command line; `options` are those of what a case asks for that it knows
    of, `more` is given to it always. `cannot` says by side ("server", "client", "both") which cases it cannot do, and why; `faults`
    which it does wrong itself, at times."""

    def __init__(self, name, version, command, options, cannot, faults=None, roles=("server", "client"), alpn=None, more=()):
        self.name, self.version, self.roles, self.alpn = name, version, roles, alpn
        self.program, self.options, self.more = [str(word) for word in command], options, more
        self.cannot, self.faults = by_side(cannot), by_side(faults or {})

    def command(self, case, side, given):
        command = [*self.program, side, *self.more]
        for option in self.options:
            command += [f"--{option}"] if option in case.ask else []
        for option, value in given.items():
            command += [f"--{option}", str(value)]
        return command

    def server(self, case, place, address):
        any_address = "0.0.0.0" if "preferred-address" in case.ask else address
        given = {"addr": f"{any_address}:0", "cert": place.cert, "key": place.key, "www": place.www}
        if "preferred-address" in case.ask:
            given["preferred-address"] = "127.0.0.2"
        return self.command(case, "server", {**given, **self.common(case, place, "server")})

    def client(self, case, place, address, paths):
        given = {"connect": address, "name": "server", "ca": place.ca, "out": place.got}
        return [*self.command(case, "client", {**given, **self.common(case, place, "client")}), *paths]

    def common(self, case, place, side):
        return {"keylog": place.keys(side)} | ({} if self.alpn else {"alpn": case.alpn})


NO_V2 = "it has no version 2"
NO_MARKS = "it does not mark packets"
NO_PREFERRED = "it has no preferred address"
ANY_SUITE = "its TLS chooses the suite by itself"
STAYS = "its server does not follow a client to another address"
UPDATES_BY_ITSELF = "it updates keys by itself, not when asked"


def aioquic(python, version):
    cannot = {"connectionmigration": NO_PREFERRED, "ecn": NO_MARKS}
    options = ("retry", "chacha20", "v2", "resume", "early-data", "many", "key-update")
    return Peer("aioquic", version, [python, HERE / "aioquic_peer.py"], options, {"both": cannot})


def quic_go(program, version):
    cannot = {"chacha20": ANY_SUITE, "ecn": NO_MARKS, "v2": NO_V2, "connectionmigration": NO_PREFERRED}
    stays = {"rebind-port": STAYS, "rebind-addr": STAYS}
    cannot = {"both": cannot, "client": {"keyupdate": UPDATES_BY_ITSELF}, "server": stays}
    return Peer("quic-go", version, [program], ("retry", "resume", "early-data", "many"), cannot)


def quiche(program, version):
    cannot = {"chacha20": ANY_SUITE, "ecn": NO_MARKS, "v2": NO_V2, "connectionmigration": NO_PREFERRED}
    cannot = {"both": cannot, "client": {"keyupdate": UPDATES_BY_ITSELF}}
    late = "its time-outs grow until the handshake or the connection is given up"
    options = ("retry", "resume", "early-data", "many")
    return Peer("quiche", version, [program], options, cannot, {"both": {"handshakeloss": late}})


def ngtcp2(version, server, client):
    """Two programs, so that two peers have one name."""
    options = ("retry", "chacha20", "resume", "early-data", "many", "key-update")
    cannot = {"both": {"v2": "it has a draft of version 2"}}
    faults = {
        "handshakecorruption": "a token that a broken packet spoilt ends the connection",
        "rebind-port": "it acknowledges at the new address before it challenges it",
        "rebind-addr": "it acknowledges at the new address before it challenges it",
    }
    command = [sys.executable, HERE / "ngtcp2_peer.py"]
    made = []
    for role, program in (("server", server), ("client", client)):
        more = ("--program", str(program))
        made.append(Peer("ngtcp2", version, command, options, cannot, roles=(role,), alpn=HTTP3, more=more, faults={"server": faults}))
    return made


def caddy(program, version):
    """A server on quic-go too, but another version of it, and set up as people do."""
    cannot = {"chacha20": ANY_SUITE, "ecn": NO_MARKS, "v2": NO_V2, "connectionmigration": NO_PREFERRED}
    cannot |= {"retry": "it has no setting for it", "rebind-port": STAYS, "rebind-addr": STAYS}
    command = [sys.executable, HERE / "caddy_peer.py"]
    more = ("--program", str(program))
    return Peer("Caddy", version, command, (), {"both": cannot}, roles=("server",), alpn=HTTP3, more=more)


def curl(python, version):
    cannot = {
        "chacha20": ANY_SUITE,
        "v2": NO_V2,
        "resumption": "it keeps no sessions of HTTP/3",
        "zerortt": "it keeps no sessions of HTTP/3",
        "keyupdate": UPDATES_BY_ITSELF,
        "ecn": NO_MARKS,
        "connectionmigration": "it does not move to a preferred address",
    }
    faults = {
        "multiplexing": "it begins another connection when the streams of the first are used up for a moment",
        "handshakecorruption": "it gives a handshake up after ten seconds",
    }
    command = [python, HERE / "curl_peer.py"]
    return Peer("curl", version, command, ("many",), {"both": cannot}, {"client": faults}, roles=("client",), alpn=HTTP3)
