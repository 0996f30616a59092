#!/usr/bin/env python3
"""ngtcp2's example programs over HTTP/3, with the options of the other peers here.

    ngtcp2_peer.py server --program gtlsserver --addr IP:0 --cert PEM --key PEM --www DIR ..
    ngtcp2_peer.py client --program gtlsclient --connect IP:PORT --name SNI --ca PEM --out DIR PATH..
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile

CHACHA20 = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305"
QUIET = ["--quiet", "--no-quic-dump", "--no-http-dump"]


def free_port(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def environment(args):
    return {**os.environ, "SSLKEYLOGFILE": args.keylog} if args.keylog else dict(os.environ)


def server(args):
    address = args.addr.rpartition(":")[0]
    port = free_port(address.strip("[]"))
    command = [args.program, *QUIET, "--htdocs", args.www, "--handshake-timeout=60s", "--timeout=60s"]
    command += ["--validate-addr"] if args.retry else []
    command += ["--ciphers", CHACHA20] if args.chacha20 else []
    command += [f"--preferred-ipv4-addr={args.preferred_address}:{port}"] if args.preferred_address else []
    print(json.dumps({"listening": f"{address}:{port}"}), flush=True)
    os.execvpe(args.program, [*command, address.strip("[]"), str(port), args.key, args.cert], environment(args))


def fetch(args, paths, more=()):
    host, _, port = args.connect.rpartition(":")
    command = [args.program, *QUIET, "--download", args.out, "--sni", args.name, "--exit-on-all-streams-close"]
    # Its probes for larger packets would count as what it sends.
    command += ["--handshake-timeout=60s", "--timeout=60s", *(["--no-pmtud"] if args.early_data else []), *more]
    command += ["--ciphers", CHACHA20] if args.chacha20 else []
    command += ["--key-update=100ms"] if args.key_update else []
    command += [host.strip("[]"), port, *(f"https://{args.name}:{port}{path}" for path in paths)]
    subprocess.run(command, check=True, env=environment(args))


def client(args):
    if args.many:
        for path in args.paths:
            fetch(args, [path])
    elif args.resume or args.early_data:
        with tempfile.TemporaryDirectory() as kept:
            keep = [f"--session-file={kept}/session", f"--tp-file={kept}/parameters"]
            fetch(args, args.paths[:1], [*keep, "--disable-early-data"])
            fetch(args, args.paths[1:], [*keep, *([] if args.early_data else ["--disable-early-data"])])
    else:
        fetch(args, args.paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["server", "client"])
    for option in ("program", "addr", "cert", "key", "www", "connect", "name", "ca", "out", "keylog", "preferred-address"):
        parser.add_argument(f"--{option}")
    for option in ("retry", "chacha20", "resume", "early-data", "many", "key-update"):
        parser.add_argument(f"--{option}", action="store_true")
    parser.add_argument("paths", nargs="*")
    args = parser.parse_intermixed_args()
    try:
        return server(args) if args.side == "server" else client(args)
    except subprocess.CalledProcessError as fault:
        return f"{args.program} ended with {fault.returncode}"


if __name__ == "__main__":
    sys.exit(main())
