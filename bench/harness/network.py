"""A loopback of its own with CUBIC, in a network namespace that ends with the run."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

INSIDE = "WEIR_BENCH_INSIDE"
TCP_CONGESTION = 13  # linux/tcp.h


def enter():
    """Starts this program again inside a network namespace; returns only when it is inside, or cannot be."""
    if os.environ.get(INSIDE):
        return True
    unshare = shutil.which("unshare")
    for flags in (["-n"], ["-rn"]):
        if unshare and subprocess.run([unshare, *flags, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ[INSIDE] = "1"
            os.execv(unshare, [unshare, *flags, sys.executable, *sys.argv])
    return False


def use_cubic():
    """Brings loopback up and makes CUBIC its congestion control; returns which one connections really use."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    try:
        Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("cubic")
    except OSError:
        # The kernel lets a namespace choose only what it allows to everybody; a route may still name any.
        for network in ("127.0.0.1", "127.0.0.0/8"):
            route = ["ip", "route", "replace", "table", "local", "local", network, "dev", "lo", "proto", "kernel",
                     "scope", "host", "src", "127.0.0.1", "congctl", "cubic"]
            subprocess.run(route, check=False)
    return in_use()


def for_many_connections():
    """Connections are opened and closed faster than the kernel's TIME-WAIT lets go of their ports."""
    settings = {"ip_local_port_range": "2000 65000", "tcp_max_tw_buckets": "0"}
    for name, value in settings.items():
        try:
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)
        except OSError:
            pass


def in_use():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                names = [s.getsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, 16) for s in (client, accepted)]
    return " / ".join(sorted({name.rstrip(b"\0").decode() for name in names}))


# What the programs ask for: 8 MiB.
ENOUGH = 8 << 20


def socket_buffers():
    """Bytes that a program without privileges gets at most for a socket's buffer."""
    limits = [Path(f"/proc/sys/net/core/{name}_max") for name in ("rmem", "wmem")]
    return min((int(path.read_text()) for path in limits if path.exists()), default=0)
