//! The TLS handshake, over rustls' unbuffered interface. Records are fed to rustls one by one, so
//! that it stops exactly where the handshake does and every byte after it is left to [`Records`].

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CipherSuite, CommonState, Error as RustlsError, NamedGroup};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::poll_read_into;
use super::record::{HEADER, Keys, Records};
use super::tap::{Tap, Tapped};
use super::tls::TlsCarrier;
use crate::security::{ALPN_WEIR, PeerId, Security, SecurityError, peer_of};

/// rustls ends a handshake message at 64 KiB; a few records' worth more is never needed.
const MAX_BUFFERED: usize = 128 * 1024;
/// One read brings the whole flight of either side (under 3 KiB), or the start of the data behind
/// it.
const READ: usize = 16 * 1024;
/// How long, and for how many reads of what it sent meanwhile, a refused peer may take to read why.
const ALERT_TIME: Duration = Duration::from_secs(1);
const ALERT_READS: usize = 16;

/// What the handshake found out about the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// Who it is, proven.
    pub(crate) peer_id: PeerId,
    /// The application protocol that both sides speak.
    pub(crate) alpn: Vec<u8>,
    /// How the two sides agreed on keys, in TLS's words.
    pub(crate) key_exchange: NamedGroup,
    /// How the data is sealed, in TLS's words.
    pub(crate) cipher_suite: CipherSuite,
}

impl Security {
    /// Secures a TCP connection that this side dialled, for weir's own protocol.
    ///
    /// # Errors
    /// As [`connect_tls`].
    pub(crate) async fn connect<S>(
        &self,
        stream: S,
        expect: Option<PeerId>,
        tap: Option<Box<dyn Tap>>,
    ) -> Result<(TlsCarrier<Tapped<S>>, PeerInfo), SecurityError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = self.client(expect, &[ALPN_WEIR]);
        connect_tls(Tapped::new(stream, tap), config).await
    }

    /// Secures a TCP connection that was accepted, for weir's own protocol.
    ///
    /// # Errors
    /// As [`accept_tls`].
    pub(crate) async fn accept<S>(
        &self,
        stream: S,
        tap: Option<Box<dyn Tap>>,
    ) -> Result<(TlsCarrier<Tapped<S>>, PeerInfo), SecurityError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = self.server(None, &[ALPN_WEIR]);
        accept_tls(Tapped::new(stream, tap), config).await
    }
}

/// Secures a connection that this side dialled. The caller sets the time limit; cancelling drops
/// the connection.
///
/// # Errors
/// When the peer is not the one expected, breaks a rule, or the network fails. A server learns who
/// its client is last: it may refuse this side after this has returned, which shows as an error of
/// the first read.
pub(crate) async fn connect_tls<S>(
    stream: S,
    config: Arc<ClientConfig>,
) -> Result<(TlsCarrier<S>, PeerInfo), SecurityError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The peer is known by its key. A name is required though never sent.
    let nobody = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
    let connection = UnbufferedClientConnection::new(config, nobody)?;
    Handshake::new(stream, connection).run().await
}

/// Secures a connection that was accepted. The caller sets the time limit; cancelling drops the
/// connection.
///
/// # Errors
/// When the peer is not the one expected, breaks a rule, or the network fails.
pub(crate) async fn accept_tls<S>(
    stream: S,
    config: Arc<ServerConfig>,
) -> Result<(TlsCarrier<S>, PeerInfo), SecurityError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = UnbufferedServerConnection::new(config)?;
    Handshake::new(stream, connection).run().await
}

/// What rustls wants done next.
enum Step {
    /// To be asked again: it has more to say.
    Again,
    /// The bytes in `outgoing` are to be sent.
    Transmit,
    /// More records from the peer.
    Receive,
    Done,
}

/// One of rustls' two kinds of connection.
trait Side {
    fn step(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Step, RustlsError>);
    fn common(&self) -> &CommonState;
    fn into_records(self) -> Result<Records, RustlsError>;
}

impl Side for UnbufferedClientConnection {
    fn step(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Step, RustlsError>) {
        act(self.process_tls_records(incoming), outgoing)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_records(self) -> Result<Records, RustlsError> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Records::new(
            kernel.negotiated_cipher_suite(),
            secrets,
            Keys::Client(kernel),
        )
    }
}

impl Side for UnbufferedServerConnection {
    fn step(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Step, RustlsError>) {
        act(self.process_tls_records(incoming), outgoing)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_records(self) -> Result<Records, RustlsError> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Records::new(
            kernel.negotiated_cipher_suite(),
            secrets,
            Keys::Server(kernel),
        )
    }
}

/// Does what rustls' state asks for. Returns the bytes to discard from the front of the input.
fn act<D>(
    status: UnbufferedStatus<'_, '_, D>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Step, RustlsError>) {
    let step = status.state.and_then(|state| match state {
        ConnectionState::EncodeTlsData(record) => encode(record, outgoing),
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Ok(Step::Transmit)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Receive),
        ConnectionState::WriteTraffic(_) => Ok(Step::Done),
        _ => Err(RustlsError::HandshakeNotComplete),
    });
    (status.discard, step)
}

fn encode<D>(
    mut record: EncodeTlsData<'_, D>,
    outgoing: &mut Vec<u8>,
) -> Result<Step, RustlsError> {
    let failed = |e: EncodeError| RustlsError::General(e.to_string());
    // Asking with no room is how to learn the size.
    let size = match record.encode(&mut []) {
        Ok(_) => 0,
        Err(EncodeError::InsufficientSize(e)) => e.required_size,
        Err(e) => return Err(failed(e)),
    };
    let start = outgoing.len();
    outgoing.resize(start + size, 0);
    if let Some(room) = outgoing.get_mut(start..).filter(|room| !room.is_empty()) {
        record.encode(room).map_err(failed)?;
    }
    Ok(Step::Again)
}

struct Handshake<S, C> {
    stream: S,
    connection: C,
    incoming: BytesMut,
    outgoing: Vec<u8>,
}

impl<S, C> Handshake<S, C>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Side,
{
    fn new(stream: S, connection: C) -> Self {
        Handshake {
            stream,
            connection,
            incoming: BytesMut::with_capacity(READ),
            outgoing: Vec::with_capacity(4096),
        }
    }

    async fn run(mut self) -> Result<(TlsCarrier<S>, PeerInfo), SecurityError> {
        // Bytes that rustls has seen and wants to see again: it decrypts and joins messages in
        // place there.
        let mut shown = 0;
        loop {
            let records = self.incoming.get_mut(..shown).unwrap_or_default();
            let (used, step) = self.connection.step(records, &mut self.outgoing);
            let used = used.min(shown);
            self.incoming.advance(used);
            shown -= used;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Transmit) => self.transmit().await?,
                Ok(Step::Done) => break,
                Ok(Step::Receive) => shown += self.next_record(shown).await?,
                Err(error) => {
                    // The error is reported whether the peer learns of it or not.
                    let _ = timeout(ALERT_TIME, self.send_alert()).await;
                    return Err(error.into());
                }
            }
        }
        self.finish()
    }

    /// Reads until there is a whole record behind the first `shown` bytes; its length.
    async fn next_record(&mut self, shown: usize) -> Result<usize, SecurityError> {
        loop {
            match record_len(self.incoming.get(shown..).unwrap_or_default())? {
                Some(len) => return Ok(len),
                None => self.receive().await?,
            }
        }
    }

    fn finish(self) -> Result<(TlsCarrier<S>, PeerInfo), SecurityError> {
        let common = self.connection.common();
        let peer_id = peer_of(common.peer_certificates())?;
        // RFC 7301 3.2 lets a side ignore ALPN; here it is how both know what they speak.
        let alpn = common
            .alpn_protocol()
            .ok_or(SecurityError::NoCommonProtocol)?;
        let unfinished = RustlsError::HandshakeNotComplete;
        let group = common
            .negotiated_key_exchange_group()
            .ok_or(unfinished.clone())?;
        let suite = common.negotiated_cipher_suite().ok_or(unfinished)?;
        let info = PeerInfo {
            peer_id,
            alpn: alpn.to_vec(),
            key_exchange: group.name(),
            cipher_suite: suite.suite(),
        };
        let records = self.connection.into_records()?;
        Ok((TlsCarrier::new(self.stream, records, self.incoming), info))
    }

    /// Sends what is ready. Reads meanwhile: the peer may be sending too, and not read before it is
    /// done.
    async fn transmit(&mut self) -> Result<(), SecurityError> {
        let mut sent = 0;
        poll_fn(|cx| {
            while let Some(rest) = self.outgoing.get(sent..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut self.stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(SecurityError::Ended)),
                    Poll::Ready(written) => sent += written?,
                    Poll::Pending => ready!(self.poll_receive(cx))?,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        self.outgoing.clear();
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<(), SecurityError> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SecurityError>> {
        if self.incoming.len() > MAX_BUFFERED {
            return Poll::Ready(Err(SecurityError::NotTls));
        }
        self.incoming.reserve(READ);
        match ready!(poll_read_into(&mut self.stream, cx, &mut self.incoming))? {
            0 => Poll::Ready(Err(SecurityError::Ended)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Tells the peer why, and waits for it to hang up: closing a socket with unread bytes resets
    /// the connection, and the peer would lose the alert.
    async fn send_alert(&mut self) -> Result<(), SecurityError> {
        while self.connection.common().wants_write() {
            let (_, step) = self.connection.step(&mut [], &mut self.outgoing);
            step?;
        }
        self.transmit().await?;
        self.stream.shutdown().await?;
        for _ in 0..ALERT_READS {
            self.incoming.clear();
            self.receive().await?;
        }
        Ok(())
    }
}

/// The length of the record at the front of `bytes`, once it is all there.
fn record_len(bytes: &[u8]) -> Result<Option<usize>, SecurityError> {
    // Content types 20 to 23, version 3.x: anything else is another protocol, and waiting for as
    // many bytes as its text seems to announce would be in vain.
    if let [kind, version, ..] = *bytes
        && !(matches!(kind, 20..=23) && version == 3)
    {
        return Err(SecurityError::NotTls);
    }
    let [_, _, _, high, low, ..] = *bytes else {
        return Ok(None);
    };
    let len = HEADER + usize::from(u16::from_be_bytes([high, low]));
    Ok((bytes.len() >= len).then_some(len))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "openssl_tests.rs"]
mod openssl_tests;
