#!/usr/bin/env python3
"""libcurl over HTTP/3 (ngtcp2 and nghttp3), as curl_cffi ships it, as the client of the interop cases.

    curl_peer.py client --connect IP:PORT --name SNI --ca PEM --out DIR PATH..
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from curl_cffi import AsyncSession, CurlHttpVersion, CurlOpt

# Below what servers permit at once: libcurl opens another connection where one is full.
PARALLEL = 50


async def fetch(session, args, path, slots):
    port = args.connect.rpartition(":")[2]
    async with slots:
        answer = await session.get(f"https://{args.name}:{port}{path}", http_version=CurlHttpVersion.V3ONLY)
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code}")
    (Path(args.out) / path.lstrip("/").replace("/", "_")).write_bytes(answer.content)


async def connection(args, paths):
    """All of `paths` over one connection: a request that finds one on its way waits for it."""
    host, _, port = args.connect.rpartition(":")
    options = {CurlOpt.RESOLVE: [f"{args.name}:{port}:{host.strip('[]')}"], CurlOpt.PIPEWAIT: 1}
    slots = asyncio.Semaphore(PARALLEL)
    async with AsyncSession(verify=args.ca, max_clients=PARALLEL, timeout=args.secs, curl_options=options) as session:
        # The first alone: those that begin while there is no connection yet might make one of their own.
        await fetch(session, args, paths[0], slots)
        await asyncio.gather(*(fetch(session, args, path, slots) for path in paths[1:]))


async def run(args):
    if args.many:
        for path in args.paths:
            await connection(args, [path])
    else:
        await connection(args, args.paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["client"])
    for option in ("connect", "name", "ca", "out"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--keylog")
    parser.add_argument("--many", action="store_true")
    parser.add_argument("--secs", type=int, default=60)
    parser.add_argument("paths", nargs="*")
    args = parser.parse_intermixed_args()
    if args.keylog:
        os.environ["SSLKEYLOGFILE"] = args.keylog
    asyncio.run(run(args))


if __name__ == "__main__":
    sys.exit(main())
