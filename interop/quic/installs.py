"""Gets the other makes that can be had: from PyPI, Debian and the Rust registry, into a directory of the run."""

import os
import subprocess
import sys
from pathlib import Path

from . import peers

HERE = peers.HERE


def run(*command, **more):
    """Runs a command; what it prints."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True, **more)
    return done.stdout.strip()


def python_with(home, package, say):
    """A Python of its own that has the package, and the package's version."""
    python = home / "bin/python3"
    if not python.exists():
        say(f"installing {package} ..")
        run(sys.executable, "-m", "venv", home)
        run(python, "-m", "pip", "install", "--quiet", package)
    return python, run(python, "-c", f"import importlib.metadata as m; print(m.version('{package}'))")


def unpacked(scratch, package, program, say):
    """A program of a Debian package that is not installed, because its installation would start a service; and its version."""
    home = scratch / package
    if not (home / program).exists():
        say(f"fetching {package} ..")
        home.mkdir(exist_ok=True)
        run("apt-get", "download", package, cwd=home, stderr=subprocess.DEVNULL)
        for file in home.glob("*.deb"):
            run("dpkg-deb", "-x", file, home)
    file = next(home.glob("*.deb"))
    return home / program, run("dpkg-deb", "--field", file, "Version")


def aioquic(scratch, say):
    return [peers.aioquic(*python_with(scratch / "aioquic", "aioquic", say))]


def curl(scratch, say):
    python, version = python_with(scratch / "curl", "curl_cffi", say)
    words = run(python, "-c", "import curl_cffi; print(curl_cffi.Curl().version().decode())")
    known = dict(word.split("/", 1) for word in words.split() if "/" in word)
    library = known["libcurl"].split("-")[0]
    return [peers.curl(python, f"{library} with ngtcp2 {known['ngtcp2']} (curl_cffi {version})")]


def quic_go(scratch, say):
    say("building the quic-go peer ..")
    program = scratch / "quic-go-peer"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOCACHE": str(scratch / "go-cache")}
    run("go", "build", "-o", program, ".", cwd=HERE / "go", env=env)
    package = "golang-github-lucas-clemente-quic-go-dev"
    return [peers.quic_go(program, run("dpkg-query", "--show", "--showformat", "${Version}", package))]


def quiche(scratch, say):
    say("building the quiche peer ..")
    manifest, target = HERE / "quiche/Cargo.toml", scratch / "quiche"
    run("cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir", target)
    tree = run("cargo", "tree", "--manifest-path", manifest, "--depth", "1", "--prefix", "none")
    version = next(line.split()[1] for line in tree.splitlines() if line.startswith("quiche v"))
    return [peers.quiche(target / "release/quiche-peer", version.lstrip("v"))]


def ngtcp2(scratch, say):
    server, version = unpacked(scratch, "ngtcp2-server", "usr/sbin/gtlsserver", say)
    client, _ = unpacked(scratch, "ngtcp2-client", "usr/bin/gtlsclient", say)
    return peers.ngtcp2(version, server, client)


def caddy(scratch, say):
    program, version = unpacked(scratch, "caddy", "usr/bin/caddy", say)
    return [peers.caddy(program, version)]


MAKES = {"aioquic": aioquic, "quic-go": quic_go, "Caddy": caddy, "quiche": quiche, "ngtcp2": ngtcp2, "curl": curl}


def find(weir, scratch, say, wanted=()):
    """weir, then those of the wanted makes (all, when none is named) that are there or can be had; what cannot is said."""
    found, scratch = [peers.Weir(weir)], Path(scratch).resolve()
    for name, make in MAKES.items():
        if wanted and name not in wanted:
            continue
        try:
            found += make(scratch, say)
        except (OSError, subprocess.CalledProcessError, KeyError, StopIteration) as fault:
            say(f"{name} is left out: {fault}")
    return found
