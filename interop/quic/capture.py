"""What a capture says, as tshark dissects it with the keys of the run."""

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

V1, V2 = 0x00000001, 0x6B3343CF
LONG = {V1: ["initial", "0rtt", "handshake", "retry"], V2: ["retry", "initial", "0rtt", "handshake"]}


def available():
    return shutil.which("tshark") is not None


class Packet:
    """One QUIC packet."""

    def __init__(self, datagram, proto, kind, version):
        self.datagram, self.proto, self.kind, self.version = datagram, proto, kind, version

    def values(self, name):
        return [field.get("show", "") for field in self.proto.iter("field") if field.get("name") == name]

    def raw(self, name):
        return [field.get("value", "") for field in self.proto.iter("field") if field.get("name") == name]

    def number(self, name):
        found = self.values(name)
        return int(found[0], 0) if found else None


class Datagram:
    """One UDP datagram: who sent it, how long its payload is, its packets."""

    def __init__(self, element, ports):
        fields = {}
        for proto in element.findall("proto"):
            if proto.get("name") in ("ip", "ipv6", "udp"):
                for field in proto.iter("field"):
                    fields.setdefault(field.get("name"), field.get("show", ""))
        self.source = (fields.get("ip.src") or fields.get("ipv6.src"), int(fields.get("udp.srcport", 0)))
        self.target = (fields.get("ip.dst") or fields.get("ipv6.dst"), int(fields.get("udp.dstport", 0)))
        self.length = int(fields.get("udp.length", 8)) - 8
        ecn = fields.get("ip.dsfield.ecn") or fields.get("ipv6.tclass.ecn") or "0"
        self.ecn = int(ecn, 0)
        self.is_ipv4 = "ip.src" in fields
        self.from_server = self.source[1] in ports
        self.packets = [self.packet(proto) for proto in element.findall("proto") if proto.get("name") == "quic"]

    def packet(self, proto):
        values = {}
        for field in proto.iter("field"):
            values.setdefault(field.get("name"), field.get("show", ""))
        version = int(values["quic.version"], 0) if "quic.version" in values else None
        if version is None:
            return Packet(self, proto, "1rtt", None)
        if version == 0:
            return Packet(self, proto, "version-negotiation", 0)
        kind = values.get("quic.long.packet_type") or values.get("quic.long.packet_type_v2")
        kinds = LONG.get(version, LONG[V1])
        return Packet(self, proto, kinds[int(kind, 0)] if kind else "?", version)


class Capture:
    """All datagrams of a capture, in order; `port` is the server's there."""

    def __init__(self, path, keys, port, first=None, only=None):
        command = ["tshark", "-r", str(path), "-T", "pdml", "-d", f"udp.port=={port},quic"]
        if first:
            command += ["-c", str(first)]
        if only:
            command += ["-Y", only]
        merged = path.with_suffix(".keys")
        merged.write_text("".join(sorted({line for key in keys if key.exists() for line in key.open()})))
        command += ["-o", f"tls.keylog_file:{merged}"]
        self.datagrams = []
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _, element in ElementTree.iterparse(child.stdout):
            if element.tag == "packet":
                self.datagrams.append(Datagram(element, {port}))
        child.wait()

    def packets(self, kind=None, server=None):
        for datagram in self.datagrams:
            if server is not None and datagram.from_server != server:
                continue
            for packet in datagram.packets:
                if kind is None or packet.kind == kind:
                    yield packet

    def handshakes(self):
        """Connections that the server began, by the source connection IDs of its Initial packets."""
        return len({packet.raw("quic.scid")[0] for packet in self.packets("initial", server=True) if packet.raw("quic.scid")})
