#!/usr/bin/env python3
"""Judges yamux row by row, speaking frames by hand: as client of `weir echo server`, as server of `weir echo client`.

    interop/judge/judge.py --weir target/release/weir
    interop/judge/judge.py --weir target/release/weir --row y26
    interop/judge/judge.py --address 127.0.0.1:4000          any server that echoes every stream
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import as_client  # noqa: E402
import as_server  # noqa: E402
from frames import NORMAL, SYN, Wire, Wrong, must  # noqa: E402


class Server:
    """The echo server that is judged; one that this program started can be asked for its memory."""

    def __init__(self, address, process=None):
        host, _, port = address.rpartition(":")
        self.address = (host.strip("[]"), int(port))
        self.process = process

    @classmethod
    def start(cls, weir):
        command = [weir, "echo", "server", "--via", "yamux-plain", "--addr", "127.0.0.1:0", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        if not line.startswith("{"):
            sys.exit(f"weir echo server does not start: {line}{process.communicate()[1]}")
        return cls(json.loads(line)["listening"], process)

    def rss(self):
        """Resident memory in bytes; 0 when it is not known."""
        if self.process is None:
            return 0
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def y49_server_ends(server):
    """a server that is told to end says Go Away 0, then closes, and exits with 0"""
    with Wire.connect(server.address) as wire:
        wire.send_data(1, b"x", SYN)
        wire.until(lambda f: f.payload == b"x", "no echo")
        server.process.send_signal(signal.SIGTERM)
        list(wire.frames(0.5))
        must(wire.goes_away == NORMAL, f"Go Away 0 expected, got {wire.goes_away}")
    try:
        server.process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        raise Wrong("the server still runs after 20 s") from None
    must(server.process.returncode == 0, f"exit code {server.process.returncode}")


class Tally:
    """Prints a line for each check and counts."""

    def __init__(self, only):
        self.only, self.passed, self.failed = only.lower(), 0, 0

    def check(self, role, check, call):
        row = check.__name__.split("_")[0]
        if self.only and self.only not in (row, check.__name__):
            return
        name = f"judge {row.upper()} as {role}: {check.__doc__.strip()}"
        try:
            shown = call()
        except (Wrong, OSError) as wrong:
            self.failed += 1
            print(f"FAIL {name}: {wrong}", flush=True)
        else:
            self.passed += 1
            print(f"ok   {name}" + (f" ({shown})" if shown else ""), flush=True)


def judge_server(server, tally):
    for check in as_client.CHECKS:
        tally.check("client", check, lambda: as_client.run(check, server))
        if server.process and server.process.poll() is not None:
            sys.exit(f"the server is gone: {server.process.communicate()[1]}")
    if server.process:
        tally.check("client", y49_server_ends, lambda: y49_server_ends(server))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the weir command")
    parser.add_argument("--address", help="judge a server that already runs, instead")
    parser.add_argument("--row", default="", help="only this row (y26) or this check (y26_past_the_receive_window)")
    args = parser.parse_args()
    if bool(args.weir) == bool(args.address):
        parser.error("--weir or --address")
    tally = Tally(args.row)
    server = Server.start(args.weir) if args.weir else Server(args.address)
    try:
        judge_server(server, tally)
    finally:
        server.stop()
    if args.weir:
        command = [args.weir, "echo", "client", "--via", "yamux-plain"]
        for check in as_server.CHECKS:
            tally.check("server", check, lambda: check(command))
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
