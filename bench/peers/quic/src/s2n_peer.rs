//! s2n-quic with its own choices: s2n-tls, its tokio driver with GSO and GRO, CUBIC.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bench_common::{ALPN, CONNECTION_WINDOW, Certificate, Flags, NAME, STREAM_WINDOW};
use bytes::Bytes;
use s2n_quic::client::Connect;
use s2n_quic::connection::Handle;
use s2n_quic::provider::io::tokio::{Builder, Provider};
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::default as s2n_tls;
use s2n_quic::stream::{ReceiveStream, SendStream};
use s2n_quic::{Client, Server};

use crate::works::{self, Dial, Link, RecvHalf, SendHalf};
use crate::{broken, listening};

/// It counts the headers of IPv4 and UDP in.
const HEADERS: u16 = 28;
/// Payloads of 32,000 bytes work; with those of 48,000 and more, transfers come to a standstill after the first packets.
const LARGEST: u16 = 32_000 + HEADERS;

fn io(flags: &Flags, addr: SocketAddr) -> io::Result<Provider> {
    let packet = flags.mtu.saturating_add(HEADERS).min(LARGEST);
    Builder::default()
        .with_rx_socket(bench_common::socket(addr)?)?
        .with_max_mtu(packet)?
        // All packets have the full size from the first: nothing is probed for.
        .with_initial_mtu(packet)?
        .with_base_mtu(packet.min(1480))?
        .build()
}

fn limits(flags: &Flags) -> io::Result<Limits> {
    Limits::new()
        .with_data_window(CONNECTION_WINDOW.into())
        .and_then(|limits| limits.with_bidirectional_local_data_window(STREAM_WINDOW.into()))
        .and_then(|limits| limits.with_bidirectional_remote_data_window(STREAM_WINDOW.into()))
        .and_then(|limits| limits.with_max_send_buffer_size(STREAM_WINDOW / 4))
        .and_then(|limits| limits.with_max_open_remote_bidirectional_streams(flags.streams.into()))
        .and_then(|limits| limits.with_max_open_local_bidirectional_streams(flags.streams.into()))
        .and_then(|limits| limits.with_max_idle_timeout(Duration::from_secs(120)))
        .map_err(broken)
}

/// s2n-tls trusts nobody blindly: the client has to know the server's certificate.
fn certificate(flags: &Flags) -> io::Result<&Path> {
    let path = flags.certificate.as_deref();
    path.ok_or_else(|| io::Error::other("s2n-quic needs --certificate FILE"))
}

/// Serves until it is ended from outside.
pub async fn serve(flags: &Flags) -> io::Result<()> {
    let own = Certificate::new().map_err(broken)?;
    std::fs::write(certificate(flags)?, &own.certificate_pem)?;
    let tls = s2n_tls::Server::builder()
        .with_certificate(own.certificate_pem.as_str(), own.key_pem.as_str())
        .map_err(broken)?
        .with_application_protocols([ALPN])
        .map_err(broken)?
        .build()
        .map_err(broken)?;
    let mut server = Server::builder()
        .with_tls(tls)
        .map_err(broken)?
        .with_io(io(flags, flags.addr)?)
        .map_err(broken)?
        .with_limits(limits(flags)?)
        .map_err(broken)?
        .start()
        .map_err(broken)?;
    listening(server.local_addr()?, flags);
    while let Some(mut connection) = server.accept().await {
        tokio::spawn(async move {
            while let Ok(Some(stream)) = connection.accept_bidirectional_stream().await {
                let (recv, send) = stream.split();
                tokio::spawn(works::serve(send, recv));
            }
        });
    }
    Ok(())
}

/// Dials the server, all connections from one socket.
#[derive(Clone)]
pub struct Dialer {
    client: Client,
    addr: SocketAddr,
}

impl Dialer {
    /// The client's end.
    pub fn new(flags: &Flags) -> io::Result<Dialer> {
        let trusted = std::fs::read_to_string(certificate(flags)?)?;
        let tls = s2n_tls::Client::builder()
            .with_certificate(trusted.as_str())
            .map_err(broken)?
            .with_application_protocols([ALPN])
            .map_err(broken)?
            .build()
            .map_err(broken)?;
        let client = Client::builder()
            .with_tls(tls)
            .map_err(broken)?
            .with_io(io(flags, SocketAddr::from(([127, 0, 0, 1], 0)))?)
            .map_err(broken)?
            .with_limits(limits(flags)?)
            .map_err(broken)?
            .start()
            .map_err(broken)?;
        Ok(Dialer {
            client,
            addr: flags.addr,
        })
    }
}

impl Dial for Dialer {
    type Link = Handle;

    async fn dial(&self) -> io::Result<Handle> {
        let connect = Connect::new(self.addr).with_server_name(NAME);
        let mut connection = self.client.connect(connect).await.map_err(broken)?;
        // A connection is closed when nothing holds it any more; a handle does not count as idle.
        connection.keep_alive(true).map_err(broken)?;
        Ok(connection.handle())
    }
}

impl Link for Handle {
    type Send = SendStream;
    type Recv = ReceiveStream;

    async fn open(&self) -> io::Result<(SendStream, ReceiveStream)> {
        let stream = self
            .clone()
            .open_bidirectional_stream()
            .await
            .map_err(broken)?;
        let (recv, send) = stream.split();
        Ok((send, recv))
    }

    fn close(&self) {
        Handle::close(self, 0_u32.into());
    }
}

impl SendHalf for SendStream {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(bytes).await.map_err(broken)
    }

    fn finish(&mut self) -> io::Result<()> {
        SendStream::finish(self).map_err(broken)
    }
}

impl RecvHalf for ReceiveStream {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        self.receive().await.map_err(broken)
    }
}
