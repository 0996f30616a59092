"""The makes of QUIC: how each is started as a server and as a client, and what it cannot do."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Weir:
    name = "weir"
    cannot = {"server": {}, "client": {}}

    def __init__(self, program):
        self.program = str(program)
        words = subprocess.run([self.program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.version = words.split()[-1]

    def server(self, case, place, address):
        any_address = "0.0.0.0" if "preferred-address" in case.ask else address
        command = [self.program, "interop", "server", "--addr", f"{any_address}:0", "--json", "--www", place.www]
        command += ["--cert", place.cert, "--key", place.key, "--keylog", place.keys("server")]
        ask = case.ask
        command += ["--retry"] if "retry" in ask else []
        command += ["--cipher", "chacha20"] if "chacha20" in ask else []
        command += ["--version", "v2,v1"] if "v2" in ask else []
        command += ["--preferred-address", "127.0.0.2"] if "preferred-address" in ask else []
        return [str(word) for word in command]

    def client(self, case, place, address, paths):
        command = [self.program, "interop", "client", "--connect", address, "--name", "server", "--ca", place.ca]
        command += ["--alpn", case.alpn, "--out", place.got, "--json", "--keylog", place.keys("client")]
        command += ["--timeout", f"{case.secs}s"]
        ask = case.ask
        command += ["--cipher", "chacha20"] if "chacha20" in ask else []
        for option in ("resume", "early-data", "many", "key-update"):
            command += [f"--{option}"] if option in ask else []
        return [str(word) for word in [*command, *paths]]


class Aioquic:
    name = "aioquic"
    cannot = {
        "server": {"connectionmigration": "it offers no preferred address"},
        "client": {"connectionmigration": "it does not move to a preferred address"},
    }

    def __init__(self, python):
        self.python = str(python)
        code = "import importlib.metadata as m; print(m.version('aioquic'))"
        found = subprocess.run([self.python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        self.version = found.stdout.strip()

    def common(self, case, place, side):
        command = [self.python, str(HERE / "aioquic_peer.py"), side, "--keylog", place.keys(side)]
        command += ["--alpn", case.alpn]
        for option in ("retry", "chacha20", "v2", "resume", "early-data", "many", "key-update"):
            command += [f"--{option}"] if option in case.ask else []
        return command

    def server(self, case, place, address):
        command = self.common(case, place, "server")
        command += ["--addr", f"{address}:0", "--cert", place.cert, "--key", place.key, "--www", place.www]
        return [str(word) for word in command]

    def client(self, case, place, address, paths):
        command = self.common(case, place, "client")
        command += ["--connect", address, "--name", "server", "--ca", place.ca, "--out", place.got]
        return [str(word) for word in [*command, *paths]]


QUIC_GO_CANNOT = {
    "chacha20": "crypto/tls chooses the suites of TLS 1.3 by itself",
    "ecn": "this version does not mark packets",
    "v2": "this version does not negotiate compatible versions",
    "connectionmigration": "this version does not migrate",
}


class QuicGo:
    name = "quic-go"
    cannot = {
        "server": QUIC_GO_CANNOT,
        "client": {**QUIC_GO_CANNOT, "keyupdate": "it updates keys by itself, not when asked"},
    }

    def __init__(self, program, version):
        self.program, self.version = str(program), version

    def common(self, case, place, side):
        command = [self.program, side, "--keylog", place.keys(side), "--alpn", case.alpn]
        for option in ("retry", "resume", "early-data", "many"):
            command += [f"--{option}"] if option in case.ask else []
        return command

    def server(self, case, place, address):
        command = self.common(case, place, "server")
        command += ["--addr", f"{address}:0", "--cert", place.cert, "--key", place.key, "--www", place.www]
        return [str(word) for word in command]

    def client(self, case, place, address, paths):
        command = self.common(case, place, "client")
        command += ["--connect", address, "--name", "server", "--ca", place.ca, "--out", place.got]
        return [str(word) for word in [*command, *paths]]


class Caddy:
    """A server for HTTP/3 alone, on quic-go too, but another version of it, and set up as people do."""

    name = "caddy"

    def __init__(self, version):
        self.version = version

    class All(dict):
        def get(self, case, default=None):
            return default if case == "http3" else "it speaks HTTP/3 alone"

    cannot = {"server": All(), "client": All()}

    def server(self, case, place, address):
        command = [sys.executable, str(HERE / "caddy_peer.py"), "--addr", address, "--work", place.root]
        command += ["--cert", place.cert, "--key", place.key, "--www", place.www]
        return [str(word) for word in command]


def aioquic(scratch, say):
    home = Path(scratch) / "aioquic"
    python = home / "bin/python3"
    if not python.exists():
        say("installing aioquic ..")
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "aioquic"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return Aioquic(python)


def quic_go(scratch, say):
    say("building the quic-go peer ..")
    program = Path(scratch).resolve() / "quic-go-peer"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    env["GOCACHE"] = str(Path(scratch).resolve() / "go-cache")
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE / "go", env=env, check=True)
    command = ["dpkg-query", "--show", "--showformat", "${Version}", "golang-github-lucas-clemente-quic-go-dev"]
    return QuicGo(program, subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def caddy(scratch, say):
    found = subprocess.run(["caddy", "version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return Caddy(found.stdout.split()[0])


def find(weir, scratch, say):
    """Those that are there or can be had; what cannot is said."""
    found = [Weir(weir)]
    for make in (aioquic, quic_go, caddy):
        try:
            found.append(make(scratch, say))
        except (OSError, subprocess.CalledProcessError) as fault:
            say(f"{make.__name__.replace('_', '-')} is left out: {fault}")
    return found
