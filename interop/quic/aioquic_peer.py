#!/usr/bin/env python3
"""aioquic as either side of the interop cases.

    aioquic_peer.py server --addr IP:0 --cert PEM --key PEM --www DIR --alpn hq-interop [--retry] ..
    aioquic_peer.py client --connect IP:PORT --name SNI --ca PEM --alpn hq-interop --out DIR PATH..
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

HQ = "hq-interop"
V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2


def configuration(args, is_client):
    config = QuicConfiguration(is_client=is_client, alpn_protocols=[args.alpn])
    config.secrets_log_file = open(args.keylog, "a") if args.keylog else None
    config.idle_timeout = 60.0
    config.original_version = V1
    config.supported_versions = [V2, V1] if args.v2 else [V1, V2]
    if is_client and not args.v2:
        config.supported_versions = [V1]
    if args.chacha20:
        config.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    return config


class Server(QuicConnectionProtocol):
    www = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.requests = None, {}

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self.http = H3Connection(self._quic)
        if self.http is not None:
            for heard in self.http.handle_event(event):
                if isinstance(heard, HeadersReceived):
                    self.answer_h3(heard)
        elif isinstance(event, StreamDataReceived):
            held = self.requests.setdefault(event.stream_id, bytearray())
            held += event.data
            if event.end_stream:
                self.answer(event.stream_id, bytes(self.requests.pop(event.stream_id)))
        self.transmit()

    def find(self, path):
        file = self.www / path.lstrip("/")
        return file.read_bytes() if file.resolve().parent == self.www and file.is_file() else None

    def answer(self, stream, request):
        words = request.decode("ascii", "replace").split()
        data = self.find(words[1]) if len(words) > 1 and words[0] == "GET" else None
        if data is None:
            self._quic.reset_stream(stream, 1)
        else:
            self._quic.send_stream_data(stream, data, end_stream=True)

    def answer_h3(self, event):
        data = self.find(dict(event.headers)[b":path"].decode())
        status = b"404" if data is None else b"200"
        headers = [(b":status", status), (b"content-length", str(len(data or b"")).encode())]
        self.http.send_headers(event.stream_id, headers)
        self.http.send_data(event.stream_id, data or b"", end_stream=True)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.fetching = None, {}

    def quic_event_received(self, event):
        if self.http is not None:
            for heard in self.http.handle_event(event):
                if isinstance(heard, (HeadersReceived, DataReceived)):
                    self.take(heard.stream_id, getattr(heard, "data", b""), heard.stream_ended)
                if isinstance(heard, HeadersReceived) and dict(heard.headers).get(b":status") != b"200":
                    self.fail(heard.stream_id, "not found")
        elif isinstance(event, StreamDataReceived):
            self.take(event.stream_id, event.data, event.end_stream)
        if isinstance(event, StreamReset):
            self.fail(event.stream_id, "reset")

    def take(self, stream, data, ended):
        held, done = self.fetching.get(stream, (None, None))
        if held is None:
            return
        held += data
        if ended and not done.done():
            done.set_result(bytes(held))

    def fail(self, stream, words):
        _, done = self.fetching.get(stream, (None, None))
        if done is not None and not done.done():
            done.set_exception(RuntimeError(words))

    async def fetch(self, path, authority, slots):
        async with slots:
            stream = self._quic.get_next_available_stream_id()
            done = self._loop.create_future()
            self.fetching[stream] = (bytearray(), done)
            if self.http is None:
                self._quic.send_stream_data(stream, f"GET {path}\r\n".encode(), end_stream=True)
            else:
                words = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", path)]
                headers = [(name.encode(), value.encode()) for name, value in words]
                self.http.send_headers(stream, headers, end_stream=True)
            # After the other requests of this turn, which then share packets.
            self._loop.call_soon(self.transmit)
            data = await done
            del self.fetching[stream]
            return data


async def run_server(args):
    config = configuration(args, False)
    config.load_cert_chain(args.cert, args.key)
    Server.www = Path(args.www).resolve()
    host, _, port = args.addr.rpartition(":")
    tickets = {}
    server = await serve(
        host.strip("[]"),
        int(port),
        configuration=config,
        create_protocol=Server,
        retry=args.retry,
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
    )
    address = server._transport.get_extra_info("sockname")
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    print(json.dumps({"listening": f"{shown}:{address[1]}"}), flush=True)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    server.close()


async def connection(args, paths, ticket, early, keep):
    host, _, port = args.connect.rpartition(":")
    config = configuration(args, True)
    config.server_name = args.name
    config.load_verify_locations(args.ca)
    config.session_ticket = ticket
    wait = not early
    async with connect(
        host.strip("[]"),
        int(port),
        configuration=config,
        create_protocol=Client,
        session_ticket_handler=keep,
        wait_connected=wait,
        local_port=0,
    ) as client:
        if args.alpn == "h3":
            client.http = H3Connection(client._quic)
        # What the server permits at once is not asked for: more wait in the queue of the transport.
        slots = asyncio.Semaphore(len(paths) if early else 64)
        update = asyncio.ensure_future(update_keys(client)) if args.key_update else None
        fetched = await asyncio.gather(*(client.fetch(path, args.name, slots) for path in paths))
        for path, data in zip(paths, fetched):
            (Path(args.out) / path.lstrip("/").replace("/", "_")).write_bytes(data)
        if update is not None:
            await update
        if keep is not None and not early and ticket is None:
            for _ in range(200):
                if args.tickets:
                    break
                await asyncio.sleep(0.01)


async def update_keys(client):
    await client.ping()
    client.request_key_update()
    await client.ping()


async def run_client(args):
    args.tickets = []
    if args.many:
        for path in args.paths:
            await connection(args, [path], None, False, None)
    elif args.resume or args.early_data:
        await connection(args, args.paths[:1], None, False, args.tickets.append)
        if not args.tickets:
            raise RuntimeError("there was no ticket")
        await connection(args, args.paths[1:], args.tickets[0], args.early_data, None)
    else:
        await connection(args, args.paths, None, False, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["server", "client"])
    for option in ("addr", "cert", "key", "www", "connect", "name", "ca", "out", "keylog"):
        parser.add_argument(f"--{option}")
    parser.add_argument("--alpn", default=HQ)
    for option in ("retry", "chacha20", "v2", "resume", "early-data", "many", "key-update"):
        parser.add_argument(f"--{option}", action="store_true")
    parser.add_argument("paths", nargs="*")
    args = parser.parse_intermixed_args()
    asyncio.run(run_server(args) if args.side == "server" else run_client(args))


if __name__ == "__main__":
    sys.exit(main())
