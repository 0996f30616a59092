//! TCP connections and UDP sockets to what peers ask for: names resolved, every address checked, all of it within a time.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir_os::socket::TcpOptions;

use super::destination::{Destination, Host, Name};
use super::protocol::{Refusal, Status};
use super::rules::AllowTo;

/// Head start of an address over the next one (RFC 8305 section 8, recommended value).
const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried at most: a resolver's answer is not a reason to knock everywhere.
const MAX_ADDRESSES: usize = 16;

/// Names being resolved at once: a system's resolver holds a thread for each.
const MAX_RESOLVING: usize = 64;

/// Probe idle connections to destinations after this long: a destination that vanished must not hold a stream for
/// ever, and probes are not worth more than one packet in two minutes.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// What a resolver gives back.
pub type Resolved = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Turns names into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name, in the order in which to try them.
    fn resolve(&self, name: &Name) -> Resolved;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &Name) -> Resolved {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Options of the TCP connections at either end of a forward.
pub(crate) fn tcp_options() -> TcpOptions {
    TcpOptions {
        keepalive: Some(KEEPALIVE),
        ..TcpOptions::default()
    }
}

/// Connects to destinations for one tunnel.
pub(crate) struct Dialler {
    resolver: Arc<dyn Resolve>,
    resolving: Semaphore,
    limit: Duration,
}

impl Dialler {
    /// `limit` bounds each connection, resolving included.
    pub(crate) fn new(resolver: Arc<dyn Resolve>, limit: Duration) -> Self {
        Self {
            resolver,
            resolving: Semaphore::new(MAX_RESOLVING),
            limit,
        }
    }

    /// Connects to `to` at an address that `allow` grants. What is connected to is what was checked: a name is
    /// resolved once.
    pub(crate) async fn connect(
        &self,
        to: &Destination,
        allow: &AllowTo,
    ) -> Result<TcpStream, Refusal> {
        let work = async {
            let addresses = self.addresses(to, allow).await?;
            race(to, addresses).await
        };
        match timeout(self.limit, work).await {
            Ok(result) => result,
            Err(_) => {
                let waited = self.limit.as_secs_f32();
                Err(Refusal::new(
                    Status::TimedOut,
                    format!("{to}: no connection within {waited} s"),
                ))
            }
        }
    }

    /// A UDP socket connected to `to` at an address that `allow` grants, so that it takes datagrams from there alone.
    /// Of a name's addresses it is the first that a route leads to: whether anybody answers there, UDP does not tell.
    pub(crate) async fn datagrams(
        &self,
        to: &Destination,
        allow: &AllowTo,
    ) -> Result<UdpSocket, Refusal> {
        let addresses = match timeout(self.limit, self.addresses(to, allow)).await {
            Ok(addresses) => addresses?,
            Err(_) => {
                let waited = self.limit.as_secs_f32();
                let reason = format!("{to}: no address within {waited} s");
                return Err(Refusal::new(Status::TimedOut, reason));
            }
        };
        let mut addresses = addresses;
        if matches!(&to.host, Host::Name(name) if name.is_localhost()) {
            // Both families are this machine; resolvers and their like listen on IPv4 first of all.
            addresses.sort_by_key(SocketAddr::is_ipv6);
        }
        let mut worst = None;
        for address in addresses {
            match connected(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => worst = worst.or(Some((address, error))),
            }
        }
        Err(unreached(to, worst))
    }

    /// All addresses of a name, within the time that connecting may take.
    pub(crate) async fn look_up(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        match timeout(self.limit, self.resolve(name)).await {
            Ok(found) => found,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The addresses of a destination that `allow` grants; at least one.
    async fn addresses(
        &self,
        to: &Destination,
        allow: &AllowTo,
    ) -> Result<Vec<SocketAddr>, Refusal> {
        let name = match &to.host {
            Host::Ip(ip) if allow.permits(None, *ip, to.port) => {
                return Ok(vec![SocketAddr::new(*ip, to.port)]);
            }
            Host::Ip(_) => return Err(not_allowed(to, None)),
            Host::Name(name) => name,
        };
        if !allow.might_permit(name, to.port) {
            return Err(not_allowed(to, None));
        }
        let found = self
            .resolve(name)
            .await
            .map_err(|error| resolve_failed(name, &error))?;
        let Some(first) = found.first().copied() else {
            return Err(Refusal::new(
                Status::NameNotFound,
                format!("{name} has no address"),
            ));
        };
        let granted: Vec<IpAddr> = found
            .into_iter()
            .filter(|ip| allow.permits(Some(name), *ip, to.port))
            .collect();
        if granted.is_empty() {
            return Err(not_allowed(to, Some(first)));
        }
        let order = alternate(granted).into_iter().take(MAX_ADDRESSES);
        Ok(order.map(|ip| SocketAddr::new(ip, to.port)).collect())
    }

    async fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        // RFC 6761 section 6.3: the machine itself, whatever a resolver or its peer may say.
        if name.is_localhost() {
            return Ok(vec![
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
            ]);
        }
        let _slot = self.resolving.acquire().await;
        let mut found = self.resolver.resolve(name).await?;
        let mut seen = std::collections::HashSet::new();
        found.retain_mut(|ip| {
            *ip = ip.to_canonical();
            seen.insert(*ip)
        });
        Ok(found)
    }
}

/// Both address families in turns, beginning with the first one's (RFC 8305 section 4).
fn alternate(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let six_first = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|ip| ip.is_ipv6() == six_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

/// Connects to the first address that answers; each has a head start over the next, and a failure starts the next
/// at once.
async fn race(to: &Destination, addresses: Vec<SocketAddr>) -> Result<TcpStream, Refusal> {
    let mut waiting = addresses.into_iter();
    let mut running = JoinSet::new();
    let mut worst = None;
    loop {
        match waiting.next() {
            Some(address) => {
                running.spawn(async move { (address, TcpStream::connect(address).await) });
            }
            None if running.is_empty() => break,
            None => {}
        }
        let next = match waiting.len() {
            0 => running.join_next().await,
            _ => match timeout(HEAD_START, running.join_next()).await {
                Ok(next) => next,
                Err(_) => continue,
            },
        };
        match next {
            Some(Ok((_, Ok(stream)))) => {
                // An option that is refused costs speed or a late timeout, not the connection.
                let _ = tcp_options().apply(&stream);
                return Ok(stream);
            }
            // The first failure is the one of the address that the name means first of all.
            Some(Ok((address, Err(error)))) => worst = worst.or(Some((address, error))),
            Some(Err(_)) | None => {}
        }
    }
    Err(unreached(to, worst))
}

/// A UDP socket of the address's family, connected to it.
async fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn unreached(to: &Destination, worst: Option<(SocketAddr, io::Error)>) -> Refusal {
    match worst {
        Some((address, error)) => connect_failed(to, address, &error),
        None => Refusal::new(Status::Failed, format!("{to}: no address could be tried")),
    }
}

fn not_allowed(to: &Destination, leads_to: Option<IpAddr>) -> Refusal {
    let port = to.port;
    let reason = match leads_to {
        None => format!("{to} is not allowed here; the listening side can add --allow-to {to}"),
        Some(IpAddr::V4(ip)) => format!(
            "{to} leads to {ip}, which is not allowed here; the listening side can add --allow-to {ip}:{port}"
        ),
        Some(IpAddr::V6(ip)) => format!(
            "{to} leads to {ip}, which is not allowed here; the listening side can add --allow-to [{ip}]:{port}"
        ),
    };
    Refusal::new(Status::NotAllowed, reason)
}

fn resolve_failed(name: &Name, error: &io::Error) -> Refusal {
    Refusal::new(Status::NameNotFound, format!("{name}: {error}"))
}

fn connect_failed(to: &Destination, address: SocketAddr, error: &io::Error) -> Refusal {
    let status = status_of(error);
    let reason = match to.host {
        Host::Ip(_) => format!("{to}: {}", words(status, error)),
        Host::Name(_) => format!("{to} ({}): {}", address.ip(), words(status, error)),
    };
    Refusal::new(status, reason)
}

fn words(status: Status, error: &io::Error) -> String {
    match status {
        Status::Failed => error.to_string(),
        known => known.to_string(),
    }
}

/// The status that says the same as the system's error.
pub(crate) fn status_of(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Status::Refused,
        io::ErrorKind::TimedOut => Status::TimedOut,
        io::ErrorKind::NetworkUnreachable => Status::NetworkUnreachable,
        io::ErrorKind::HostUnreachable => Status::HostUnreachable,
        io::ErrorKind::AddrInUse => Status::AddressInUse,
        io::ErrorKind::AddrNotAvailable => Status::AddressNotAvailable,
        io::ErrorKind::PermissionDenied => Status::NotAllowed,
        _ => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Answers from a table, one list after the other, and counts the questions.
    #[derive(Default)]
    pub(crate) struct Table {
        answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
        asked: Mutex<usize>,
    }

    impl Table {
        fn with(name: &str, answers: &[&[&str]]) -> Arc<Self> {
            let parse = |list: &&[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
            let answers = answers.iter().map(parse).collect();
            let table = Self::default();
            table
                .answers
                .lock()
                .unwrap()
                .insert(name.to_owned(), answers);
            Arc::new(table)
        }
    }

    impl Resolve for Table {
        fn resolve(&self, name: &Name) -> Resolved {
            *self.asked.lock().unwrap() += 1;
            let answer = match self.answers.lock().unwrap().get_mut(name.as_str()) {
                Some(list) if !list.is_empty() => Ok(list.remove(0)),
                _ => Err(io::Error::other("no such name")),
            };
            Box::pin(async move { answer })
        }
    }

    fn dialler(resolver: Arc<Table>) -> Dialler {
        Dialler::new(resolver, Duration::from_secs(120))
    }

    async fn refusal(table: Arc<Table>, to: &str, allow: &[&str]) -> Refusal {
        let allow = AllowTo::from_rules(allow).unwrap();
        dialler(table)
            .connect(&to.parse().unwrap(), &allow)
            .await
            .unwrap_err()
    }

    /// DNS rebinding: a name that first leads outside and then to this machine is checked at every use, and what was
    /// checked is what is connected to.
    #[tokio::test]
    async fn a_rebound_name_does_not_reach_this_machine() {
        let secret = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = secret.local_addr().unwrap().port();
        let table = Table::with(
            "evil.example",
            &[&["127.0.0.1"], &["::ffff:127.0.0.1"], &["0.0.0.0"]],
        );
        for _ in 0..3 {
            let refusal = refusal(
                Arc::clone(&table),
                &format!("evil.example:{port}"),
                &["203.0.113.0/24"],
            )
            .await;
            assert_eq!(refusal.status, Status::NotAllowed, "{refusal}");
            assert!(refusal.reason.contains("127.0.0.1") || refusal.reason.contains("0.0.0.0"));
        }
        let nobody = timeout(Duration::from_millis(50), secret.accept()).await;
        assert!(nobody.is_err(), "no connection was made");
    }

    #[tokio::test]
    async fn only_the_granted_addresses_of_a_name_are_tried() {
        let (allowed, forbidden) = loop {
            let allowed = TcpListener::bind("127.0.0.2:0").await.unwrap();
            let port = allowed.local_addr().unwrap().port();
            if let Ok(forbidden) = TcpListener::bind(("127.0.0.1", port)).await {
                break (allowed, forbidden);
            }
        };
        let port = allowed.local_addr().unwrap().port();
        let table = Table::with("two.example", &[&["127.0.0.1", "127.0.0.2"]]);
        let allow = AllowTo::from_rules(["127.0.0.2/32"]).unwrap();
        let to = format!("two.example:{port}").parse().unwrap();
        let stream = dialler(table).connect(&to, &allow).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), allowed.local_addr().unwrap());
        assert!(
            timeout(Duration::from_millis(20), forbidden.accept())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_name_that_no_rule_can_grant_is_not_resolved() {
        let table = Table::with("a.example", &[&["127.0.0.1"]]);
        let refusal = refusal(Arc::clone(&table), "a.example:80", &["b.example:80"]).await;
        assert_eq!(refusal.status, Status::NotAllowed);
        assert!(
            refusal.reason.contains("--allow-to a.example:80"),
            "{refusal}"
        );
        assert_eq!(*table.asked.lock().unwrap(), 0);
    }

    #[tokio::test]
    async fn failures_keep_their_reason() {
        // Bound, so that nobody else gets the port, and not listening.
        let held = TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let gone = held.local_addr().unwrap();
        let table = Table::with("gone.example", &[&["127.0.0.1"], &[]]);
        let port = gone.port();
        let by_ip = refusal(Arc::clone(&table), &gone.to_string(), &["any"]).await;
        assert_eq!(
            by_ip,
            Refusal::new(Status::Refused, format!("{gone}: connection refused"))
        );
        let to = format!("gone.example:{port}");
        let by_name = refusal(Arc::clone(&table), &to, &["any"]).await;
        assert_eq!(by_name.status, Status::Refused);
        assert_eq!(
            by_name.reason,
            format!("{to} (127.0.0.1): connection refused")
        );
        assert_eq!(
            refusal(Arc::clone(&table), &to, &["any"]).await.status,
            Status::NameNotFound
        );
        let unknown = refusal(table, "unknown.example:80", &["any"]).await;
        assert_eq!(unknown.status, Status::NameNotFound);
        assert_eq!(unknown.reason, "unknown.example: no such name");
    }

    #[tokio::test]
    async fn localhost_is_this_machine_without_asking() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("localhost:{}", server.local_addr().unwrap().port());
        let table = Table::with("localhost", &[&["203.0.113.1"]]);
        let dialler = dialler(Arc::clone(&table));
        dialler
            .connect(&to.parse().unwrap(), &AllowTo::loopback())
            .await
            .unwrap();
        assert_eq!(*table.asked.lock().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_hangs_is_given_up() {
        struct Hangs;
        impl Resolve for Hangs {
            fn resolve(&self, _: &Name) -> Resolved {
                Box::pin(std::future::pending())
            }
        }
        let dialler = Dialler::new(Arc::new(Hangs), Duration::from_secs(10));
        let to = "slow.example:80".parse().unwrap();
        let refusal = dialler.connect(&to, &AllowTo::any()).await.unwrap_err();
        assert_eq!(refusal.status, Status::TimedOut);
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| {
            list.iter()
                .map(|ip| ip.parse().unwrap())
                .collect::<Vec<_>>()
        };
        let given = parse(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"]);
        assert_eq!(
            alternate(given),
            parse(&["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"])
        );
        assert_eq!(alternate(Vec::new()), Vec::<IpAddr>::new());
    }
}
