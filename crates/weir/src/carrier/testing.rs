//! What the carriers' tests share: pairs of carriers, and both ends of a transfer.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Sha256, SHA256};
use bytes::Bytes;
use rustls::client::ClientConfig;
use rustls::server::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use weir_core::buf::{Pool, ReadBuf};

use super::handshake::{PeerInfo, accept_tls, connect_tls};
use super::{Carrier, TlsCarrier};
use crate::security::{ALPN_WEIR, Identity, Security, SecurityError};

pub(super) fn security() -> Security {
    Security::new(&Identity::generate().unwrap(), None).unwrap()
}

pub(super) fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (client, server) = (security(), security());
    (
        client.client(Some(server.peer_id()), &[ALPN_WEIR]),
        server.server(Some(client.peer_id()), &[ALPN_WEIR]),
    )
}

pub(super) type Secured<S> = Result<(TlsCarrier<S>, PeerInfo), SecurityError>;

/// Both ends of a handshake, with what each made of it.
pub(super) async fn shake<S, T>(
    (client, server): (S, T),
    (client_config, server_config): (Arc<ClientConfig>, Arc<ServerConfig>),
) -> (Secured<S>, Secured<T>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::join!(
        connect_tls(client, client_config),
        accept_tls(server, server_config)
    )
}

/// Two carriers that trust each other.
pub(super) async fn tls_pair<S, T>(streams: (S, T)) -> (TlsCarrier<S>, TlsCarrier<T>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, server) = shake(streams, configs()).await;
    (client.unwrap().0, server.unwrap().0)
}

/// A carrier and the buffer that it reads into.
pub(super) struct End<C> {
    pub(super) carrier: C,
    pub(super) buf: ReadBuf,
}

impl<C: Carrier> End<C> {
    pub(super) fn new(carrier: C) -> Self {
        let buf = Pool::default().reader();
        End { carrier, buf }
    }

    /// One read; `None` at the end.
    pub(super) async fn read(&mut self) -> io::Result<Option<Vec<Bytes>>> {
        let mut out = Vec::new();
        let more = poll_fn(|cx| self.carrier.poll_read(cx, &mut self.buf, &mut out)).await?;
        assert_eq!(more, !out.is_empty());
        assert!(out.iter().all(|b| !b.is_empty()));
        Ok(more.then_some(out))
    }

    pub(super) async fn read_exact(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < len {
            let got = self.read().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            all.extend_from_slice(&got.concat());
        }
        Ok(all)
    }

    pub(super) async fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.carrier.poll_write(cx, bufs)).await
    }

    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.write(&[IoSlice::new(bytes)]).await?;
            bytes = &bytes[taken..];
        }
        self.flush().await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.carrier.poll_flush(cx)).await
    }

    pub(super) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.carrier.poll_close(cx)).await
    }
}

/// SHA-256 of a row of slices.
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn new() -> Self {
        Digest(Sha256::new(&SHA256))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

/// Both ends of a TCP connection on this machine.
pub(super) async fn tcp_sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (client.unwrap(), server.unwrap().0)
}
