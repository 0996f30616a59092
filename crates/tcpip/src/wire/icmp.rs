//! What ICMP for IPv4 and for IPv6 have in common (RFC 792, RFC 4443 2.1 and 4.1).

/// Appends a message: type, code, room for the checksum, the `fixed` part and what follows it.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, code: u8, fixed: &[u8], data: &[u8]) {
    out.extend_from_slice(&[kind, code, 0, 0]);
    out.extend_from_slice(fixed);
    out.extend_from_slice(data);
}

/// The fixed part of an echo.
pub(super) const fn echo(id: u16, seq: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), seq.to_be_bytes());
    [a, b, c, d]
}

/// Identifier and sequence number of an echo's fixed part.
pub(super) const fn echoed([a, b, c, d]: [u8; 4]) -> (u16, u16) {
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}
