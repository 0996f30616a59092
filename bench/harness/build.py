"""Builds weir and its peers; a peer that cannot be had is left out, and why is said."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
GO_YAMUX = "github.com/libp2p/go-yamux/v5"
GO_YAMUX_VERSION = "v5.1.0"
# A module proxy that does not answer must not hold the benchmark up.
MODULE_SECS = 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def target_dir(manifest):
    out = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path", str(manifest)],
        check=True, stdout=subprocess.PIPE,
    )
    return Path(json.loads(out.stdout)["target_directory"])


def cargo(manifest, *more):
    say(f"building {' '.join((manifest.parent.name or str(manifest), *more[1:]))} ..")
    subprocess.run(["cargo", "build", "--release", "--quiet", "--manifest-path", str(manifest), *more], check=True)
    return target_dir(manifest) / "release"


def can_be_built(package):
    """None when it is built, else why it is not."""
    manifest = BENCH / "Cargo.toml"
    if package == "bench-quiche" and shutil.which("cmake") is None:
        return "it builds BoringSSL and needs cmake: apt-get install cmake, or pip install cmake"
    try:
        cargo(manifest, "--package", package)
    except subprocess.CalledProcessError:
        return f"{package} could not be built; what went wrong stands above"
    return None


def go_environment(scratch, **more):
    return {**os.environ, "GOCACHE": str(scratch / "cache"), "GOFLAGS": "", **more}


def build_hashicorp(scratch):
    """Against the sources that Debian's golang-github-hashicorp-yamux-dev installs."""
    if not Path("/usr/share/gocode/src/github.com/hashicorp/yamux").is_dir():
        return None, "not installed: apt-get install golang-go golang-github-hashicorp-yamux-dev"
    out = scratch / "hashicorp"
    env = go_environment(scratch, GO111MODULE="off", GOPATH="/usr/share/gocode")
    done = subprocess.run(["go", "build", "-tags", "hashicorp", "-o", str(out), "."], cwd=BENCH / "peers/go", env=env)
    return (out, None) if done.returncode == 0 else (None, "go build failed")


def build_go_yamux(scratch, gopath):
    """From a GOPATH that holds it, else by Go modules where a module proxy is reachable."""
    out = scratch / "go-yamux"
    command = ["go", "build", "-tags", "libp2p", "-o", str(out), "."]
    if gopath:
        env = go_environment(scratch, GO111MODULE="off", GOPATH=str(Path(gopath).resolve()))
        done = subprocess.run(command, cwd=BENCH / "peers/go", env=env)
        return (out, None) if done.returncode == 0 else (None, "go build failed")
    module = scratch / "module"
    shutil.rmtree(module, ignore_errors=True)
    module.mkdir(parents=True)
    for source in ("main.go", "libp2p.go"):
        shutil.copy(BENCH / "peers/go" / source, module)
    (module / "go.mod").write_text("module peer\n\ngo 1.19\n")
    env = go_environment(scratch, GO111MODULE="on")
    try:
        for step in (["go", "get", f"{GO_YAMUX}@{GO_YAMUX_VERSION}"], command):
            done = subprocess.run(step, cwd=module, env=env, timeout=MODULE_SECS, stderr=subprocess.PIPE)
            if done.returncode != 0:
                return None, "its module could not be downloaded; give --go-yamux GOPATH"
    except subprocess.TimeoutExpired:
        return None, "the module proxy does not answer; give --go-yamux GOPATH"
    return out, None


def build(wanted, args):
    """Maps each implementation's name to its command; and those left out to the reason."""
    from .plan import GO, RUST, WEIR

    commands, missing = {}, {}
    if any(name in WEIR for name in wanted):
        weir = cargo(ROOT / "Cargo.toml", "--package", "weir-cli") / "weir"
        for name, via in WEIR.items():
            commands[name] = ([str(weir), "perf"], ["--via", via, "--json"])
    peers = cargo(BENCH / "Cargo.toml", "--package", "bench-peer")
    for name in RUST:
        commands[name] = ([str(peers / "bench-peer")], ["--impl", name, "--json"])
    scratch = peers.parent / "go"
    scratch.mkdir(parents=True, exist_ok=True)
    for name in GO:
        if name not in wanted:
            continue
        if shutil.which("go") is None:
            missing[name] = "no Go toolchain: apt-get install golang-go golang-github-hashicorp-yamux-dev"
            continue
        built, why = build_hashicorp(scratch) if name == "hashicorp" else build_go_yamux(scratch, args.go_yamux)
        if built:
            commands[name] = ([str(built)], [])
        else:
            missing[name] = why
    return commands, missing


def build_quic(wanted, _args):
    """The same for QUIC."""
    from .plan_quic import PEERS, WEIR

    commands, missing = {}, {}
    if any(name in WEIR for name in wanted):
        weir = cargo(ROOT / "Cargo.toml", "--package", "weir-cli") / "weir"
        for name, via in WEIR.items():
            commands[name] = ([str(weir), "perf"], ["--via", via, "--json"])
    packages = sorted({PEERS[name] for name in wanted if name in PEERS})
    faults = {package: can_be_built(package) for package in packages}
    programs = target_dir(BENCH / "Cargo.toml") / "release"
    for name, package in PEERS.items():
        if name in wanted and faults[package]:
            missing[name] = faults[package]
        elif name in wanted:
            # s2n-tls trusts nobody blindly: the server leaves its certificate there for the client.
            trust = ["--certificate", str(programs / "bench-certificate.pem")] if name == "s2n-quic" else []
            commands[name] = ([str(programs / package)], ["--impl", name, "--json", *trust])
    return commands, missing


def build_gvisor(scratch):
    """Against the sources that Debian's golang-gvisor-gvisor-dev installs."""
    if shutil.which("go") is None or not Path("/usr/share/gocode/src/gvisor.dev/gvisor").is_dir():
        return None, "not installed: apt-get install golang-go golang-gvisor-gvisor-dev"
    out = scratch / "gvisor"
    env = go_environment(scratch, GO111MODULE="off", GOPATH="/usr/share/gocode")
    done = subprocess.run(["go", "build", "-o", str(out), "."], cwd=ROOT / "interop/gvisor", env=env)
    return (out, None) if done.returncode == 0 else (None, "go build failed")


def build_tcpip(wanted, _args):
    """Stacks over a TUN device: one program for all that are Rust, which is the client of every server."""
    from .plan_tcpip import GVISOR, PROGRAM, RUST

    if not Path("/dev/net/tun").exists():
        return {}, {name: "there is no /dev/net/tun" for name in wanted}
    fault = can_be_built(PROGRAM)
    if fault:
        return {}, {name: fault for name in wanted}
    program = [str(target_dir(BENCH / "Cargo.toml") / "release" / PROGRAM)]
    commands = {name: (program, ["--impl", name, "--json"]) for name in RUST if name in wanted}
    missing = {}
    if GVISOR in wanted:
        scratch = Path(program[0]).parent.parent / "go"
        scratch.mkdir(parents=True, exist_ok=True)
        built, why = build_gvisor(scratch)
        if built:
            commands[GVISOR] = ([str(built)], ["--impl", GVISOR, "--json"], program)
        else:
            missing[GVISOR] = why
    return commands, missing
