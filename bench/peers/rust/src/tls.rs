//! rustls over TCP: the most that TLS 1.3 lets through, with the buffered and with the unbuffered API.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme,
};

use crate::pipe::Pipe;
use crate::works::{CHUNK, Pages};

/// More than a record: what is kept of one between two reads lies before the page that the next read begins on.
const ROOM_FOR_REST: usize = 5 * 4096;

fn broken(error: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS 1.3 with a certificate made on the spot.
pub fn server_config() -> io::Result<Arc<ServerConfig>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(broken)?;
    let params = rcgen::CertificateParams::new(vec!["peer".to_string()]).map_err(broken)?;
    let certificate = params.self_signed(&key).map_err(broken)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(broken)?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(broken)?;
    let config = builder
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    config.map(Arc::new).map_err(broken)
}

/// TLS 1.3 against whatever certificate comes: a benchmark on loopback has nobody to authenticate.
pub fn client_config() -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(broken)?;
    let verifier = Arc::new(Anyone(provider()));
    Ok(Arc::new(
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
    ))
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn peer_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from("peer").map_err(broken)
}

/// rustls's buffered API. It asks its reader for 4 KiB at a time: a buffer below it makes large reads of those.
pub struct Buffered {
    connection: Connection,
    reader: BufReader<TcpStream>,
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Buffered {
    fn new(mut connection: Connection, tcp: TcpStream) -> io::Result<Buffered> {
        connection.set_buffer_limit(None);
        let reader = BufReader::with_capacity(CHUNK, tcp.try_clone()?);
        Ok(Buffered {
            connection,
            reader,
            tcp,
            buffer: vec![0; CHUNK],
        })
    }

    /// The client's end.
    pub fn client(tcp: TcpStream) -> io::Result<Buffered> {
        let connection = ClientConnection::new(client_config()?, peer_name()?).map_err(broken)?;
        Buffered::new(connection.into(), tcp)
    }

    /// The server's end.
    pub fn server(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Buffered> {
        let connection = ServerConnection::new(config).map_err(broken)?;
        Buffered::new(connection.into(), tcp)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }
}

impl Pipe for Buffered {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        loop {
            match self.connection.reader().read(&mut self.buffer) {
                Ok(got) => {
                    take(&self.buffer[..got]);
                    return Ok(got > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.flush()?;
            self.connection.read_tls(&mut self.reader)?;
            self.connection.process_new_packets().map_err(broken)?;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.flush()?;
            if self.connection.is_handshaking() {
                self.connection.read_tls(&mut self.reader)?;
                self.connection.process_new_packets().map_err(broken)?;
            }
        }
        self.connection.writer().write_all(bytes)?;
        self.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush()?;
        self.tcp.shutdown(Shutdown::Write)
    }
}

/// What both ends' unbuffered connections have in common.
pub trait Records {
    /// rustls's own state of that side.
    type Data;
    /// Looks at the bytes that came.
    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// rustls's unbuffered API: records are opened where TCP put them, and sealed straight into the buffer that is sent.
pub struct Unbuffered<C> {
    connection: C,
    tcp: TcpStream,
    incoming: Pages,
    filled: std::ops::Range<usize>,
    outgoing: Pages,
    queued: usize,
    ended: bool,
}

/// The client's end.
pub fn unbuffered_client(tcp: TcpStream) -> io::Result<Unbuffered<UnbufferedClientConnection>> {
    let connection =
        UnbufferedClientConnection::new(client_config()?, peer_name()?).map_err(broken)?;
    Ok(Unbuffered::new(connection, tcp))
}

/// The server's end.
pub fn unbuffered_server(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<Unbuffered<UnbufferedServerConnection>> {
    let connection = UnbufferedServerConnection::new(config).map_err(broken)?;
    Ok(Unbuffered::new(connection, tcp))
}

enum Want {
    Nothing,
    Input,
}

impl<C: Records> Unbuffered<C> {
    fn new(connection: C, tcp: TcpStream) -> Unbuffered<C> {
        // The largest plaintext handed over and what its records add: 16 KiB each, 22 bytes and some.
        let room = CHUNK + (CHUNK / 16_384 + 2) * 64;
        let (incoming, outgoing) = (Pages::of(0, ROOM_FOR_REST + CHUNK), Pages::of(0, room));
        Unbuffered {
            connection,
            tcp,
            incoming,
            filled: 0..0,
            outgoing,
            queued: 0,
            ended: false,
        }
    }

    /// One step of the connection: hands over what it opened, seals `bytes` when it can.
    fn step(
        &mut self,
        take: &mut dyn FnMut(&[u8]),
        bytes: Option<&[u8]>,
    ) -> io::Result<(Want, bool)> {
        let UnbufferedStatus { mut discard, state } = self
            .connection
            .step(&mut self.incoming[self.filled.clone()]);
        let mut sealed = false;
        let mut want = Want::Nothing;
        match state.map_err(broken)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(broken)?;
                    discard += record.discard;
                    take(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                match data.encode(&mut self.outgoing[self.queued..]) {
                    Ok(length) => self.queued += length,
                    Err(EncodeError::InsufficientSize(_)) => {
                        return Err(io::Error::other("handshake larger than the buffer"));
                    }
                    Err(error) => return Err(broken(error)),
                }
            }
            ConnectionState::TransmitTlsData(data) => {
                self.tcp.write_all(&self.outgoing[..self.queued])?;
                self.queued = 0;
                data.done();
            }
            ConnectionState::WriteTraffic(mut traffic) => {
                want = Want::Input;
                if let Some(bytes) = bytes {
                    let length = traffic.encrypt(bytes, &mut self.outgoing).map_err(broken)?;
                    self.tcp.write_all(&self.outgoing[..length])?;
                    sealed = true;
                }
            }
            ConnectionState::PeerClosed | ConnectionState::Closed => self.ended = true,
            _ => want = Want::Input,
        }
        self.filled.start += discard;
        Ok((want, sealed))
    }

    fn fill(&mut self) -> io::Result<()> {
        let start = ROOM_FOR_REST - self.filled.len();
        self.incoming.copy_within(self.filled.clone(), start);
        self.filled = start..ROOM_FOR_REST;
        let got = self.tcp.read(&mut self.incoming[self.filled.end..])?;
        self.filled.end += got;
        self.ended |= got == 0;
        Ok(())
    }
}

impl<C: Records> Pipe for Unbuffered<C> {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let mut any = false;
        loop {
            let (want, _) = self.step(
                &mut |bytes| {
                    any = true;
                    take(bytes)
                },
                None,
            )?;
            if self.ended {
                return Ok(any);
            }
            if let Want::Input = want {
                if any {
                    return Ok(true);
                }
                self.fill()?;
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            let (want, sealed) = self.step(&mut |_| {}, Some(bytes))?;
            if sealed {
                return Ok(());
            }
            if let Want::Input = want {
                self.fill()?;
            }
            if self.ended {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let status = self
            .connection
            .step(&mut self.incoming[self.filled.clone()]);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
            let length = traffic
                .queue_close_notify(&mut self.outgoing)
                .map_err(broken)?;
            self.tcp.write_all(&self.outgoing[..length])?;
        }
        self.tcp.shutdown(Shutdown::Write)
    }
}
