//! quinn, driven the way its documentation shows, on tokio.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bench_common::{CONNECTION_WINDOW, Flags, NAME, STREAM_WINDOW};
use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, TokioRuntime, VarInt};
use quinn::{RecvStream, SendStream, TransportConfig};

use crate::works::{self, Dial, Link, RecvHalf, SendHalf};
use crate::{broken, is_mutual, listening, tls};

/// The datagram of an Ethernet over IPv6, the largest in all works but those with the path's own MTU.
const ETHERNET: u16 = 1452;
/// Above this a burst of its ten packets is no longer what one GSO call may carry, and the system refuses it.
const LARGEST_WITH_GSO: u16 = 6550;

fn transport(flags: &Flags) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(STREAM_WINDOW.into())
        .max_concurrent_bidi_streams(VarInt::from_u32(flags.streams))
        .enable_segmentation_offload(flags.mtu <= LARGEST_WITH_GSO);
    // Up to an Ethernet's size there is nothing to be found out: every path in the benchmark carries it.
    config.initial_mtu(flags.mtu.min(ETHERNET));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(flags.mtu);
    config.mtu_discovery_config((flags.mtu > ETHERNET).then_some(discovery));
    Arc::new(config)
}

fn endpoint_config(flags: &Flags) -> io::Result<EndpointConfig> {
    let mut config = EndpointConfig::default();
    if flags.mtu > ETHERNET {
        config.max_udp_payload_size(flags.mtu).map_err(broken)?;
    }
    Ok(config)
}

fn endpoint(
    flags: &Flags,
    server: Option<quinn::ServerConfig>,
    addr: SocketAddr,
) -> io::Result<Endpoint> {
    let socket = bench_common::socket(addr)?;
    Endpoint::new(
        endpoint_config(flags)?,
        server,
        socket,
        Arc::new(TokioRuntime),
    )
}

/// Serves until it is ended from outside.
pub async fn serve(flags: &Flags) -> io::Result<()> {
    let crypto = tls::server_config(is_mutual(flags))?;
    let crypto = QuicServerConfig::try_from(crypto).map_err(broken)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(flags));
    let endpoint = endpoint(flags, Some(config), flags.addr)?;
    listening(endpoint.local_addr()?, flags);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await.map_err(broken)?;
            while let Ok((send, recv)) = connection.accept_bi().await {
                tokio::spawn(works::serve(send, recv));
            }
            io::Result::Ok(())
        });
    }
    Ok(())
}

/// Dials the server, all connections from one socket.
#[derive(Clone)]
pub struct Dialer {
    endpoint: Endpoint,
    addr: SocketAddr,
}

impl Dialer {
    /// The client's end.
    pub fn new(flags: &Flags) -> io::Result<Dialer> {
        let crypto = tls::client_config(is_mutual(flags))?;
        let crypto = QuicClientConfig::try_from(crypto).map_err(broken)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport(flags));
        let mut endpoint = endpoint(flags, None, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        endpoint.set_default_client_config(config);
        Ok(Dialer {
            endpoint,
            addr: flags.addr,
        })
    }
}

impl Dial for Dialer {
    type Link = Connection;

    async fn dial(&self) -> io::Result<Connection> {
        let connecting = self.endpoint.connect(self.addr, NAME).map_err(broken)?;
        connecting.await.map_err(broken)
    }
}

impl Link for Connection {
    type Send = SendStream;
    type Recv = RecvStream;

    async fn open(&self) -> io::Result<(SendStream, RecvStream)> {
        self.open_bi().await.map_err(broken)
    }

    fn close(&self) {
        Connection::close(self, VarInt::from_u32(0), b"done");
    }
}

impl SendHalf for SendStream {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.write_chunk(bytes).await.map_err(broken)
    }

    fn finish(&mut self) -> io::Result<()> {
        SendStream::finish(self).map_err(broken)
    }
}

impl RecvHalf for RecvStream {
    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.read_chunk(usize::MAX, true).await.map_err(broken)?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }
}
