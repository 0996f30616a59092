"""The makes of QUIC: how each is started as a server and as a client, and what it cannot do."""

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


def find(weir, scratch, say):
    """Those that are there or can be had; what cannot is said."""
    found = [Weir(weir)]
    home = Path(scratch) / "aioquic"
    python = home / "bin/python3"
    try:
        if not python.exists():
            say("installing aioquic ..")
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "aioquic"]
            subprocess.run(command, check=True, stdout=sys.stderr)
        found.append(Aioquic(python))
    except (OSError, subprocess.CalledProcessError) as fault:
        say(f"aioquic is left out: {fault}")
    return found
