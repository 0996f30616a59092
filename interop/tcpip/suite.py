"""weir-tcpip against gVisor's netstack: two stacks in user space, each on a TUN device, the kernel routing between them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
GVISOR = "/usr/share/gocode/src/gvisor.dev/gvisor"
INSIDE = "WEIR_INTEROP_TCPIP"
# Where the servers listen: weir's device is 10.78.0.0/24, gVisor's 10.77.0.0/24.
WHERE = {"weir": "10.78.0.2:7000", "gvisor": "10.77.0.2:7000"}
SECS = 120


def cases(large):
    """Name, what it is called by the programs, how much, flags of both."""
    return [
        ("echo, both directions and half-close", "echo", large, []),
        ("echo with super-segments", "echo", large, ["--offload"]),
        ("upload", "upload", large, []),
        ("slow reader, windows close", "slow-reader", 16 << 20, []),
        ("small MTU", "echo", 8 << 20, ["--mtu", "576"]),
        ("1000 connections", "connections", 1000, []),
        ("reset in the middle", "reset", 0, []),
        ("refused", "refused", 0, []),
    ]


def run_case(programs, server, client, case):
    _, name, size, flags = case
    # Not inside the case's own: the server must have its line out before the client begins.
    serving = subprocess.Popen([*programs[server], "server", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if not serving.stdout.readline().startswith("{"):
            return f"server: {serving.communicate()[1].strip()}"
        command = [*programs[client], "client", *flags, "--connect", WHERE[server], "--case", name, "--bytes", str(size)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECS)
        except subprocess.TimeoutExpired:
            return "no end in time"
        return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
    finally:
        serving.send_signal(signal.SIGKILL)
        serving.communicate()


def inside(programs, large, only):
    """In a network namespace of its own: nothing of the machine is touched. One JSON line a case."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for server, client in (("gvisor", "weir"), ("weir", "gvisor")):
        for case in cases(large):
            name = f"tcpip, {server} listens, {client} dials: {case[0]}"
            if only in name:
                print(json.dumps([name, run_case(programs, server, client, case)]), flush=True)


def missing():
    """Why it cannot be run here, if it cannot."""
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    if shutil.which("go") is None or not Path(GVISOR).is_dir():
        return "gVisor is not installed: apt-get install golang-go golang-gvisor-gvisor-dev"
    return None


def build_gvisor(scratch):
    out = scratch / "gvisor"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(scratch / "go-cache"), "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", str(out), "."], cwd=HERE.parent / "gvisor", env=env, check=True)
    return out


def run(weir, scratch, large, only):
    """Each case's name, and what was wrong or None, as they end."""
    why = missing()
    if why:
        print(f"left out: tcpip with gVisor: {why}", file=sys.stderr)
        return
    programs = {"weir": [str(weir)], "gvisor": [str(build_gvisor(scratch))]}
    flags = ["-n"] if os.geteuid() == 0 else ["-rn"]
    command = ["unshare", *flags, sys.executable, str(Path(__file__)), json.dumps([programs, large, only])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            yield json.loads(line)
    if child.returncode != 0:
        yield "tcpip with gVisor", f"the script ended with {child.returncode}"


if __name__ == "__main__":
    inside(*json.loads(sys.argv[1]))
