"""What is measured, of whom, and the bars: TCP/IP stacks in user space."""

from .work import Bar, Work

# Idle connections: as asked for by default, and by --quick.
COUNT, QUICK_COUNT = 10_000, 500
QUICK_SECS = 0.5
# The stack's end of a TUN device; the other is the kernel's TCP.
OVER = "tun"

# All but netstack are in one program, which is also everybody's client.
PROGRAM = "bench-tcpip"
RUST = ("weir", "smoltcp", "line")
GVISOR = "gvisor"

STACKS = ("weir", "smoltcp", "gvisor")
OFFLOAD = ("--offload",)
# smoltcp is told its buffers; small ones where there are many connections.
SMALL = ("--buffer", "16384")
IDLE = ("--buffer", "4096")


def bulk(name, work, both, bars):
    return Work(name, work, "gbps", "Gbit/s", (*STACKS, "line"), bars=bars, bases=("smoltcp", "gvisor", "line"), both=both)


def memory(name, figure, unit, bars):
    return Work(name, name, figure, unit, ("weir", "smoltcp"), bars=bars, bases=("smoltcp",))


LINE = [Bar(">= 0.95 of the line", 0.95, "line")]
EACH = ("mean_us", "us (mean)")

WORKS = [
    bulk("receive", "receive", (), LINE),
    bulk("send", "send", (), LINE),
    bulk("receive, offload", "receive", OFFLOAD,
         [Bar(">= 1.0 x smoltcp", 1.0, "smoltcp"), Bar(">= 1.7 x gVisor", 1.7, "gvisor")]),
    bulk("send, offload", "send", OFFLOAD,
         [Bar(">= 1.15 x smoltcp", 1.15, "smoltcp"), Bar(">= 1.7 x gVisor", 1.7, "gvisor")]),
    Work("rr-1", "rr-1", "p50_us", "us (p50)", (*STACKS, "line"), also=("p99_us", "per_s"), bases=("smoltcp", "line"), both=SMALL,
         bars=[Bar("p50 <= 1.1 x the line's", 1.1, "line", least=False)]),
    Work("rr-100", "rr-100", "per_s", "1/s", (*STACKS, "line"), also=("p50_us", "p99_us"), bases=("smoltcp", "line"), both=SMALL,
         bars=[Bar(">= 225,000 a second", 225_000), Bar(">= 0.9 of the line", 0.9, "line")]),
    Work("open-close", "open-close", "per_s", "1/s", (*STACKS, "line"), also=("p50_us", "p99_us"), bases=("smoltcp", "line"),
         both=SMALL, bars=[Bar(">= 36,000 a second", 36_000), Bar(">= 0.84 of the line", 0.84, "line")]),
    Work("idle-conns", "idle-conns", "server_bytes_each", "B a connection", STACKS, also=("p50_us", "p50_before_us"),
         bases=("smoltcp", "gvisor"), both=IDLE,
         bars=[Bar("<= 1.5 KiB", 1536, least=False),
               Bar("round trip p50 beside them <= 1.1 x without", 1.1, least=False, figure="p50_us", against="p50_before_us")]),
    memory("memory-bulk", "gbps", "Gbit/s", [Bar(">= 28.8 Gbit/s", 28.8)]),
    memory("memory-bulk-65535", "gbps", "Gbit/s", [Bar(">= 53 Gbit/s", 53)]),
    memory("memory-rr", *EACH, [Bar("<= 0.8 us", 0.8, least=False)]),
    memory("memory-open-close", *EACH, [Bar("<= 2.5 us", 2.5, least=False)]),
    memory("memory-rr-1000", *EACH, [Bar("<= 1 us", 1.0, least=False)]),
    memory("memory-rr-10000", *EACH, [Bar("<= 1 us", 1.0, least=False)]),
]
