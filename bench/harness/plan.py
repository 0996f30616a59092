"""What is measured, of whom, and the bars: the multiplexers."""

from .work import Bar, Work

RUST = ("yamux-crate", "tokio-yamux", "line", "tcp", "tcp-blocking", "rustls", "rustls-unbuffered")
GO = ("hashicorp", "go-yamux")

# name in the tables -> `--via` of `weir perf`
WEIR = {"weir": "yamux-plain", "weir tls+yamux": "yamux", "weir tcp": "tcp", "weir tls": "tls"}


# Idle streams: as asked for by default, and by --quick.
COUNT, QUICK_COUNT = 10_000, 1000
QUICK_SECS = 0.3
# Whose congestion control matters here is the system's.
OVER = "tcp"

MUXES = ("yamux-crate", "tokio-yamux", "hashicorp", "go-yamux")
BULK_BARS = [
    Bar(">= 1.2 x go-yamux", 1.2, "go-yamux"),
    Bar(">= 1.5 x the yamux crate", 1.5, "yamux-crate"),
    Bar(">= 0.85 of the line", 0.85, "line"),
]
BARE_RUSTLS = ("rustls", "rustls-unbuffered")

WORKS = [
    Work("bulk-down", "bulk-down", "gbps", "Gbit/s", ("weir", *MUXES, "line", "tcp", "weir tcp"), bars=BULK_BARS),
    Work("bulk-up", "bulk-up", "gbps", "Gbit/s", ("weir", *MUXES, "line", "tcp", "weir tcp"), bars=BULK_BARS),
    Work("streams-100", "streams-100", "gbps", "Gbit/s", ("weir", *MUXES, "line"),
         bars=[Bar(">= 1.25 x hashicorp", 1.25, "hashicorp")]),
    Work("rr-100", "rr-100", "per_s", "1/s", ("weir", *MUXES, "line"), also=("p50_us", "p99_us"),
         bars=[Bar(">= 400,000 a second", 400_000), Bar(">= 5 x the yamux crate", 5, "yamux-crate")]),
    Work("rr-1", "rr-1", "p50_us", "us (p50)", ("weir", *MUXES, "line", "tcp", "tcp-blocking", "weir tcp"),
         also=("p99_us", "per_s"), bars=[Bar("p50 <= 1.08 x raw TCP", 1.08, "tcp", least=False)]),
    Work("open-close", "open-close", "per_s", "1/s", ("weir", *MUXES, "line"),
         bars=[Bar(">= 500,000 a second", 500_000)]),
    Work("idle-streams", "idle-streams", "bytes_each", "B a stream", ("weir", *MUXES),
         also=("server_bytes_each", "p50_before_us", "p50_with_us"), secs=0.5,
         bars=[Bar("<= 400 B at the client", 400, least=False),
               Bar("<= 400 B at the server", 400, least=False, figure="server_bytes_each"),
               # 5 %: what two medians of the same thing differ by here anyway.
               Bar("p50 unchanged beside 10,000 (within 5 %)", 1.05, least=False, figure="p50_with_us",
                   against="p50_before_us")]),
    Work("tls-down", "bulk-down", "gbps", "Gbit/s", ("weir tls+yamux", "weir tls", *BARE_RUSTLS), weir="weir tls+yamux",
         bars=[Bar(">= 0.8 of bare rustls (the faster of the two)", 0.8, BARE_RUSTLS)]),
    Work("tls-up", "bulk-up", "gbps", "Gbit/s", ("weir tls+yamux", "weir tls", *BARE_RUSTLS), weir="weir tls+yamux",
         bars=[Bar(">= 0.8 of bare rustls (the faster of the two)", 0.8, BARE_RUSTLS)]),
]
