"""yamux frames by hand: the twelve bytes of a header, and a socket that sends and receives them. No engine stands behind this."""

import select
import socket
import struct
import time
from collections import Counter, namedtuple

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
NORMAL, PROTOCOL, INTERNAL = range(3)
WINDOW_AT_START = 256 * 1024
TYPES = {DATA: "Data", WINDOW: "WindowUpdate", PING: "Ping", GO_AWAY: "GoAway"}
FLAGS = {SYN: "SYN", ACK: "ACK", FIN: "FIN", RST: "RST"}


class Frame(namedtuple("Frame", "version kind flags stream length payload")):
    def __str__(self):
        flags = "|".join(name for bit, name in FLAGS.items() if self.flags & bit) or "-"
        return f"{TYPES.get(self.kind, self.kind)} {flags} stream {self.stream} length {self.length}"


class Wrong(Exception):
    """The behaviour is not the one of the row."""


def must(holds, otherwise):
    if not holds:
        raise Wrong(otherwise)


def frame(kind, flags=0, stream=0, length=None, payload=b"", version=0):
    """A frame as it is sent; `length` is that of the payload unless it is said to be another."""
    length = len(payload) if length is None else length
    return struct.pack(">BBHII", version, kind, flags, stream, length) + payload


def data(stream, payload=b"", flags=0):
    return frame(DATA, flags, stream, payload=payload)


def window(stream, delta=0, flags=0):
    return frame(WINDOW, flags, stream, delta)


def ping(value, flags=SYN):
    return frame(PING, flags, 0, value)


def go_away(code):
    return frame(GO_AWAY, 0, 0, code)


class Wire:
    """One connection: frames out, frames in, and how much either side may still send on each stream."""

    def __init__(self, sock):
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.ended = False
        self.goes_away = None  # the code of a Go Away that came
        self.granted = {}  # what this side may still send
        self.received = Counter()  # payload bytes that came, by stream
        self.updates = 0  # Window Updates that came
        self.largest = 0  # payload of the largest Data frame that came

    @classmethod
    def connect(cls, address, receive_buffer=None):
        sock = socket.socket(socket.AF_INET6 if address[0].count(":") else socket.AF_INET)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(10)
        sock.connect(address)
        return cls(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *frames):
        try:
            self.sock.sendall(b"".join(frames))
        except (ConnectionError, TimeoutError) as error:
            raise Wrong(f"the connection took no more: {error}") from None

    def left(self, stream):
        """What this side may still send on a stream."""
        return self.granted.get(stream, WINDOW_AT_START)

    def send_data(self, stream, payload, flags=0):
        """One Data frame, counted against what the peer granted."""
        self.granted[stream] = self.left(stream) - len(payload)
        must(self.granted[stream] >= 0, "the judge itself would pass the window")
        self.send(data(stream, payload, flags))

    def frames(self, secs=3.0):
        """Frames as they come, until nothing comes for so long or the connection ends."""
        while True:
            while (one := self.parse()) is not None:
                yield one
            if self.ended or not select.select([self.sock], [], [], secs)[0]:
                return
            self.fill()

    def fill(self):
        try:
            got = self.sock.recv(1 << 18)
        except ConnectionError:
            got = b""
        self.ended = not got
        self.buffer += got

    def parse(self):
        if len(self.buffer) < 12:
            return None
        version, kind, flags, stream, length = struct.unpack_from(">BBHII", self.buffer)
        size = 12 + (length if kind == DATA else 0)
        must(kind <= GO_AWAY and version == 0 and flags < 16, f"Y1: a frame that does not exist: {bytes(self.buffer[:12]).hex()}")
        must(kind not in (DATA, WINDOW) or stream, "Y1: a stream's frame with stream ID 0")
        must(kind not in (PING, GO_AWAY) or not stream, "Y1: a session's frame with a stream ID")
        if len(self.buffer) < size:
            return None
        one = Frame(version, kind, flags, stream, length, bytes(self.buffer[12:size]))
        del self.buffer[:size]
        if kind == WINDOW:
            self.granted[stream] = self.left(stream) + length
            self.updates += 1
        elif kind == GO_AWAY:
            self.goes_away = length
        elif kind == DATA:
            self.largest = max(self.largest, length)
            self.received[stream] += length
        return one

    def poll(self, secs):
        """Takes what comes first within that time, for its counts alone; false when nothing came."""
        return next(self.frames(secs), None) is not None

    def until(self, wanted, what, secs=5.0):
        """The first frame that `wanted` says yes to; pings of the peer are answered on the way."""
        deadline = time.monotonic() + secs
        for one in self.frames(secs):
            if one.kind == PING and one.flags & SYN:
                self.send(ping(one.length, ACK))
            if wanted(one):
                return one
            if time.monotonic() > deadline:
                break
        end = "the connection ended" if self.ended else f"nothing within {secs:g} s"
        away = "" if self.goes_away is None else f", Go Away {self.goes_away} came"
        raise Wrong(f"{what}: {end}{away}")

    def ends_with(self, code, secs=5.0):
        """Go Away with this code comes and then the connection ends."""
        for _ in self.frames(secs):
            pass
        must(self.goes_away == code, f"Go Away {code} expected, got {self.goes_away}" + ("" if self.ended else ", and the session goes on"))
        must(self.ended, f"Go Away {code} came, but the connection stays")

    def works(self, value=0x5eed):
        """A ping is answered: the session lives."""
        self.send(ping(value))
        self.until(lambda f: f.kind == PING and f.flags & ACK and f.length == value, "no answer to a ping")

    def collect(self, stream, count=None, secs=5.0, grant=False):
        """Payload of a stream: so many bytes, or all to its FIN. With `grant` its window is given back as it comes."""
        got = bytearray()
        while count is None or len(got) < count:
            one = self.until(lambda f: f.stream == stream, f"stream {stream} after {len(got)} bytes", secs)
            must(not one.flags & RST, f"stream {stream} was reset after {len(got)} bytes")
            got += one.payload
            if grant and one.payload:
                self.send(window(stream, len(one.payload)))
            if one.flags & FIN:
                break
        return bytes(got)

    def quiet(self, secs=0.5):
        """Takes what comes until nothing comes any more."""
        while self.poll(secs):
            pass

    def pump(self, stream, total):
        """Sends so many bytes on a stream as its window allows, taking what comes, until no window comes any more."""
        while total:
            size = min(self.left(stream), total, 1 << 16)
            if size:
                self.send_data(stream, bytes(size))
                total -= size
            if not self.poll(0 if size else 0.5) and not size:
                break
        self.quiet()

    def echo(self, stream, payload=b"hello", opening=True):
        """Opens a stream, sends, ends, and gets it all back with the end."""
        self.send_data(stream, payload, (SYN if opening else 0) | FIN)
        got = self.collect(stream)
        must(got == payload, f"sent {len(payload)} bytes, {len(got)} came back, or others")
