"""What is measured, of whom, and the bars: QUIC."""

from .work import Bar, Work

# Idle connections: as asked for by default, and by --quick.
COUNT, QUICK_COUNT = 1000, 100
QUICK_SECS = 1.0
# Every program brings its own congestion control.
OVER = "udp"

# The program that each is found in.
PEERS = {"quinn": "bench-quic", "quinn-mutual": "bench-quic", "s2n-quic": "bench-quic", "line": "bench-quic", "udp": "bench-quic",
         "tls": "bench-quic", "tls-mutual": "bench-quic", "quiche": "bench-quiche"}
WEIR = {"weir": "quic"}

# The largest UDP payload on an Ethernet over IPv6, and that on loopback over IPv4.
ETHERNET = ("--mtu", "1452")
WHOLE = ("--mtu", "65507")

QUIC = ("weir", "quinn", "s2n-quic", "quiche")
TO_LINE = ("quinn", "line")

CPU = Bar("<= 1.2 CPU seconds a GiB, both ends together", 1.2, least=False, figure="cpu_per_gib")
BULK_BARS = [Bar(">= 1.7 x quinn", 1.7, "quinn"), Bar(">= 0.7 of the line", 0.7, "line"), CPU]
WHOLE_BARS = [Bar(">= 18 Gbit/s", 18), Bar(">= 0.75 of the line", 0.75, "line")]


def bulk(name, work, both, bars):
    return Work(name, work, "gbps", "Gbit/s", (*QUIC, "line"), bars=bars, bases=TO_LINE, both=both)


WORKS = [
    bulk("bulk-down", "bulk-down", ETHERNET, BULK_BARS),
    bulk("bulk-up", "bulk-up", ETHERNET, BULK_BARS),
    bulk("streams-100", "streams-100", ETHERNET,
         [Bar(">= 1.7 x quinn", 1.7, "quinn"),
          # 5 %: what two medians of the same thing differ by here anyway.
          Bar("no slower than one stream (within 5 %)", 0.95, work="bulk-down")]),
    bulk("bulk-down, path's MTU", "bulk-down", WHOLE, WHOLE_BARS),
    bulk("bulk-up, path's MTU", "bulk-up", WHOLE, WHOLE_BARS),
    bulk("streams-100, path's MTU", "streams-100", WHOLE, WHOLE_BARS),
    Work("rr-100", "rr-100", "per_s", "1/s", (*QUIC, "line"), also=("p50_us", "p99_us"), bases=TO_LINE, both=ETHERNET,
         bars=[Bar(">= 450,000 a second", 450_000), Bar(">= 1.4 x quinn", 1.4, "quinn"),
               Bar(">= 0.65 of the line", 0.65, "line")]),
    Work("rr-1", "rr-1", "p50_us", "us (p50)", (*QUIC, "udp"), also=("p99_us", "per_s"), bases=("quinn", "udp"), both=ETHERNET,
         bars=[Bar("p50 <= 75 us", 75, least=False), Bar("p50 <= 0.56 of quinn's", 0.56, "quinn", least=False),
               Bar("p50 <= 1.5 x bare UDP's", 1.5, "udp", least=False)]),
    Work("handshakes", "handshakes", "per_s", "1/s", (*QUIC, "tls", "quinn-mutual", "tls-mutual"), also=("p50_us", "p99_us"),
         bases=("quinn", "tls"), both=ETHERNET, client=("--parallel", "16"),
         bars=[Bar(">= 4,200 a second", 4200), Bar(">= 2.4 x quinn", 2.4, "quinn"), Bar(">= 0.69 of TLS alone", 0.69, "tls"),
               Bar(">= 0.69 of TLS alone, client certificates too", 0.69, "tls-mutual")]),
    # 100 streams are what quinn and s2n-quic permit unasked; for what is permitted some of them pay memory.
    Work("idle-conns", "idle-conns", "server_bytes_each", "B a connection", QUIC, also=("bytes_each",), bases=("quinn",),
         both=ETHERNET, peer=("--streams", "100"), bars=[Bar("<= 8 KiB at the server", 8192, least=False)]),
]
