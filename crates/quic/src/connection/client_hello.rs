//! The one thing the server must know of a ClientHello before TLS sees it: the transport parameters,
//! in which the client says which versions it speaks (RFC 9368 section 2.3).

use crate::wire::varint::Reader;

/// The handshake message type of a ClientHello (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
/// The extension that carries transport parameters (RFC 9001 section 8.2).
const QUIC_TRANSPORT_PARAMETERS: u16 = 0x39;
/// Larger ClientHellos are left to TLS, which will say what is wrong with them.
const MAX_CLIENT_HELLO: usize = 64 * 1024;

/// What is known of the message at the start of the handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peek<'a> {
    /// More bytes are needed.
    Incomplete,
    /// It is whole; these are its transport parameters, if it has any that can be found.
    Complete(Option<&'a [u8]>),
}

/// Looks into the first handshake bytes of a client.
pub(super) fn peek(bytes: &[u8]) -> Peek<'_> {
    let Some((head, body)) = bytes.split_at_checked(4) else {
        return Peek::Incomplete;
    };
    let &[kind, high, middle, low] = head else {
        return Peek::Incomplete;
    };
    let len = u32::from_be_bytes([0, high, middle, low]) as usize;
    if kind != CLIENT_HELLO || len > MAX_CLIENT_HELLO {
        return Peek::Complete(None);
    }
    match body.get(..len) {
        Some(hello) => Peek::Complete(transport_parameters(hello)),
        None => Peek::Incomplete,
    }
}

/// The transport parameters in the body of a ClientHello (RFC 8446 section 4.1.2).
fn transport_parameters(hello: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(hello);
    reader.bytes(2 + 32).ok()?;
    let session_id = reader.u8().ok()?;
    reader.bytes(session_id.into()).ok()?;
    let suites = reader.u16().ok()?;
    reader.bytes(suites.into()).ok()?;
    let compression = reader.u8().ok()?;
    reader.bytes(compression.into()).ok()?;
    let extensions = reader.u16().ok()?;
    let mut reader = Reader::new(reader.bytes(extensions.into()).ok()?);
    while reader.remaining() > 0 {
        let kind = reader.u16().ok()?;
        let len = reader.u16().ok()?;
        let body = reader.bytes(len.into()).ok()?;
        if kind == QUIC_TRANSPORT_PARAMETERS {
            return Some(body);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3; 34];
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0, 0, body.len() as u8];
        message.extend(body);
        message
    }

    #[test]
    fn the_parameters_are_found_behind_other_extensions() {
        // RFC 9001 8.2, RFC 9368 2.3
        let message = hello(&[0, 0, 0, 1, 7, 0, 0x39, 0, 2, 8, 9]);
        assert_eq!(peek(&message), Peek::Complete(Some(&[8, 9][..])));
        for cut in 0..message.len() {
            assert_eq!(peek(&message[..cut]), Peek::Incomplete, "{cut} bytes");
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_to_tls() {
        assert_eq!(peek(&[2, 0, 0, 0]), Peek::Complete(None));
        assert_eq!(peek(&[1, 0xff, 0, 0]), Peek::Complete(None));
        let broken = hello(&[0, 0x39, 0, 9, 1]);
        assert_eq!(peek(&broken), Peek::Complete(None));
    }
}
