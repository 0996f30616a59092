//! UDP ASSOCIATE (RFC 1928 section 7): a socket for one SOCKS client, for as long as its TCP connection lives.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tracing::debug;

use super::bind;
use super::entrance::{Asking, Side, Wanted, pass};
use super::exit::{Exit, receive};
use super::flow::canonical;
use super::limits::ASSOCIATION_CHATTER;
use super::socks_header;
use super::table::Table;
use crate::tunnel::destination::Host;
use crate::tunnel::shared::ClientCore;
use crate::tunnel::socks_wire::associated;
use crate::tunnel::status::ForwardKind;
use crate::tunnel::tasks::Tasks;

/// What a client asked for.
pub(crate) struct Association {
    pub(crate) core: Arc<ClientCore>,
    pub(crate) tasks: Tasks,
    /// The proxy in words.
    pub(crate) name: String,
    /// The client's end of its TCP connection.
    pub(crate) from: SocketAddr,
    /// From where it said it would send; often nothing but zeros.
    pub(crate) announced: (Host, u16),
}

/// Serves an association until its TCP connection ends.
///
/// # Errors
/// When the system gives no socket, or the TCP connection failed before the client was told.
pub(crate) async fn associate(asked: Association, tcp: &mut TcpStream) -> std::io::Result<()> {
    // At the address that the client reaches already.
    let here = canonical(tcp.local_addr()?).ip();
    let socket = bind(SocketAddr::new(here, 0)).await?;
    let bound = socket.local_addr()?;
    tcp.write_all(&associated(bound)).await?;
    debug!("{}: {} is associated with {bound}", asked.name, asked.from);
    tokio::select! {
        () = serve(&asked, socket) => {}
        () = ended(tcp) => {}
    }
    debug!(
        "{}: the association of {} has ended",
        asked.name, asked.from
    );
    Ok(())
}

/// RFC 1928 section 7: the association ends with the TCP connection. What is said there means nothing.
async fn ended(tcp: &mut TcpStream) {
    let mut chatter = 0;
    let mut buffer = [0; 512];
    while let Ok(read) = tcp.read(&mut buffer).await {
        chatter += read;
        if read == 0 || chatter > ASSOCIATION_CHATTER {
            return;
        }
    }
}

async fn serve(asked: &Association, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let table = Table::new(asked.core.config.max_udp_flows_of_association);
    let _guard = table.guard();
    let side = Side::Client(Arc::clone(&asked.core));
    let mut client = Client::new(asked.from.ip(), &asked.announced);
    receive(&socket, |datagram, from| {
        if !client.admits(canonical(from)) {
            return;
        }
        let (to, payload) = match socks_header::read(datagram) {
            Ok(read) => read,
            Err(error) => {
                if let Some(left_out) = asked.core.quiet.suffix() {
                    debug!("{}: a datagram of {from}: {error}{left_out}", asked.name);
                }
                return;
            }
        };
        client.latch(from.port());
        pass(
            &table,
            &to,
            payload,
            |begun| {
                Asking {
                    side: side.clone(),
                    kind: ForwardKind::Socks,
                    name: asked.name.clone(),
                    from: canonical(from),
                    to: to.to_string(),
                    wanted: Wanted::To(to.clone()),
                    exit: Exit::socks(Arc::clone(&socket), from),
                }
                .spawn(&asked.tasks, begun);
            },
            side.udp(),
        );
    })
    .await;
}

/// Whose datagrams are taken: those from the address of the TCP connection, and from one port there.
#[derive(Debug)]
struct Client {
    ip: IpAddr,
    port: Option<u16>,
}

impl Client {
    /// RFC 1928 section 6: a client that knows the address it will send from says so; zeros mean that it does not,
    /// and another address than its own that something stands between.
    fn new(ip: IpAddr, (host, port): &(Host, u16)) -> Self {
        let ip = ip.to_canonical();
        let own = matches!(host, Host::Ip(said) if *said == ip || said.is_unspecified());
        Self {
            ip,
            port: Some(*port).filter(|port| own && *port != 0),
        }
    }

    fn admits(&self, from: SocketAddr) -> bool {
        from.ip() == self.ip && self.port.is_none_or(|port| port == from.port())
    }

    /// The first usable datagram decides from which port the others come, where nothing was announced.
    fn latch(&mut self, port: u16) {
        self.port = Some(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    /// RFC 1928 section 7: only the client's own datagrams are relayed.
    #[test]
    fn only_the_client_is_admitted() {
        let ip = "192.0.2.1".parse().unwrap();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut open = Client::new(ip, &(host("0.0.0.0"), 0));
        assert!(!open.admits(at("192.0.2.2:7")));
        assert!(open.admits(at("192.0.2.1:7")) && open.admits(at("192.0.2.1:8")));
        open.latch(7);
        assert!(open.admits(at("192.0.2.1:7")) && !open.admits(at("192.0.2.1:8")));

        for announced in ["0.0.0.0", "192.0.2.1"] {
            let client = Client::new(ip, &(host(announced), 9));
            assert!(client.admits(at("192.0.2.1:9")) && !client.admits(at("192.0.2.1:7")));
        }
        let behind_nat = Client::new(ip, &(host("10.0.0.1"), 9));
        assert!(behind_nat.admits(at("192.0.2.1:7")));
        let mapped = Client::new("::ffff:192.0.2.1".parse().unwrap(), &(host("::"), 0));
        assert!(mapped.admits(at("192.0.2.1:7")));
    }
}
