"""The judge as yamux server of `weir echo client`: one check for each row."""

import socket
import subprocess
import time

from frames import ACK, DATA, FIN, INTERNAL, NORMAL, PING, PROTOCOL, RST, SYN, Wire, Wrong, data, frame, go_away, must, ping, window


class Client:
    """A `weir echo client` that dials the judge."""

    def __init__(self, command, count):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        port = self.listener.getsockname()[1]
        self.process = subprocess.Popen(
            [*command, "--connect", f"127.0.0.1:{port}", "--count", str(count)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        try:
            self.wire = Wire(self.listener.accept()[0])
        except TimeoutError:
            self.process.kill()
            raise Wrong(f"the client did not dial: {self.process.communicate()[1].strip()}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.sock.close()
        self.listener.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def exits(self, secs=10):
        """Its exit code."""
        try:
            self.process.communicate(timeout=secs)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the client still runs after {secs} s") from None
        return self.process.returncode

    def opened(self, secs=5.0):
        """The next frame that opens a stream."""
        return self.wire.until(lambda f: f.flags & SYN and f.kind != PING, "no SYN", secs)

    def fails(self):
        code = self.exits()
        must(code == 1, f"exit code {code}, 1 expected")

    def serve(self, count):
        """Echoes so many streams; the SYNs as they came."""
        opening, ended, pending = [], set(), {}
        while len(ended) < count:
            one = self.wire.until(lambda f: f.stream, f"{len(ended)} of {count} streams")
            if one.flags & SYN:
                opening.append(one)
                self.wire.send(window(one.stream, 0, ACK))
            pending[one.stream] = pending.get(one.stream, b"") + one.payload
            if one.flags & FIN:
                self.wire.send(data(one.stream, pending[one.stream]), window(one.stream, 0, FIN))
                ended.add(one.stream)
        return opening, pending


def y11_ids(command):
    """a client's streams are 1, 3, 5, ..: odd, growing by two, never used again"""
    with Client(command, 5) as client:
        opening, _ = client.serve(5)
        ids = [one.stream for one in opening]
        must(ids == [1, 3, 5, 7, 9], f"streams {ids}")
        must(client.exits() == 0, "exit code not 0")


def y12_first_frame(command):
    """the first frame of a stream bears SYN, the later ones do not"""
    with Client(command, 3) as client:
        opening, sent = client.serve(3)
        must(len(opening) == 3, f"{len(opening)} SYNs for 3 streams")
        must(list(sent.values()) == [b"hello 0", b"hello 1", b"hello 2"], f"sent {sent}")
        must(client.exits() == 0, "exit code not 0")


def y14_data_before_ack(command):
    """data comes without waiting for the ACK"""
    with Client(command, 1) as client:
        got = b""
        while got != b"hello 0":
            got += client.wire.until(lambda f: f.kind == DATA, f"{got} without an ACK").payload


def y13_ack_on_data(command):
    """an ACK on the first data is as good as one of its own; data and FIN may share a frame"""
    with Client(command, 1) as client:
        stream = client.opened().stream
        client.wire.send(data(stream, b"hello 0", ACK | FIN))
        must(client.exits() == 0, "exit code not 0")


def y18_no_ack_but_data(command):
    """data without any ACK before it does no harm"""
    with Client(command, 1) as client:
        stream = client.opened().stream
        client.wire.send(data(stream, b"hello 0"), window(stream, 0, ACK | FIN))
        must(client.exits() == 0, "exit code not 0")


def y19_ack_backlog(command):
    """at most 256 streams are opened that were not acknowledged"""
    with Client(command, 400) as client:
        seen = sum(bool(one.flags & SYN and one.stream) for one in client.wire.frames(1.0))
        must(1 <= seen <= 256, f"{seen} streams opened without an ACK")
        return f"{seen} opened"


def y21_refused(command):
    """RST in answer to SYN is a refusal: the client says so and ends with 1"""
    with Client(command, 1) as client:
        client.wire.send(window(client.opened().stream, 0, RST))
        client.fails()


def y38_reset_in_answer(command):
    """RST after the ACK: an error, not an end"""
    with Client(command, 1) as client:
        stream = client.opened().stream
        client.wire.send(data(stream, b"hel", ACK), window(stream, 0, RST))
        client.fails()


def y2_version(command):
    """version 3 from a server: Go Away 1, exit code 1"""
    with Client(command, 1) as client:
        client.wire.send(frame(DATA, 0, 1, payload=b"x", version=3))
        client.wire.ends_with(PROTOCOL)
        client.fails()


def y16_wrong_parity(command):
    """a server's SYN with an odd ID: protocol error"""
    with Client(command, 1) as client:
        client.wire.send(window(101, 0, SYN))
        client.wire.ends_with(PROTOCOL)
        client.fails()


def y20_unwanted_streams(command):
    """streams that a server opens to a client that wants none: refused or acknowledged, the session lives"""
    with Client(command, 1) as client:
        first = client.opened()
        client.wire.send(b"".join(window(stream, 0, SYN) for stream in range(2, 2002, 2)))
        client.wire.works()
        client.wire.send(data(first.stream, b"hello 0", ACK | FIN))
        must(client.exits() == 0, "exit code not 0")


def y44_ping(command):
    """a client answers pings"""
    with Client(command, 1) as client:
        client.opened()
        client.wire.works(0xCAFE)


def y45_pong_nobody_asked_for(command):
    """an answer to no ping does no harm"""
    with Client(command, 1) as client:
        client.wire.send(ping(12345, ACK))
        client.serve(1)
        must(client.exits() == 0, "exit code not 0")


def y47_go_away(command):
    """after Go Away 0 no stream is opened, and those that are open finish"""
    with Client(command, 1000) as client:
        opened = set()

        def take(secs):
            for one in client.wire.frames(secs):
                if one.flags & SYN and one.stream:
                    opened.add(one.stream)

        take(0.5)
        client.wire.send(go_away(NORMAL))
        take(0.5)  # those that were under way
        before = len(opened)
        for stream in opened:
            number = (stream - 1) // 2
            client.wire.send(data(stream, b"hello %d" % number, ACK), window(stream, 0, FIN))
        take(0.5)
        must(len(opened) == before, f"{len(opened) - before} streams opened after Go Away")
        client.fails()


def y48_go_away_error(command):
    """Go Away 1 and 2: the session is over, the client ends with 1"""
    for code in (PROTOCOL, INTERNAL):
        with Client(command, 1) as client:
            client.opened()
            client.wire.send(go_away(code))
            client.fails()


def y49_own_close(command):
    """a client that is done says Go Away 0, then closes"""
    with Client(command, 1) as client:
        client.serve(1)
        client.wire.ends_with(NORMAL)
        must(client.exits() == 0, "exit code not 0")


def y50_lost(command):
    """the connection is cut: waiting streams end by error at once"""
    with Client(command, 3) as client:
        client.opened()
        client.wire.sock.close()
        begun = time.monotonic()
        client.fails()
        must(time.monotonic() - begun < 3, "it took more than 3 s")


def y54_garbage(command):
    """a server that speaks something else: an error that says so, no crash"""
    with Client(command, 1) as client:
        client.wire.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        client.wire.ends_with(PROTOCOL)
        client.fails()


CHECKS = [check for name, check in list(globals().items()) if name[0] == "y" and name[1].isdigit()]
