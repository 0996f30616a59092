"""The judge as yamux client of `weir echo server`: one check for each row, each on a connection of its own.

A check's first word is its row in the list of behaviours; its docstring says what must be seen.
"""

import random
import select
import time

from frames import (ACK, DATA, FIN, GO_AWAY, INTERNAL, NORMAL, PING, PROTOCOL, RST, SYN, WINDOW, WINDOW_AT_START, Wire, Wrong, data,
                    frame, go_away, must, ping, window)

FULL = WINDOW_AT_START


def y1_header(wire, _):
    """every frame that comes has a header of twelve bytes that means something, and belongs to the stream"""
    wire.send_data(1, b"some bytes", SYN)
    one = wire.until(lambda f: f.kind == DATA, "no data")
    must((one.stream, one.payload) == (1, b"some bytes"), f"came back: {one}")


def y2_version(wire, _):
    """version 1: Go Away 1 and the end"""
    wire.send(frame(DATA, SYN, 1, payload=b"x", version=1))
    wire.ends_with(PROTOCOL)


def y3_type(wire, _):
    """type 4: Go Away 1 and the end"""
    wire.send(frame(4, 0, 0, 0))
    wire.ends_with(PROTOCOL)


def y4_single_bytes(wire, _):
    """a header and its payload byte by byte"""
    for byte in data(1, b"slowly", SYN | FIN):
        wire.send(bytes([byte]))
        time.sleep(0.002)
    must(wire.collect(1) == b"slowly", "other bytes came back")


def y4_many_in_one(wire, _):
    """200 frames in one write"""
    wire.send(b"".join(data(stream, b"%d" % stream, SYN | FIN) for stream in range(1, 401, 2)))
    answers = {}
    while len(answers) < 200:
        one = wire.until(lambda f: f.kind == DATA and f.payload, f"{len(answers)} of 200 answers")
        answers[one.stream] = one.payload
    must(all(answers[stream] == b"%d" % stream for stream in answers), "answers are mixed up")


def y5_unknown_flags(wire, _):
    """unknown flag bits mean nothing"""
    wire.send(frame(WINDOW, SYN | 0xFFF0, 1, 0), data(1, b"hello", 0x8000), frame(PING, SYN | 0x0100, 0, 7))
    must(wire.collect(1, 5) == b"hello", "other bytes came back")
    wire.works()


def y6_empty_data(wire, _):
    """Data of length 0 opens, carries nothing, and ends"""
    wire.send(data(1, flags=SYN), data(1), data(1))
    wire.send_data(1, b"after nothing")
    wire.send(data(1, flags=FIN))
    must(wire.collect(1) == b"after nothing", "other bytes came back")


def y7_data_on_zero(wire, _):
    """Data with stream ID 0: protocol error"""
    wire.send(data(0, b"x"))
    wire.ends_with(PROTOCOL)


def y7_window_on_zero(wire, _):
    """Window Update with stream ID 0: protocol error"""
    wire.send(window(0, 1))
    wire.ends_with(PROTOCOL)


def either_error_or_ignored(wire):
    try:
        wire.works()
    except Wrong:
        must(wire.goes_away == PROTOCOL, "neither ignored nor Go Away 1")


def y8_ping_on_stream(wire, _):
    """Ping with a stream ID: protocol error or ignored"""
    wire.send(frame(PING, SYN, 5, 1))
    either_error_or_ignored(wire)


def y8_go_away_on_stream(wire, _):
    """Go Away with a stream ID: protocol error or ignored, or taken as Go Away"""
    wire.send(frame(GO_AWAY, 0, 5, NORMAL))
    either_error_or_ignored(wire)


def y9_small_frames(wire, _):
    """frames sent are at most 64 KiB whatever the window"""
    wire.send(window(1, 4 << 20, SYN))
    wire.pump(1, 2 << 20)
    must(wire.received[1] == 2 << 20, f"{wire.received[1]} bytes came back")
    must(wire.largest <= 65_536, f"a frame of {wire.largest} bytes came")


def y10_whole_window(wire, _):
    """a frame as large as the window is taken, also when the window has grown"""
    wire.send_data(1, bytes(FULL), SYN)
    must(len(wire.collect(1, FULL, grant=True)) == FULL, "not all came back")
    for _ in wire.frames(0.3):
        pass
    size = wire.granted[1]
    must(size >= FULL // 2, f"only {size} bytes of window after all was read")
    wire.send_data(1, bytes(size))
    must(len(wire.collect(1, size, grant=True)) == size, f"a frame of {size} bytes did not all come back")


def y12_syn_on_window_update(wire, _):
    """SYN on a Window Update opens"""
    wire.send(window(1, 0, SYN))
    wire.echo(1, opening=False)


def y12_syn_on_data(wire, _):
    """SYN on Data opens"""
    wire.echo(1)


def y13_acknowledged(wire, _):
    """a SYN alone is answered by ACK, once"""
    wire.send(window(1, 0, SYN))
    wire.until(lambda f: f.stream == 1 and f.flags & ACK, "no ACK")
    wire.send_data(1, b"more")
    wire.send(window(1, 10))
    again = [f for f in wire.frames(0.3) if f.flags & ACK]
    must(not again, f"acknowledged again: {again and again[0]}")


def y14_data_before_ack(wire, _):
    """data that follows the SYN at once is taken"""
    wire.send(window(1, 0, SYN) + data(1, b"first") + data(1, b"second", FIN))
    must(wire.collect(1) == b"firstsecond", "other bytes came back")


def y15_window_on_syn(wire, _):
    """the delta on SYN is added to 256 KiB"""
    wire.send(window(1, 100_000, SYN))
    wire.pump(1, FULL + 200_000)
    must(wire.received[1] == FULL + 100_000, f"{wire.received[1]} bytes came back, {FULL + 100_000} were allowed")


def y16_wrong_parity(wire, _):
    """a client's SYN with an even ID: protocol error"""
    wire.send(window(2, 0, SYN))
    wire.ends_with(PROTOCOL)


def y17_id_in_use(wire, _):
    """SYN for an open stream: protocol error"""
    wire.send(window(1, 0, SYN))
    wire.until(lambda f: f.flags & ACK, "no ACK")
    wire.send(window(1, 0, SYN))
    wire.ends_with(PROTOCOL)


def y18_ack_on_data(wire, _):
    """the ACK may ride on the first data: whichever frame comes first bears it"""
    wire.send_data(1, b"x", SYN)
    one = wire.until(lambda f: f.stream == 1, "no answer")
    must(one.flags & ACK, f"the first frame has no ACK: {one}")


def y20_backlog(wire, _):
    """2,000 SYNs at once are each acknowledged or reset, and the session lives"""
    wire.send(b"".join(window(stream, 0, SYN) for stream in range(1, 4001, 2)))
    answered = set()
    while len(answered) < 2000:
        one = wire.until(lambda f: f.flags & (ACK | RST), f"{len(answered)} of 2000 answers")
        answered.add(one.stream)
    wire.echo(4001)


def y24_first_window(wire, _):
    """256 KiB go without an update, and only Data counts"""
    wire.send(window(1, 0, SYN))
    for _ in range(100):
        wire.send(ping(1), data(1), data(1, bytes(1000)))
    wire.send(data(1, bytes(FULL - 100_000)))
    wire.quiet()
    must(wire.received[1] == FULL, f"{wire.received[1]} bytes came back, {FULL} were sent")


def y25_never_past_the_window(wire, _):
    """the sender stops at the window to the byte, and goes on after an update to the byte"""
    stall(wire, 1)
    must(wire.received[1] == FULL, f"{wire.received[1]} bytes came, {FULL} were allowed")
    wire.send(window(1, 1000))
    wire.quiet()
    more = wire.received[1] - FULL
    must(more == 1000, f"{more} bytes came after 1000 were granted")


def stall(wire, stream):
    """Brings a stream to where neither side may send: what the echo read cannot go back."""
    wire.send(window(stream, 0, SYN))
    wire.pump(stream, 64 << 20)


def y26_past_the_receive_window(wire, _):
    """one byte more than was granted: protocol error, or the stream is reset"""
    stall(wire, 1)
    must(wire.left(1) == 0, f"the window does not end: {wire.left(1)} left")
    wire.send(data(1, b"x"))
    try:
        wire.until(lambda f: f.stream == 1 and f.flags & RST, "")
    except Wrong:
        wire.ends_with(PROTOCOL)


def y27_window_overflow(wire, _):
    """an update past 32 bits saturates or is a protocol error, it does not wrap"""
    wire.send(window(1, 0xFFFF_FFFF, SYN), window(1, 0xFFFF_FFFF))
    try:
        wire.pump(1, FULL + 50_000)
        must(wire.received[1] == FULL + 50_000, f"the window wrapped: {wire.received[1]} bytes came back")
    except Wrong:
        must(wire.goes_away == PROTOCOL, "neither saturated nor a protocol error")


def y28_few_updates(wire, _):
    """updates come for half a window, not for every read"""
    wire.send(window(1, 16 << 20, SYN))
    for _ in range(2048):
        while wire.left(1) < 1024:
            must(wire.poll(2), "no window")
        wire.send_data(1, bytes(1024))
        wire.poll(0)
    wire.quiet()
    # 2 MiB are sixteen halves of the first window; a window that grows needs fewer.
    must(wire.updates <= 18, f"{wire.updates} updates for 2,048 frames of 1 KiB")


def y30_stalled_alone(wire, _):
    """a stream that nobody reads stalls alone"""
    stall(wire, 1)
    wire.works()
    wire.echo(3, bytes(100_000))


def y32_control_passes(wire, _):
    """a ping's answer and updates are not behind the data of a full window"""
    stall(wire, 1)
    begun = time.monotonic()
    wire.works(99)
    must(time.monotonic() - begun < 1, "the answer took more than a second")


def y31_fair_turns(address):
    """96 streams with 256 KiB each: they take turns by frame, and a small one is served among them"""
    with Wire.connect(address, receive_buffer=32 << 10) as wire:
        many = range(1, 193, 2)
        for stream in many:
            wire.send_data(stream, bytes(FULL), SYN)
        time.sleep(0.5)
        wire.send_data(999, b"small", SYN | FIN)
        wire.send(ping(1))
        order, before_small, before_ping, total = [], None, None, 0
        for one in wire.frames(2):
            total += one.length if one.kind == DATA else 0
            order.append(one.stream) if one.payload else None
            before_small = total if one.stream == 999 and before_small is None else before_small
            before_ping = total if one.kind == PING and one.flags & ACK and before_ping is None else before_ping
        must(total == 96 * FULL + 5, f"{total} bytes came back")
        must(before_small is not None and before_small < 18 << 20, f"the small stream waited for {before_small} of {total} bytes")
        must(before_ping is not None and before_ping < 18 << 20, f"Y32: the ping waited for {before_ping} of {total} bytes")
        tail = [stream for stream in order[len(order) // 2:] if stream != 999]
        runs = longest_run(tail[:len(tail) // 2])
        must(runs <= 2, f"one stream sent {runs} frames in a row while others waited")


def longest_run(items):
    longest = run = 0
    last = None
    for item in items:
        run = run + 1 if item == last else 1
        longest, last = max(longest, run), item
    return longest


def y33_no_deadlock(wire, _):
    """48 MiB are pushed before anything is read: all comes back"""
    wire.sock.setblocking(False)
    waiting = bytearray(b"".join(data(stream, bytes(FULL), SYN | FIN) for stream in range(1, 385, 2)))
    got, deadline = 0, time.monotonic() + 30
    while got < 192 * FULL:
        must(time.monotonic() < deadline, f"{got >> 20} of 48 MiB came back, {len(waiting) >> 20} MiB not yet sent")
        can_read, can_write, _ = select.select([wire.sock], [wire.sock] if waiting else [], [], 0.5)
        if can_write:
            del waiting[:wire.sock.send(memoryview(waiting)[:1 << 20])]
        elif can_read:
            wire.fill()
            while (one := wire.parse()) is not None:
                must(not one.flags & RST, f"{one}")
                got += len(one.payload)
            must(not wire.ended, "the connection ended")


def y35_half_close(wire, _):
    """FIN half-closes: the other way goes on, then ends too"""
    wire.send_data(1, b"question", SYN)
    wire.send(window(1, 0, FIN))
    must(wire.collect(1) == b"question", "other bytes came back")


def y36_fin_with_data(wire, _):
    """FIN and data in one frame: the data first, then the end"""
    wire.echo(1, bytes(range(256)) * 400)


def y36_fin_alone(wire, _):
    """a FIN is sent in a frame without payload: other makes lose payload that shares a frame with it"""
    wire.send_data(1, bytes(100_000), SYN | FIN)
    last = wire.until(lambda f: f.stream == 1 and f.flags & FIN, "no FIN")
    must(not last.payload, f"{last}")


def y37_after_both_fins(wire, _):
    """frames for a stream that both ended are ignored"""
    wire.echo(1)
    wire.send(data(1, b"late"), window(1, 5), data(1, flags=FIN))
    wire.works()
    wire.echo(3)


def y38_reset(wire, _):
    """RST ends both ways; what comes late is ignored; the session lives"""
    stall(wire, 1)
    wire.send(window(1, 0, RST), data(1, bytes(1000)), window(1, 1 << 20))
    wire.works()
    before = wire.received[1]
    wire.quiet(0.3)
    must(wire.received[1] == before, f"{wire.received[1] - before} bytes came after the reset")
    wire.echo(3)


def y39_data_after_fin(wire, _):
    """data after FIN: the stream is reset, or protocol error"""
    stall(wire, 1)
    wire.send(window(1, 0, FIN), data(1, b"x"))
    try:
        wire.until(lambda f: f.stream == 1 and f.flags & RST, "")
    except Wrong:
        wire.ends_with(PROTOCOL)


def y40_never_opened(wire, _):
    """frames without SYN for a stream never opened: read off the wire, ignored or reset"""
    wire.send(data(77, bytes(70_000)), window(79, 1))
    wire.works()
    wire.echo(1)


def y42_late_update_and_ack(wire, _):
    """a late Window Update and a late ACK do no harm"""
    wire.echo(1)
    wire.send(window(1, 1000), window(1, 0, ACK), window(1, 0, RST))
    wire.works()


def y44_ping(wire, _):
    """Ping with SYN is answered by Ping with ACK and the same value"""
    for value in (0, 1, 0xDEADBEEF, 0xFFFFFFFF):
        wire.works(value)


def y45_ping_flood(wire, server):
    """200,000 pings that nobody reads the answers of: memory does not grow with them, the session lives"""
    before = server.rss()
    wire.sock.settimeout(2)
    sent = 0
    try:
        for _ in range(200):
            wire.sock.sendall(ping(5) * 1000)
            sent += 1000
    except TimeoutError:
        raise Wrong(f"the server stopped reading after {sent} pings") from None
    answers = sum(one.kind == PING for one in wire.frames(0.5))
    grown = server.rss() - before
    must(answers <= sent and grown < 16 << 20, f"{grown >> 20} MiB more")
    wire.works()


def y47_go_away_normal(wire, _):
    """Go Away 0: the open stream finishes"""
    wire.send_data(1, b"before ", SYN)
    wire.until(lambda f: f.payload == b"before ", "no echo")
    wire.send(go_away(NORMAL))
    time.sleep(0.1)
    wire.send_data(1, b"after", FIN)
    must(wire.collect(1) == b"after", "the open stream did not finish")


def y48_go_away_error(wire, _):
    """Go Away 1: the session is over"""
    wire.send_data(1, b"x", SYN)
    wire.send(go_away(PROTOCOL))
    for _ in wire.frames(3):
        pass
    must(wire.ended, "the connection stays")


def y48_go_away_internal(wire, _):
    """Go Away 2: the session is over"""
    wire.send_data(1, b"x", SYN)
    wire.send(go_away(INTERNAL))
    for _ in wire.frames(3):
        pass
    must(wire.ended, "the connection stays")


def y50_cut_in_a_frame(wire, server):
    """the connection is cut inside a frame: the server goes on for others"""
    wire.send(data(1, bytes(1000), SYN)[:500])
    wire.sock.close()
    with Wire.connect(server.address) as other:
        other.echo(1)


def y53_ten_thousand(wire, server):
    """10,000 idle streams on one session"""
    before = server.rss()
    acknowledged, opened = 0, 0
    while acknowledged < 10_000:
        batch = min(200, 10_000 - opened)
        wire.send(b"".join(window(2 * (opened + i) + 1, 0, SYN) for i in range(batch)))
        opened += batch
        while acknowledged < opened:
            one = wire.until(lambda f: f.flags & (ACK | RST), f"{acknowledged} acknowledged")
            must(not one.flags & RST, f"stream {one.stream} was refused")
            acknowledged += 1
    wire.echo(20_001)
    return f"{(server.rss() - before) / 10_000:.0f} B a stream, the echo's task and handle included"


def y54_random_bytes(address, server):
    """random bytes as a session: Go Away or close, no crash, no memory"""
    before = server.rss()
    for seed in range(60):
        noise = random.Random(seed)
        with Wire.connect(address) as wire:
            try:
                wire.sock.sendall(noise.randbytes(20_000))
                for _ in range(40):
                    kind, flags = noise.randrange(5), noise.randrange(16)
                    wire.sock.sendall(frame(kind, flags, noise.randrange(6), noise.randrange(3000)) + noise.randbytes(50))
            except OSError:
                pass  # it closed: that is one of the two answers
            wire.sock.settimeout(3)
            try:
                while wire.sock.recv(1 << 16):
                    pass
            except TimeoutError:
                raise Wrong(f"noise of seed {seed} is still a session after 3 s") from None
            except OSError:
                pass
    grown = server.rss() - before
    must(grown < 32 << 20, f"{grown >> 20} MiB more after 60 sessions of noise")
    with Wire.connect(address) as wire:
        wire.echo(1)


WITH_ADDRESS = (y31_fair_turns,)
WITH_ADDRESS_AND_SERVER = (y54_random_bytes,)
CHECKS = [check for name, check in list(globals().items()) if name[0] == "y" and name[1].isdigit()]


def run(check, server):
    """Runs one check; what it returns is worth showing."""
    if check in WITH_ADDRESS:
        return check(server.address)
    if check in WITH_ADDRESS_AND_SERVER:
        return check(server.address, server)
    with Wire.connect(server.address) as wire:
        return check(wire, server)
