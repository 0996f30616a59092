"""The public interop cases: network, files, what each side is asked for, and the rule by which it passes."""

from dataclasses import dataclass, field
from typing import Callable, Optional

from .capture import V1, V2

KIB, MIB = 1 << 10, 1 << 20
LINK = ["--delay", "15ms", "--rate", "10M", "--queue", "25", "--mtu", "1500"]
LONG_LINK = ["--delay", "750ms", "--rate", "10M", "--queue", "25", "--mtu", "1500"]
LOSS = ["--loss", "2%", "--burst", "3"]
MUCH_LOSS = ["--loss", "30%", "--burst", "3"]
CORRUPTION = ["--corrupt", "2%", "--burst", "3"]
MUCH_CORRUPTION = ["--corrupt", "30%", "--burst", "3"]
REBIND = ["--rebind-first", "1s", "--rebind", "5s"]


@dataclass
class Case:
    name: str
    files: list
    link: list = field(default_factory=lambda: list(LINK))
    ask: frozenset = frozenset()
    handshakes: Optional[int] = 1
    rule: Optional[Callable] = None
    alpn: str = "hq-interop"
    secs: int = 60
    names: int = 8
    packets: Optional[int] = 400
    version_rule: bool = True
    address: str = "127.0.0.1"
    chain: bool = False
    rates: float = 1.0


def fault_unless(holds, words):
    return None if holds else words


def no_retry(run):
    return fault_unless(not any(run.client.packets("retry")), "there was a Retry")


def longrtt(run):
    hellos = {packet.number("quic.packet_number") for packet in run.client.packets("initial", server=False)}
    return fault_unless(len(hellos) >= 2, "the ClientHello was sent only once")


def chacha20(run):
    suites = [packet.values("tls.handshake.ciphersuite") for packet in run.client.packets("initial", server=False)]
    offered = {int(suite, 0) for found in suites for suite in found}
    return fault_unless(offered == {0x1303}, f"suites {[hex(suite) for suite in offered]} were offered")


def multiplexing(run):
    found = [
        int(value, 0)
        for packet in run.client.packets(server=True)
        for value in packet.values("tls.quic.parameter.initial_max_streams_bidi")
    ]
    return fault_unless(found and max(found) <= 1000, f"initial_max_streams_bidi is {found}")


def retry(run):
    retries = list(run.client.packets("retry", server=True))
    tokens = {token for packet in retries for token in packet.raw("quic.retry_token")}
    if not tokens:
        return "there was no Retry with a token"
    before, after = [], []
    for packet in run.client.packets("initial", server=False):
        carries = any(token in tokens for token in packet.raw("quic.token"))
        (after if carries else before).append(packet.number("quic.packet_number"))
    if not after:
        return "no Initial carried the token"
    numbers = [number for number in before if number is not None]
    return fault_unless(not numbers or min(n for n in after if n is not None) > max(numbers), "the packet number was reset")


def resumption(run):
    shown = {}
    for packet in run.server.packets("handshake", server=True):
        scid = packet.raw("quic.scid")[0]
        shown[scid] = shown.get(scid, False) or "11" in packet.values("tls.handshake.type")
    return fault_unless(list(shown.values()) == [True, False], f"certificates were shown so: {list(shown.values())}")


def zerortt(run):
    early = sum(packet.datagram.length for packet in run.client.packets("0rtt", server=False))
    if early == 0:
        return "there was no 0-RTT packet"
    late = 0
    for datagram in run.client.datagrams:
        if not datagram.from_server and any(packet.kind == "1rtt" for packet in datagram.packets):
            late += sum(int(packet.number("quic.packet_length") or 0) for packet in datagram.packets if packet.kind == "1rtt")
    return fault_unless(late <= 5000, f"{late} bytes went in 1-RTT packets")


def keyupdate(run):
    def phase_one(capture, server):
        return any("1" in packet.values("quic.key_phase") or "True" in packet.values("quic.key_phase") for packet in capture.packets("1rtt", server=server))

    if not phase_one(run.client, False):
        return "the client sent nothing in key phase 1"
    return fault_unless(phase_one(run.server, True), "the server sent nothing in key phase 1")


def ecn(run):
    for server, name, capture in ((False, "client", run.client), (True, "server", run.server)):
        marks = {datagram.ecn for datagram in capture.datagrams if datagram.from_server == server}
        if not marks & {1, 2} or 3 in marks:
            return f"the {name}'s packets are marked {sorted(marks)}"
        if not any(packet.values("quic.ack.ect0_count") for packet in capture.packets(server=server)):
            return f"the {name} acknowledged no marks"
    return no_retry(run)


def amplification(run):
    """To the letter for weir; what other makes send up to four times is let pass, as the public suite does."""
    factor, credit = 3 if run.server_is_weir else 4, 0
    for datagram in run.server.datagrams:
        kinds = [packet.kind for packet in datagram.packets]
        if "version-negotiation" in kinds:
            return "there was a Version Negotiation"
        if datagram.from_server:
            if datagram.length > credit:
                return f"the server sent {datagram.length} bytes with {credit} left"
            credit -= datagram.length
        elif "handshake" in kinds:
            return None
        elif "initial" in kinds:
            credit += factor * datagram.length
    return "the client sent no Handshake packet"


def ipv6(run):
    return fault_unless(not any(datagram.is_ipv4 for datagram in run.client.datagrams), "there was IPv4")


def version_2(run):
    sent = {packet.version for packet in run.client.packets("initial", server=False)}
    answered = {packet.version for packet in run.client.packets("initial", server=True)}
    rest = {packet.version for packet in run.client.packets("handshake")}
    words = f"client Initials {sent}, server Initials {answered}, Handshakes {rest}"
    return fault_unless(V1 in sent and V2 in answered and rest == {V2}, words)


def rebinding(run):
    places, challenged, answers = {}, [], set()
    for datagram in run.server.datagrams:
        for packet in datagram.packets:
            if packet.kind != "1rtt":
                continue
            if datagram.from_server:
                asked = packet.raw("quic.path_challenge.data")
                if datagram.target not in places:
                    if places and not asked:
                        return f"the first packet to {datagram.target} has no PATH_CHALLENGE"
                    places[datagram.target] = True
                    challenged += asked
            else:
                answers.update(packet.raw("quic.path_response.data"))
    if len(places) < 2:
        return "the server used one address of the client only"
    return fault_unless(set(challenged) <= answers, "a PATH_CHALLENGE was not answered")


def rebinding_address(run):
    seen = {datagram.source[0] for datagram in run.server.datagrams if not datagram.from_server}
    return rebinding(run) or fault_unless(len(seen) > 1, "the server saw one address only")


def migration(run):
    """As after a rebinding, and under connection IDs that were not used before (RFC 9000 section 9.5)."""
    used, fresh = set(), None
    for datagram in run.end.datagrams:
        if not datagram.from_server:
            ids = {value for packet in datagram.packets for value in packet.raw("quic.dcid")}
            if datagram.target[0] == "127.0.0.2" and fresh is None and ids:
                fresh = not ids & used
            used |= ids
    if fresh is None:
        return "the client did not move to the preferred address"
    return fault_unless(fresh, "the client's first packet there has a connection ID that it used before")


def cases():
    """All of them; `rates` is how much of the files `--quick` keeps."""
    fifty = [KIB] * 50
    transfer = [2 * MIB, 3 * MIB, 5 * MIB]
    return [
        Case("handshake", [KIB], rule=no_retry),
        Case("transfer", transfer),
        Case("longrtt", [KIB], link=list(LONG_LINK), rule=longrtt),
        Case("chacha20", [3 * MIB], ask=frozenset({"chacha20"}), rule=chacha20),
        Case("multiplexing", [32] * 1999, rule=multiplexing),
        Case("retry", [10 * KIB], ask=frozenset({"retry"}), rule=retry),
        Case("resumption", [5 * KIB, 10 * KIB], ask=frozenset({"resume"}), handshakes=2, rule=resumption),
        Case("zerortt", [32] * 40, ask=frozenset({"early-data"}), handshakes=2, rule=zerortt, names=250),
        Case("http3", [5 * KIB, 10 * KIB, 500 * KIB], alpn="h3"),
        Case("blackhole", [10 * MIB], link=[*LINK, "--blackhole-on", "5s", "--blackhole-off", "2s"]),
        Case("keyupdate", [3 * MIB], ask=frozenset({"key-update"}), rule=keyupdate, packets=2000),
        Case("ecn", [100 * KIB], rule=ecn),
        Case("amplificationlimit", [5 * KIB], link=[*LINK, "--drop-to-server", "2,3,4,5,6,7"], rule=amplification, chain=True),
        Case("handshakeloss", fifty, link=[*LINK, *MUCH_LOSS], ask=frozenset({"many"}), handshakes=50, secs=300, packets=None),
        Case("transferloss", [2 * MIB], link=[*LINK, *LOSS]),
        Case("handshakecorruption", fifty, link=[*LINK, *MUCH_CORRUPTION], ask=frozenset({"many"}), handshakes=None, secs=300, packets=None, version_rule=False),
        Case("transfercorruption", [2 * MIB], link=[*LINK, *CORRUPTION], handshakes=None, version_rule=False),
        Case("ipv6", [5 * KIB, 10 * KIB], rule=ipv6, address="[::1]"),
        Case("v2", [KIB], ask=frozenset({"v2"}), rule=version_2, version_rule=False),
        Case("rebind-port", [10 * MIB], link=[*LINK, *REBIND], rule=rebinding, packets=2500),
        Case("rebind-addr", [10 * MIB], link=[*LINK, *REBIND, "--rebind-address"], rule=rebinding_address, packets=2500),
        Case("connectionmigration", [2 * MIB], ask=frozenset({"preferred-address"}), rule=migration),
    ]
