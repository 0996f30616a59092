"""Runs the public QUIC interop cases between weir and other makes, through `weir lab`, and judges them."""

import json
import os
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from . import capture, certificates, installs
from .cases import cases
from .report import FAILED, FAULT, PASSED, Results


# Fifty handshakes at 30 % loss take minutes, and say by their number what a few transfers say too.
SLOW = ("handshakeloss", "handshakecorruption")


def add_options(parser):
    """What the suite wants to know."""
    parser.add_argument("--only", default="", help="only the cases whose line contains this")
    parser.add_argument("--peers", default=[], type=lambda names: names.split(","), help="QUIC with these makes alone")
    parser.add_argument("--keep", help="keep captures, keys and words of every QUIC case in this directory")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="QUIC cases that run at once")
    parser.add_argument("--docs", action="store_true", help="write the table of QUIC cases into docs/interop.md")


class Place:
    """A run's directory: certificates, files, keys, captures."""

    def __init__(self, root, certs):
        self.root, self.cert, self.key, self.ca = root, certs / "cert.pem", certs / "key.pem", certs / "ca.pem"
        self.www, self.got = root / "www", root / "got"
        self.www.mkdir(parents=True)
        self.got.mkdir()

    def keys(self, side):
        return self.root / f"{side}.keys"

    def fill(self, case):
        """Makes the files anew; the paths that ask for them."""
        names = []
        for number, size in enumerate(case.files):
            # A letter first: ngtcp2's server makes up a file whose name is a number.
            name = f"f{number:04}" + os.urandom(case.names // 2).hex()[: case.names - 5]
            (self.www / name).write_bytes(os.urandom(size))
            names.append(name)
        return [f"/{name}" for name in names]

    def judge_files(self):
        served, got = ({path.name: path for path in where.iterdir()} for where in (self.www, self.got))
        if served.keys() != got.keys():
            return f"{len(got)} of {len(served)} files came"
        wrong = sum(served[name].read_bytes() != got[name].read_bytes() for name in served)
        return f"{wrong} files are not the same" if wrong else None


class Child:
    """A process whose words go to files."""

    def __init__(self, command, place, name):
        self.out, self.err = (place.root / f"{name}.{kind}" for kind in ("out", "err"))
        env = {key: value for key, value in os.environ.items() if key not in ("SSLKEYLOGFILE", "QLOGDIR")}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=env)

    def lines(self):
        found = []
        for line in self.out.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                found.append(json.loads(line))
        return found

    def listening(self):
        for _ in range(400):
            for line in self.lines():
                if "listening" in line:
                    return line["listening"]
            if self.process.poll() is not None:
                break
            time.sleep(0.025)
        raise RuntimeError(f"does not listen: {self.words()}")

    def words(self):
        lines = [line for line in self.err.read_text(errors="replace").splitlines() if "WARN" not in line]
        return " / ".join(lines[-3:])[-300:]

    def wait(self, secs):
        try:
            return self.process.wait(secs)
        except subprocess.TimeoutExpired:
            return None

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if self.wait(5) is None:
                self.process.kill()
                self.process.wait()


class Run:
    """What there is to judge of a case: captures on both sides of the network, the client's words."""

    def __init__(self, case, place, lines, lab_port, server_port, server_is_weir):
        keys = [place.keys(side) for side in ("client", "server")]
        self.lines, self.server_is_weir = lines, server_is_weir
        self.client = capture.Capture(place.root / "client.pcap", keys, lab_port, first=case.packets)
        self.server = capture.Capture(place.root / "server.pcap", keys, server_port, first=case.packets)
        end = place.root / "end.pcap"
        self.end = capture.Capture(end, keys, server_port, first=case.packets) if end.exists() else None


def port_of(address):
    return int(address.rsplit(":", 1)[1])


class Suite:
    def __init__(self, weir, scratch, say, options):
        """`options`: `only` a text that a case's line contains, `peers` the wanted makes (all when empty), `keep` a directory,
        `quick`, and `jobs`, how many cases run at once."""
        self.weir, self.say, self.options = str(weir), say, options
        self.scratch = Path(scratch)
        self.peers = installs.find(weir, self.scratch, say, options.peers)
        self.held = tempfile.TemporaryDirectory(dir=self.scratch)
        self.certs = Path(self.held.name)
        certificates.make(self.certs / "short")
        certificates.make(self.certs / "long", length=9, names=certificates.long_names())
        self.results = Results(self.scratch / "quic-results.json")
        self.notes = {}
        if options.only or options.peers or options.quick:
            self.results.load()
        self.results.versions |= {peer.name: peer.version for peer in self.peers}

    def pairs(self):
        """Those that weir is part of: client and server."""
        weir, others = self.peers[0], self.peers[1:]
        yield weir, weir
        for other in others:
            if "server" in other.roles:
                yield weir, other
            if "client" in other.roles:
                yield other, weir

    def run(self, result):
        """Every case in every pairing; `result(title, fault)` hears of each."""
        with ThreadPoolExecutor(self.options.jobs) as pool:
            for client, server in self.pairs():
                for case in cases():
                    self.begin(pool, result, replace(case, alpn=client.alpn or server.alpn or case.alpn), client, server)

    def begin(self, pool, result, case, client, server):
        title, key = f"quic {case.name}: {client.name} client, {server.name} server", (case.name, client.name, server.name)
        known = client.faults["client"].get(case.name) or server.faults["server"].get(case.name)
        if known:
            self.notes[key] = known
            if self.results.found.get(key) == FAILED:
                self.results.found[key] = FAULT
        if self.options.only not in title or (self.options.quick and case.name in SLOW):
            return
        why = client.cannot["client"].get(case.name) or server.cannot["server"].get(case.name)
        if why:
            self.results.put(key, why)
            return

        def work():
            began = time.monotonic()
            try:
                fault = self.case(case, client, server)
            except (RuntimeError, OSError, KeyError, ValueError, ElementTree.ParseError) as error:
                fault = f"{type(error).__name__}: {error}"
            took = f"({time.monotonic() - began:.1f} s)"
            if fault is not None and known:
                self.results.put(key, FAULT)
                self.say(f"peer {title} {took}: {known}: {fault}")
                return
            self.results.put(key, PASSED if fault is None else FAILED)
            result(f"{title} {took}", fault)

        pool.submit(work)

    def case(self, case, client, server):
        certs = self.certs / ("long" if case.chain else "short")
        keep = self.options.keep
        kept = keep and Path(keep) / f"{case.name}-{client.name}-{server.name}"
        if kept:
            subprocess.run(["rm", "-rf", str(kept)], check=True)
            kept.mkdir(parents=True)
            return self.in_place(case, client, server, Place(kept / "run", certs))
        with tempfile.TemporaryDirectory(dir=self.scratch) as root:
            return self.in_place(case, client, server, Place(Path(root) / "run", certs))

    def in_place(self, case, client, server, place):
        paths, children = place.fill(case), []
        try:
            serving = Child(server.server(case, place, case.address), place, "server")
            children.append(serving)
            inside = port_of(serving.listening())
            lab = [self.weir, "lab", "--json", "--seed", "1", "--listen", f"{case.address}:0", "--to", f"{case.address}:{inside}"]
            lab += ["--pcap-client", str(place.root / "client.pcap"), "--pcap-server", str(place.root / "server.pcap")]
            between = Child([*lab, *case.link], place, "lab")
            children.append(between)
            outside = between.listening()
            fetching = Child(client.client(case, place, outside, paths), place, "client")
            children.append(fetching)
            code = fetching.wait(case.secs + 5)
        finally:
            for child in reversed(children):
                child.end()
        if code != 0:
            return f"the client ended with {code}: {fetching.words()} (server: {serving.words()})"
        run = Run(case, place, fetching.lines(), port_of(outside), inside, server.name == self.peers[0].name)
        return place.judge_files() or self.judge(case, run)

    @staticmethod
    def judge(case, run):
        if case.handshakes is not None and run.server.handshakes() != case.handshakes:
            return f"{run.server.handshakes()} handshakes instead of {case.handshakes}"
        versions = {packet.version for packet in run.client.packets("initial", server=True)}
        if case.version_rule and versions != {capture.V1}:
            return f"the server's Initials have versions {versions}"
        return case.rule(run) if case.rule else None

    def table(self):
        return self.results.table(self.peers[0].name, [case.name for case in cases()])

    def write(self, docs):
        """Puts the results into the document."""
        self.results.write(docs, self.peers[0].name, [case.name for case in cases()], self.notes)
