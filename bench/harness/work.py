"""A table of the benchmark, and the bars that are held against it."""

from dataclasses import dataclass, field


@dataclass
class Bar:
    """`value of weir` compared with `factor` x the median of `peer` (or with `factor` itself)."""

    text: str
    factor: float
    peer: str | tuple[str, ...] | None = None
    least: bool = True  # at least; False: at most
    figure: str | None = None  # another field than the work's own
    against: str | None = None  # a field of weir's own to compare with
    work: str | None = None  # another table, whose figure of weir's is compared with


@dataclass
class Work:
    """One table."""

    name: str
    work: str  # what the programs call it
    figure: str  # the field that is compared
    unit: str
    impls: tuple[str, ...]
    weir: str = "weir"
    bars: list[Bar] = field(default_factory=list)
    also: tuple[str, ...] = ()  # more fields to show
    secs: float = 1.0  # factor on --secs
    bases: tuple[str, ...] = ()  # whose multiples the figures are shown as; none: weir as a multiple of each
    both: tuple[str, ...] = ()  # more flags of server and client
    client: tuple[str, ...] = ()  # more flags of the client
    peer: tuple[str, ...] = ()  # more flags of servers and clients other than weir's
