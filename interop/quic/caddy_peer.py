#!/usr/bin/env python3
"""Caddy as a file server over HTTP/3: chooses a free port, writes its configuration, and says where it listens."""

import argparse
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

CONFIG = """{{
    admin off
    auto_https off
    servers {{
        protocols h1 h2 h3
    }}
}}
https://server:{port} {{
    bind {bind}
    tls {cert} {key}
    root * {www}
    file_server
}}
"""


def free_port(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["server"])
    for option in ("program", "addr", "cert", "key", "www", "keylog"):
        parser.add_argument(f"--{option}", required=True)
    args = parser.parse_args()
    address = args.addr.rpartition(":")[0]
    port = free_port(address.strip("[]"))
    # It is beside the files, which the caller takes away.
    work = Path(tempfile.mkdtemp(dir=Path(args.www).parent))
    config = work / "Caddyfile"
    config.write_text(CONFIG.format(port=port, bind=address, cert=args.cert, key=args.key, www=args.www))
    os.environ.update(XDG_DATA_HOME=str(work), XDG_CONFIG_HOME=str(work))
    print(json.dumps({"listening": f"{address}:{port}"}), flush=True)
    os.execvp(args.program, [args.program, "run", "--adapter", "caddyfile", "--config", str(config)])


if __name__ == "__main__":
    sys.exit(main())
