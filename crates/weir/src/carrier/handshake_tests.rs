//! Who gets in, who does not, and what each side learns of it.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use rustls::AlertDescription;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, duplex};
use tokio::net::TcpStream;

use super::super::Carrier;
use super::super::testing::{End, configs, security, shake, tcp_sockets};
use super::*;
use crate::security::{CertificateError, Identity, PeerMismatch};

fn failure<T>(result: Result<T, SecurityError>) -> SecurityError {
    match result {
        Ok(_) => panic!("the handshake succeeded"),
        Err(error) => error,
    }
}

/// The error of the first read, for a client that was refused after its own handshake was over.
async fn refusal<C: Carrier>(carrier: C) -> String {
    End::new(carrier).read().await.unwrap_err().to_string()
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (client, server) = (security(), security());
    let configs = (
        client.client(None, &[ALPN_WEIR]),
        server.server(None, &[b"other", ALPN_WEIR]),
    );
    let (ours, theirs) = shake(duplex(4096), configs).await;
    let (ours, theirs) = (ours.unwrap().1, theirs.unwrap().1);
    assert_eq!(ours.peer_id, server.peer_id());
    assert_eq!(theirs.peer_id, client.peer_id());
    for info in [ours, theirs] {
        assert_eq!(info.alpn, ALPN_WEIR);
        assert_eq!(info.key_exchange, NamedGroup::X25519MLKEM768);
    }
}

#[tokio::test]
async fn a_handshake_survives_any_cut_of_its_bytes() {
    for buffer in [1, 2, 7, 100, 1 << 20] {
        let (client, server) = shake(duplex(buffer), configs()).await;
        eprintln!("shaken");
        let (mut client, mut server) = (End::new(client.unwrap().0), End::new(server.unwrap().0));
        let sent = tokio::join!(client.write_all(b"ping"), server.read_exact(4));
        assert_eq!(sent.1.unwrap(), b"ping");
        let sent = tokio::join!(server.write_all(b"pong"), client.read_exact(4));
        assert_eq!(sent.1.unwrap(), b"pong");
    }
}

#[tokio::test]
async fn a_client_refuses_another_peer_than_the_expected() {
    let (client, server) = (security(), security());
    let expected = security().peer_id();
    let configs = (
        client.client(Some(expected), &[ALPN_WEIR]),
        server.server(None, &[ALPN_WEIR]),
    );
    let (ours, theirs) = shake(tcp_sockets().await, configs).await;
    let found = server.peer_id();
    match failure(ours) {
        SecurityError::Mismatch(error) => {
            assert_eq!(*error, PeerMismatch { expected, found });
            let text = error.to_string();
            assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()));
        }
        other => panic!("{other}"),
    }
    let theirs = failure(theirs).to_string();
    assert!(
        theirs.contains("does not accept this side's identity"),
        "{theirs}"
    );
}

#[tokio::test]
async fn a_server_refuses_another_peer_than_the_expected() {
    let (client, server) = (security(), security());
    let expected = security().peer_id();
    let configs = (
        client.client(None, &[ALPN_WEIR]),
        server.server(Some(expected), &[ALPN_WEIR]),
    );
    let (ours, theirs) = tcp_sockets().await;
    // The client talks at once, as it may: the alert must reach it all the same.
    let ours = async {
        let (carrier, _) = connect_tls(ours, configs.0).await.unwrap();
        let mut end = End::new(carrier);
        end.write_all(&[7; 100_000]).await.unwrap();
        end.read().await.unwrap_err()
    };
    let (ours, theirs) = tokio::join!(ours, accept_tls(theirs, configs.1));
    let found = client.peer_id();
    match failure(theirs) {
        SecurityError::Mismatch(error) => assert_eq!(*error, PeerMismatch { expected, found }),
        other => panic!("{other}"),
    }
    let text = ours.to_string();
    assert!(
        text.contains("does not accept this side's identity"),
        "{text}"
    );
    assert_eq!(ours.kind(), io::ErrorKind::ConnectionAborted);
}

#[derive(Debug)]
struct Year4097;

impl TimeProvider for Year4097 {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            67_122_864_000,
        )))
    }
}

#[tokio::test]
async fn expired_certificates_are_refused_by_both_sides() {
    let late = || Security::with_time(&Identity::generate().unwrap(), Arc::new(Year4097)).unwrap();
    let is_expired = |error: SecurityError| {
        matches!(error, SecurityError::Certificate(CertificateError::Expired))
    };
    let alpn: &[&[u8]] = &[ALPN_WEIR];
    let configs = (late().client(None, alpn), security().server(None, alpn));
    let (ours, theirs) = shake(duplex(4096), configs).await;
    assert!(is_expired(failure(ours)) && theirs.is_err());

    let configs = (security().client(None, alpn), late().server(None, alpn));
    let (ours, theirs) = shake(duplex(4096), configs).await;
    assert!(is_expired(failure(theirs)));
    assert!(refusal(ours.unwrap().0).await.contains("identity"));
}

/// Sends its certificate twice.
fn twice(security: &Security) -> Arc<SingleCertAndKey> {
    let (certificate, key) = security.certificate_and_key();
    let chain = vec![certificate.clone(), certificate];
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

#[tokio::test]
async fn two_certificates_are_refused_by_both_sides() {
    let (client, server) = (security(), security());
    let alpn: &[&[u8]] = &[ALPN_WEIR];
    let two = |error: SecurityError| {
        matches!(
            error,
            SecurityError::Certificate(CertificateError::Count(2))
        )
    };

    let mut bad = (*client.client(None, alpn)).clone();
    bad.client_auth_cert_resolver = twice(&client);
    let configs = (Arc::new(bad), server.server(None, alpn));
    let (ours, theirs) = shake(duplex(4096), configs).await;
    assert!(two(failure(theirs)));
    assert!(refusal(ours.unwrap().0).await.contains("identity"));

    let mut bad = (*server.server(None, alpn)).clone();
    bad.cert_resolver = twice(&server);
    let configs = (client.client(None, alpn), Arc::new(bad));
    let (ours, theirs) = shake(duplex(4096), configs).await;
    assert!(two(failure(ours)));
    assert!(theirs.is_err());
}

/// Believes any server, as a client that does not care would.
#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let mut config = ClientConfig::builder_with_provider(crate::security::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_WEIR.to_vec()];
    config.enable_secret_extraction = true;
    let configs = (Arc::new(config), security().server(None, &[ALPN_WEIR]));
    let (ours, theirs) = shake(duplex(4096), configs).await;
    assert!(matches!(failure(theirs), SecurityError::NoCertificate));
    assert!(
        refusal(ours.unwrap().0)
            .await
            .contains("wants a certificate")
    );
}

#[tokio::test]
async fn without_a_common_protocol_there_is_no_connection() {
    let alpn = |client: &[&[u8]], server: &[&[u8]]| {
        (
            security().client(None, client),
            security().server(None, server),
        )
    };
    let (ours, theirs) = shake(duplex(4096), alpn(&[ALPN_WEIR], &[b"weir/2"])).await;
    assert!(matches!(failure(ours), SecurityError::NoCommonProtocol));
    assert!(matches!(failure(theirs), SecurityError::NoCommonProtocol));
    // Neither side may leave it out.
    let (_, theirs) = shake(duplex(4096), alpn(&[], &[ALPN_WEIR])).await;
    assert!(matches!(failure(theirs), SecurityError::NoCommonProtocol));
    let (ours, _) = shake(duplex(4096), alpn(&[ALPN_WEIR], &[])).await;
    assert!(matches!(failure(ours), SecurityError::NoCommonProtocol));
}

#[tokio::test]
async fn other_protocols_are_told_apart() {
    for text in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\0\0\0",
    ] {
        let (mut other, ours) = duplex(4096);
        other.write_all(text.as_bytes()).await.unwrap();
        let server = security().server(None, &[ALPN_WEIR]);
        let error = failure(accept_tls(ours, server).await);
        assert!(matches!(error, SecurityError::NotTls), "{error}");

        let (mut other, ours) = duplex(4096);
        other.write_all(text.as_bytes()).await.unwrap();
        let client = security().client(None, &[ALPN_WEIR]);
        let error = failure(connect_tls(ours, client).await);
        assert!(matches!(error, SecurityError::NotTls), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_is_said_to_have_ended() {
    let (other, ours) = duplex(4096);
    drop(other);
    let error = failure(accept_tls(ours, security().server(None, &[ALPN_WEIR])).await);
    assert!(matches!(error, SecurityError::Ended), "{error}");

    // In the middle of the server's first flight.
    let (mut other, ours) = duplex(1 << 16);
    let accept = accept_tls(ours, security().server(None, &[ALPN_WEIR]));
    let client = async {
        let (tls, to_server) = duplex(1 << 16);
        let config = security().client(None, &[ALPN_WEIR]);
        tokio::spawn(connect_tls(tls, config));
        let (mut from_client, _keep) = tokio::io::split(to_server);
        let mut hello = vec![0; 1 << 16];
        let len = from_client.read(&mut hello).await.unwrap();
        other.write_all(&hello[..len - 1]).await.unwrap();
        drop(other);
    };
    let (theirs, ()) = tokio::join!(accept, client);
    let error = failure(theirs);
    assert!(matches!(error, SecurityError::Ended), "{error}");
}

/// C1: whatever is sent instead of a handshake, it ends in an error.
#[tokio::test]
async fn garbage_behind_a_good_header_is_refused() {
    for kind in [20, 21, 22, 23] {
        for len in [0u16, 1, 2, 600, 16_384, 16_641, 65_535] {
            let mut record = vec![kind, 3, 3];
            record.extend(len.to_be_bytes());
            record.extend(std::iter::repeat_n(0x5a, usize::from(len)));
            for is_client in [true, false] {
                let (mut other, ours) = duplex(1 << 17);
                other.write_all(&record).await.unwrap();
                other.shutdown().await.unwrap();
                let error = if is_client {
                    failure(connect_tls(ours, security().client(None, &[ALPN_WEIR])).await)
                } else {
                    failure(accept_tls(ours, security().server(None, &[ALPN_WEIR])).await)
                };
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// Buffered rustls on a blocking socket, as a peer of one of our sides.
struct Rustls {
    tls: rustls::Connection,
    socket: std::net::TcpStream,
}

impl Rustls {
    fn new(socket: TcpStream, tls: impl Into<rustls::Connection>) -> Self {
        let socket = socket.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        Rustls {
            tls: tls.into(),
            socket,
        }
    }

    fn complete(&mut self) {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.socket).unwrap();
        }
    }

    fn echo(&mut self, len: usize) {
        let mut left = len;
        while left > 0 {
            let mut got = vec![0; left];
            match self.tls.reader().read(&mut got) {
                Ok(n) => {
                    self.tls.writer().write_all(&got[..n]).unwrap();
                    left -= n;
                }
                Err(_) => {
                    self.tls.complete_io(&mut self.socket).unwrap();
                }
            }
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).unwrap();
        }
    }
}

/// Small fragments: handshake messages that go on in the next record. Tickets: records for TLS
/// itself right behind the handshake. Data in the same segment as the end of the handshake.
#[tokio::test]
async fn a_plain_rustls_server_is_a_peer() {
    let (client, server) = (security(), security());
    let mut config = (*server.server(None, &[ALPN_WEIR])).clone();
    config.max_fragment_size = Some(64);
    config.send_tls13_tickets = 4;
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    let (ours, theirs) = tcp_sockets().await;
    let tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let mut theirs = Rustls::new(theirs, tls);
    let thread = std::thread::spawn(move || {
        theirs.complete();
        theirs.echo(100_000);
    });
    let (carrier, info) = connect_tls(ours, client.client(None, &[ALPN_WEIR]))
        .await
        .unwrap();
    assert_eq!(info.peer_id, server.peer_id());
    let mut end = End::new(carrier);
    let data: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    end.write_all(&data).await.unwrap();
    assert_eq!(end.read_exact(data.len()).await.unwrap(), data);
    thread.join().unwrap();
}

#[tokio::test]
async fn a_plain_rustls_client_is_a_peer_and_gets_no_tickets() {
    let (client, server) = (security(), security());
    let mut config = (*client.client(Some(server.peer_id()), &[ALPN_WEIR])).clone();
    config.max_fragment_size = Some(64);
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let (theirs, ours) = tcp_sockets().await;
    let name = ServerName::try_from("name.example").unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut theirs = Rustls::new(theirs, tls);
    let thread = std::thread::spawn(move || {
        // Leaves together with the last message of the handshake.
        theirs.tls.writer().write_all(b"early words").unwrap();
        theirs.complete();
        theirs.echo(5);
        match theirs.tls {
            rustls::Connection::Client(client) => client.tls13_tickets_received(),
            rustls::Connection::Server(_) => unreachable!(),
        }
    });
    let (carrier, info) = accept_tls(ours, server.server(None, &[ALPN_WEIR]))
        .await
        .unwrap();
    assert_eq!(info.peer_id, client.peer_id());
    let mut end = End::new(carrier);
    assert_eq!(end.read_exact(11).await.unwrap(), b"early words");
    end.write_all(b"hello").await.unwrap();
    assert_eq!(end.read_exact(5).await.unwrap(), b"hello");
    assert_eq!(thread.join().unwrap(), 0);
}

/// libp2p TLS, "Future Extensibility".
#[tokio::test]
async fn no_server_name_is_sent() {
    let (ours, mut theirs) = duplex(1 << 16);
    tokio::spawn(connect_tls(ours, security().client(None, &[ALPN_WEIR])));
    let mut hello = vec![0; 1 << 16];
    let len = theirs.read(&mut hello).await.unwrap();
    let mut acceptor = rustls::server::Acceptor::default();
    acceptor.read_tls(&mut &hello[..len]).unwrap();
    let accepted = match acceptor.accept() {
        Ok(Some(accepted)) => accepted,
        Ok(None) => panic!("the hello is not whole"),
        Err((error, _)) => panic!("{error}"),
    };
    assert_eq!(accepted.client_hello().server_name(), None);
    let offered: Vec<_> = accepted.client_hello().alpn().unwrap().collect();
    assert_eq!(offered, [ALPN_WEIR]);
}

#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>);

impl rustls::KeyLog for Lines {
    fn log(&self, label: &str, _: &[u8], _: &[u8]) {
        self.0.lock().unwrap().push(label.to_owned());
    }
}

#[tokio::test]
async fn secrets_are_logged_only_where_asked() {
    let lines = Arc::new(Lines::default());
    let (client, server) = (security().with_key_log(lines.clone()), security());
    let configs = (
        client.client(None, &[ALPN_WEIR]),
        server.server(None, &[ALPN_WEIR]),
    );
    let (ours, theirs) = shake(duplex(4096), configs).await;
    assert!(ours.is_ok() && theirs.is_ok());
    let lines = lines.0.lock().unwrap();
    for label in ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] {
        assert_eq!(lines.iter().filter(|l| *l == label).count(), 1, "{lines:?}");
    }
}

#[test]
fn every_refusal_has_words() {
    for (alert, words) in [
        (AlertDescription::CertificateUnknown, "identity"),
        (AlertDescription::ProtocolVersion, "no TLS 1.3"),
        (AlertDescription::DecryptError, "DecryptError"),
    ] {
        let error = SecurityError::from(RustlsError::AlertReceived(alert)).to_string();
        assert!(error.contains(words), "{error}");
    }
}
