//! TLS 1.3 records after the handshake (RFC 8446 section 5): sealing and opening them, without I/O.
//!
//! rustls' own unbuffered interface copies every received record into a vector of its own before it
//! hands it out. Here its handshake gives the keys over (`rustls::kernel`) and its
//! `MessageDecrypter` is called directly, so that a record is decrypted where it was read and
//! handed out as a slice of that chunk; sealing is [`Sealer`]'s. This file keeps the count of
//! records and acts on what is not data: alerts and key updates.

use bytes::{Buf, Bytes, BytesMut};
use rustls::client::ClientConnectionData;
use rustls::crypto::cipher::{InboundOpaqueMessage, MessageDecrypter};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

use super::sealer::Sealer;
use super::tls_error::TlsError;

/// Content type, legacy version, length (RFC 8446 5.1).
pub(super) const HEADER: usize = 5;
/// RFC 8446 5.1: the most plaintext that a record holds.
pub(super) const MAX_PLAINTEXT: usize = 1 << 14;
/// RFC 8446 5.2: the most that encryption may add.
const MAX_EXPANSION: usize = 256;
/// Alerts, key updates, tickets and empty records that a peer may send in a row without any data.
/// Honest ones need a handful; a peer that sends nothing else only burns our time.
const MAX_IDLE_RECORDS: u32 = 64;
/// Traffic keys are replaced this many records before the cipher's limit.
const REKEY_MARGIN: u64 = 1 << 10;
/// Handshake message types (RFC 8446 4) that may come after the handshake.
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Where new traffic secrets come from.
pub(super) enum Keys {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl Keys {
    fn next_tx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Keys::Client(kernel) => kernel.update_tx_secret(),
            Keys::Server(kernel) => kernel.update_tx_secret(),
        }
    }

    fn next_rx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Keys::Client(kernel) => kernel.update_rx_secret(),
            Keys::Server(kernel) => kernel.update_rx_secret(),
        }
    }
}

/// What stood at the front of the received bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Opened {
    /// Less than a whole record.
    Incomplete,
    /// A record of data: a slice of the chunk that it was read into.
    Data(Bytes),
    /// A record that was for TLS itself, or empty.
    Internal,
    /// The peer will send no more (close_notify).
    Closed,
}

/// Both directions of the record layer of one connection.
pub(super) struct Records {
    suite: &'static Tls13CipherSuite,
    keys: Keys,
    sealer: Sealer,
    /// Number of the next record that is sealed with the current key, and where the key is
    /// replaced.
    tx_seq: u64,
    rekey_at: u64,
    decrypter: Box<dyn MessageDecrypter>,
    rx_seq: u64,
    /// Bytes of a handshake message that are still to be skipped, and the start of its header.
    message: MessageSkipper,
    idle: u32,
    /// The peer asked for new keys of ours and has not got them yet. One answer serves any number
    /// of requests.
    key_update_due: bool,
}

impl Records {
    pub(super) fn new(
        suite: SupportedCipherSuite,
        secrets: ExtractedSecrets,
        keys: Keys,
    ) -> Result<Records, rustls::Error> {
        let SupportedCipherSuite::Tls13(suite) = suite;
        let (tx_seq, tx) = secrets.tx;
        let (rx_seq, rx) = secrets.rx;
        Ok(Records {
            suite,
            keys,
            sealer: Sealer::new(&tx)?,
            tx_seq,
            rekey_at: suite
                .common
                .confidentiality_limit
                .saturating_sub(REKEY_MARGIN),
            decrypter: decrypter(suite, rx)?,
            rx_seq,
            message: MessageSkipper::default(),
            idle: 0,
            key_update_due: false,
        })
    }

    /// Takes one record off the front of `chunk`, decrypted in place.
    pub(super) fn open(&mut self, chunk: &mut BytesMut) -> Result<Opened, TlsError> {
        let Some(len) = record_len(chunk)? else {
            return Ok(Opened::Incomplete);
        };
        if chunk.len() < len {
            return Ok(Opened::Incomplete);
        }
        let mut record = chunk.split_to(len);
        record.advance(HEADER);
        let (content_type, payload) = self.decrypt(record)?;
        if content_type == ContentType::ApplicationData && !payload.is_empty() {
            self.message.expect_boundary()?;
            self.idle = 0;
            return Ok(Opened::Data(payload));
        }
        self.idle += 1;
        if self.idle > MAX_IDLE_RECORDS {
            return Err(TlsError::Unexpected("only records without data"));
        }
        match content_type {
            ContentType::ApplicationData => self.message.expect_boundary()?,
            ContentType::Alert => return self.alert(&payload),
            ContentType::Handshake => self.handshake(&payload)?,
            _ => return Err(TlsError::Unexpected("an unknown record type")),
        }
        Ok(Opened::Internal)
    }

    fn decrypt(&mut self, mut record: BytesMut) -> Result<(ContentType, Bytes), TlsError> {
        let start = record.as_ptr();
        let sealed = InboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            &mut record,
        );
        let plain = self.decrypter.decrypt(sealed, self.rx_seq)?;
        let (content_type, len) = (plain.typ, plain.payload.len());
        // Nothing promises that plaintext lands at the start of the ciphertext, though it always
        // does.
        if plain.payload.as_ptr() != start {
            return Ok((content_type, Bytes::copy_from_slice(plain.payload)));
        }
        self.rx_seq += 1;
        record.truncate(len);
        Ok((content_type, record.freeze()))
    }

    fn alert(&mut self, payload: &[u8]) -> Result<Opened, TlsError> {
        self.message.expect_boundary()?;
        // RFC 8446 5.1: an alert is alone in its record. 6: the level is to be ignored.
        let [_level, description] = *payload else {
            return Err(TlsError::Decode("an alert of the wrong length"));
        };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => Ok(Opened::Closed),
            AlertDescription::UserCanceled => Ok(Opened::Internal),
            other => Err(TlsError::Alert(other)),
        }
    }

    fn handshake(&mut self, payload: &[u8]) -> Result<(), TlsError> {
        if payload.is_empty() {
            return Err(TlsError::Unexpected("an empty handshake record"));
        }
        let is_client = matches!(self.keys, Keys::Client(_));
        let mut rest = payload;
        while let Some(message_type) = self.message.next(&mut rest)? {
            match message_type {
                // Sessions are never resumed (see `security::tls`), so tickets are of no use.
                NEW_SESSION_TICKET if is_client => {}
                KEY_UPDATE => self.key_update(&mut rest)?,
                _ => {
                    return Err(TlsError::Unexpected(
                        "a handshake message after the handshake",
                    ));
                }
            }
        }
        Ok(())
    }

    /// RFC 8446 4.6.3. `rest` begins with the message's body, and must end with it: the next record
    /// is sealed with the next key.
    fn key_update(&mut self, rest: &mut &[u8]) -> Result<(), TlsError> {
        let requested = match std::mem::take(rest) {
            [0] => false,
            [1] => true,
            [_] => return Err(TlsError::Illegal("a key update of an unknown kind")),
            _ => {
                return Err(TlsError::Unexpected(
                    "a key update that does not end its record",
                ));
            }
        };
        self.message = MessageSkipper::default();
        let (seq, secrets) = self.keys.next_rx()?;
        self.decrypter = decrypter(self.suite, secrets)?;
        self.rx_seq = seq;
        self.key_update_due |= requested;
        Ok(())
    }

    /// Whether a key update waits to be sealed by [`update_keys`](Records::update_keys).
    pub(super) fn wants_key_update(&self) -> bool {
        self.key_update_due || self.tx_seq >= self.rekey_at
    }

    /// Seals the announcement of new keys of ours, and changes to them.
    pub(super) fn update_keys(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.key_update_due = false;
        // update_not_requested: the peer decides about its own keys.
        let message = [KEY_UPDATE, 0, 0, 1, 0];
        self.seal_as(ContentType::Handshake, &[&message], out)?;
        self.next_tx_keys()
    }

    pub(super) fn next_tx_keys(&mut self) -> Result<(), TlsError> {
        let (seq, secrets) = self.keys.next_tx()?;
        self.sealer = Sealer::new(&secrets)?;
        self.tx_seq = seq;
        Ok(())
    }

    /// Appends one record of data to `out`: all of `parts`, at most [`MAX_PLAINTEXT`] together.
    pub(super) fn seal(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.seal_as(ContentType::ApplicationData, parts, out)
    }

    /// Appends an alert to `out`: close_notify, or a fatal one.
    pub(super) fn seal_alert(
        &mut self,
        alert: AlertDescription,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        // RFC 8446 6: close_notify is a warning (1), all others are fatal (2).
        let level = if alert == AlertDescription::CloseNotify {
            1
        } else {
            2
        };
        self.seal_as(ContentType::Alert, &[&[level, alert.into()]], out)
    }

    pub(super) fn seal_as(
        &mut self,
        content_type: ContentType,
        parts: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        self.sealer.seal(self.tx_seq, content_type, parts, out)?;
        self.tx_seq += 1;
        Ok(())
    }

    /// One record by itself.
    #[cfg(test)]
    pub(super) fn sealed(
        &mut self,
        content_type: ContentType,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, TlsError> {
        let mut record = Vec::new();
        self.seal_as(content_type, parts, &mut record)?;
        Ok(record)
    }

    /// Records sealed with the current key.
    #[cfg(test)]
    pub(super) fn tx_seq(&self) -> u64 {
        self.tx_seq
    }

    /// Makes keys be replaced after this many records, so that a test need not send 2^24.
    #[cfg(test)]
    pub(super) fn rekey_after(&mut self, records: u64) {
        self.rekey_at = records;
    }
}

/// The length of the record at the front of `bytes`, header included, or `None` when it is not to
/// be seen yet.
fn record_len(bytes: &[u8]) -> Result<Option<usize>, TlsError> {
    let [content_type, _, _, high, low, ..] = *bytes else {
        return Ok(None);
    };
    // RFC 8446 5.2: everything protected looks like data from outside.
    if ContentType::from(content_type) != ContentType::ApplicationData {
        return Err(TlsError::Unexpected("an unprotected record"));
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_PLAINTEXT + MAX_EXPANSION {
        return Err(TlsError::Oversized);
    }
    Ok(Some(HEADER + len))
}

/// Walks over handshake messages, which may be cut into records anywhere, without keeping them.
#[derive(Default)]
struct MessageSkipper {
    header: [u8; 4],
    have: usize,
    skip: usize,
}

impl MessageSkipper {
    /// Moves past the rest of the last message and the next header. `Some(type)`: `rest` begins
    /// with its body. `None`: `rest` is used up.
    fn next(&mut self, rest: &mut &[u8]) -> Result<Option<u8>, TlsError> {
        let skipped = self.skip.min(rest.len());
        rest.advance(skipped);
        self.skip -= skipped;
        while self.skip == 0 && !rest.is_empty() {
            if let Some(byte) = self.header.get_mut(self.have) {
                *byte = rest.get_u8();
                self.have += 1;
            }
            if self.have == self.header.len() {
                let [message_type, a, b, c] = self.header;
                self.have = 0;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                if message_type == KEY_UPDATE && self.skip != 1 {
                    return Err(TlsError::Decode("a key update of the wrong length"));
                }
                return Ok(Some(message_type));
            }
        }
        Ok(None)
    }

    /// RFC 8446 5.1: no other record may stand between the parts of a handshake message.
    fn expect_boundary(&self) -> Result<(), TlsError> {
        if self.have == 0 && self.skip == 0 {
            Ok(())
        } else {
            Err(TlsError::Unexpected("a record within a handshake message"))
        }
    }
}

fn decrypter(
    suite: &Tls13CipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Result<Box<dyn MessageDecrypter>, rustls::Error> {
    let (key, iv) = key_and_iv(secrets)?;
    Ok(suite.aead_alg.decrypter(key, iv))
}

fn key_and_iv(
    secrets: ConnectionTrafficSecrets,
) -> Result<(rustls::crypto::cipher::AeadKey, rustls::crypto::cipher::Iv), rustls::Error> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(rustls::Error::General("unknown cipher suite".into())),
    }
}
