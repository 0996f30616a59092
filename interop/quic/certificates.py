"""Certificates for a run: a root, and a leaf behind any number of others, made by the openssl command."""

import subprocess

NAMES = ["server", "server4", "server6", "server46", "localhost"]


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def key(path):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def issue(where, name, issuer, extensions):
    """A certificate for `name`, from `issuer` (another name of this directory) or from itself."""
    key(where / f"{name}.key")
    (where / f"{name}.ext").write_text(extensions)
    openssl("req", "-new", "-key", where / f"{name}.key", "-subj", f"/CN={name}", "-out", where / f"{name}.csr")
    command = ["x509", "-req", "-in", where / f"{name}.csr", "-days", "10", "-extfile", where / f"{name}.ext"]
    command += ["-set_serial", str(abs(hash((name, issuer))) % (1 << 60) + 1)]
    if issuer == name:
        command += ["-signkey", where / f"{name}.key"]
    else:
        command += ["-CA", where / f"{issuer}.crt", "-CAkey", where / f"{issuer}.key"]
    openssl(*command, "-out", where / f"{name}.crt")


def make(where, length=1, names=()):
    """`ca.pem`, `cert.pem` (leaf first) and `key.pem` in `where`: `length` certificates below the root's."""
    where.mkdir(parents=True, exist_ok=True)
    authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"
    issue(where, "root", "root", authority)
    issuer, chain = "root", []
    for number in range(1, length):
        issue(where, f"between{number}", issuer, authority)
        issuer = f"between{number}"
        chain.insert(0, issuer)
    alternatives = ",".join(f"DNS:{name}" for name in [*NAMES, *names])
    issue(where, "leaf", issuer, f"basicConstraints=critical,CA:FALSE\nsubjectAltName={alternatives}\n")
    text = "".join((where / f"{name}.crt").read_text() for name in ["leaf", *chain])
    (where / "cert.pem").write_text(text)
    (where / "key.pem").write_text((where / "leaf.key").read_text())
    (where / "ca.pem").write_text((where / "root.crt").read_text())


def long_names(count=20):
    """Names of 250 characters, to make a certificate large."""
    return [".".join([f"n{number:02}".ljust(61, "x"), "y" * 62, "z" * 62, "w" * 62]) for number in range(count)]
