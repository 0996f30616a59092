//! The client's transport parameters, before there is a TLS for them: a server chooses the version
//! by them (RFC 9368 section 2.3), and TLS cannot be begun without a version.

use crate::limits::MAX_CLIENT_HELLO;
use crate::wire::varint::{Reader, Truncated};

/// The extension that carries them (RFC 9001 section 8.2).
const TRANSPORT_PARAMETERS: u16 = 0x39;
/// The message type of a ClientHello (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;

/// What the start of the client's CRYPTO stream says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peek<'a> {
    /// The ClientHello goes on beyond it.
    Incomplete,
    /// The transport parameters, encoded.
    Params(&'a [u8]),
    /// It is no ClientHello, or one without transport parameters. What exactly is wrong with it,
    /// TLS says in any version.
    Absent,
}

/// Looks for the transport parameters in `crypto`, all of the client's CRYPTO stream so far, from
/// its start.
pub(crate) fn peek(crypto: &[u8]) -> Peek<'_> {
    let Some((&[kind, high, middle, low], rest)) = crypto.split_first_chunk::<4>() else {
        return match crypto.first() {
            Some(&kind) if kind != CLIENT_HELLO => Peek::Absent,
            _ => Peek::Incomplete,
        };
    };
    let len = u32::from_be_bytes([0, high, middle, low]);
    if kind != CLIENT_HELLO || len > MAX_CLIENT_HELLO {
        return Peek::Absent;
    }
    let Some(body) = rest.get(..len as usize) else {
        return Peek::Incomplete;
    };
    find(body).map_or(Peek::Absent, Peek::Params)
}

/// RFC 8446 section 4.1.2.
fn find(body: &[u8]) -> Result<&[u8], Truncated> {
    const VERSION_AND_RANDOM: usize = 34;
    let mut hello = Reader::new(body);
    hello.bytes(VERSION_AND_RANDOM)?;
    let session_id = hello.u8()?;
    hello.bytes(session_id.into())?;
    let suites = hello.u16()?;
    hello.bytes(suites.into())?;
    let compression = hello.u8()?;
    hello.bytes(compression.into())?;
    let len = hello.u16()?;
    let mut extensions = Reader::new(hello.bytes(len.into())?);
    loop {
        let kind = extensions.u16()?;
        let len = extensions.u16()?;
        let content = extensions.bytes(len.into())?;
        if kind == TRANSPORT_PARAMETERS {
            return Ok(content);
        }
    }
}
