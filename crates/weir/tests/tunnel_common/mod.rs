//! A tunnel on loopback, and what stands at its two ends.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![allow(dead_code, reason = "each test file uses its part of the tools")]

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir::tunnel::{
    AllowPeers, ClientConfig, Name, Resolve, Resolved, ServerConfig, Shutdown, StatusView,
    TunnelClient, TunnelServer,
};
use weir::{Endpoint, Identity, Via};

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A time-out of the product, or a service that is slow: what ends before [`SOON`] did not wait for it.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A port of this machine that refuses connections, and the socket that keeps it: bound, and not listening.
pub(crate) fn closed_port() -> (TcpSocket, SocketAddr) {
    let held = TcpSocket::new_v4().expect("a socket");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = held.local_addr().expect("its address");
    (held, address)
}

/// Waits for something that must come soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {SOON:?}"),
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) stop: Shutdown,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    /// Lets `peers` in at `bind`.
    pub(crate) async fn start(
        identity: Identity,
        bind: &str,
        via: Via,
        peers: AllowPeers,
        config: ServerConfig,
    ) -> Self {
        let endpoint = Endpoint::builder()
            .identity(identity)
            .via(via)
            .bind(bind)
            .await
            .expect("an endpoint");
        let stop = Shutdown::new();
        let server = TunnelServer::new(endpoint.clone(), peers, config);
        let address = endpoint.local_addr();
        let task = tokio::spawn(server.run(stop.clone()));
        Self {
            endpoint,
            address,
            stop,
            task,
        }
    }

    /// Ends it as a crash would: nobody is told, the address is free.
    pub(crate) async fn crash(self) {
        self.task.abort();
        self.endpoint.close(0, "crash");
        let _ = self.task.await;
    }
}

/// A running client.
pub(crate) struct Client {
    pub(crate) local: Vec<SocketAddr>,
    pub(crate) socks: Vec<SocketAddr>,
    pub(crate) remote: Vec<Option<SocketAddr>>,
    pub(crate) view: StatusView,
    pub(crate) stop: Shutdown,
    pub(crate) task: JoinHandle<()>,
}

impl Client {
    pub(crate) async fn start(identity: Identity, via: Via, config: ClientConfig) -> Self {
        let endpoint = Endpoint::builder()
            .identity(identity)
            .via(via)
            .client()
            .await
            .expect("an endpoint");
        let client = TunnelClient::start(endpoint, config)
            .await
            .expect("a tunnel");
        let stop = Shutdown::new();
        Self {
            local: client.local_addrs(),
            socks: client.socks_addrs(),
            remote: client.remote_addrs(),
            view: client.watch(),
            task: tokio::spawn(client.run(stop.clone())),
            stop,
        }
    }
}

/// A server, and a client of it that is let in.
pub(crate) struct Tunnel {
    pub(crate) server: Server,
    pub(crate) client: Client,
}

impl Tunnel {
    /// Default rules, and these forwards.
    pub(crate) async fn start(options: &[(&str, &str)]) -> Self {
        Self::with(ServerConfig::default(), options, |_| {}).await
    }

    pub(crate) async fn with(
        server: ServerConfig,
        options: &[(&str, &str)],
        change: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let (server_id, client_id) = (identity(), identity());
        let peer = server_id.peer_id();
        let mut peers = AllowPeers::none();
        peers.add(client_id.peer_id());
        let server = Server::start(server_id, "127.0.0.1:0", Via::Yamux, peers, server).await;
        let mut config = client_config(&format!("{peer}@{}", server.address), options);
        change(&mut config);
        let client = Client::start(client_id, Via::Yamux, config).await;
        Self { server, client }
    }
}

/// A server with a fixed key and place, to come back after a crash.
pub(crate) struct Place {
    pub(crate) identity: Identity,
    pub(crate) friend: Identity,
    pub(crate) bind: String,
}

impl Place {
    /// The address may be in use for a moment, by a server that is just going.
    pub(crate) async fn serve(&self) -> Server {
        soon("the address", async {
            let free = || std::net::TcpListener::bind(&self.bind);
            while self.bind != "127.0.0.1:0" && free().is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let mut peers = AllowPeers::none();
        peers.add(self.friend.peer_id());
        let config = ServerConfig::default();
        Server::start(self.identity.clone(), &self.bind, Via::Yamux, peers, config).await
    }

    pub(crate) async fn start(options: &[(&str, &str)]) -> (Self, Server, Client) {
        let mut place = Self {
            identity: identity(),
            friend: identity(),
            bind: "127.0.0.1:0".to_owned(),
        };
        let server = place.serve().await;
        place.bind = server.address.to_string();
        let peer = format!("{}@{}", place.identity.peer_id(), place.bind);
        let mut config = client_config(&peer, options);
        config.backoff.min = Duration::from_millis(20);
        config.backoff.max = Duration::from_millis(200);
        config.wait_for_connection = NEVER;
        let client = Client::start(place.friend.clone(), Via::Yamux, config).await;
        (place, server, client)
    }
}

pub(crate) fn identity() -> Identity {
    Identity::generate().expect("a key")
}

/// A client's configuration with the forwards `("-L", "0:127.0.0.1:80")` and the like.
pub(crate) fn client_config(peer: &str, options: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new(peer);
    config.status_socket = false;
    for (option, value) in options {
        match *option {
            "-L" => config.local.push(value.parse().expect("a forward")),
            "-R" => config.remote.push(value.parse().expect("a forward")),
            "-D" => config.socks.push(value.parse().expect("a forward")),
            other => panic!("{other}"),
        }
    }
    config
}

/// A TCP server that gives back what it gets, and the end after the end. Its address.
pub(crate) async fn echo(bind: &str) -> SocketAddr {
    serve(bind, |mut stream| async move {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        write.shutdown().await
    })
    .await
}

/// A TCP server that does `with` to each connection. Its address.
pub(crate) async fn serve<F, W>(bind: &str, with: W) -> SocketAddr
where
    F: Future<Output = io::Result<()>> + Send + 'static,
    W: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind(bind).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(with(stream));
        }
    });
    address
}

/// Sends `data`, ends, and reads all that comes back.
pub(crate) async fn exchange(stream: TcpStream, data: &[u8]) -> io::Result<Vec<u8>> {
    let (mut read, mut write) = stream.into_split();
    let mut back = Vec::new();
    let send = async {
        write.write_all(data).await?;
        write.shutdown().await
    };
    let receive = read.read_to_end(&mut back);
    let (sent, received) = tokio::join!(send, receive);
    sent.and(received)?;
    Ok(back)
}

/// One round through an address that leads to an echo.
pub(crate) async fn check_echo(address: SocketAddr, data: &[u8]) {
    let stream = soon("a connection", TcpStream::connect(address))
        .await
        .expect("a connection");
    let back = soon("the echo", exchange(stream, data))
        .await
        .expect("an echo");
    assert!(
        back == data,
        "{} bytes went, {} came back",
        data.len(),
        back.len()
    );
}

/// Bytes that look random and are not.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// Asks a SOCKS5 proxy for `address` (type and bytes as on the wire) and gives its reply code.
pub(crate) async fn socks5(
    proxy: SocketAddr,
    command: u8,
    address: &[u8],
    port: u16,
) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(proxy).await.expect("the proxy");
    stream.write_all(&[5, 1, 0]).await.expect("a greeting");
    let mut method = [0; 2];
    soon("the method", stream.read_exact(&mut method))
        .await
        .expect("a method");
    assert_eq!(method, [5, 0]);
    let request = [&[5, command, 0][..], address, &port.to_be_bytes()].concat();
    stream.write_all(&request).await.expect("a request");
    let mut reply = [0; 10];
    soon("the reply", stream.read_exact(&mut reply))
        .await
        .expect("a reply");
    assert_eq!((reply[0], reply[3]), (5, 1));
    (stream, reply[1])
}

/// A SOCKS5 address for a name.
pub(crate) fn socks_name(name: &str) -> Vec<u8> {
    [
        &[3, u8::try_from(name.len()).expect("a short name")],
        name.as_bytes(),
    ]
    .concat()
}

/// A resolver that knows these names. A list of several answers is given one after the other, the last one for ever.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Names {
    pub(crate) fn of(table: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let names = Self::default();
        for (name, answers) in table {
            let parse = |ips: &&[&str]| ips.iter().map(|ip| ip.parse().expect("an IP")).collect();
            let answers = answers.iter().map(parse).collect();
            names
                .0
                .lock()
                .expect("the table")
                .insert((*name).to_owned(), answers);
        }
        Arc::new(names)
    }
}

impl Resolve for Names {
    fn resolve(&self, name: &Name) -> Resolved {
        let mut table = self.0.lock().expect("the table");
        let answer = match table.get_mut(name.as_str()) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers.concat()),
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(async move { answer })
    }
}

/// Waits until `done` says so; for changes that nothing announces.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    soon(what, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
