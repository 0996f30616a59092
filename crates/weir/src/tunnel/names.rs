//! Questions to the domain name system that a peer asks: answered as this machine sees the world.
//!
//! Addresses come from the system's own resolver, so that `/etc/hosts` and whatever else this machine knows counts; all
//! other types are asked of its name servers, in the peer's own words. Nothing is told about a name beyond what the peer
//! may reach.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use super::destination::Name;
use super::dial::Dialler;
use super::peer::PeerSession;
use super::protocol::{Refusal, Status};
use super::rules::AllowTo;
use super::streams::{grant, refuse};
use super::units::UnitStream;
use crate::stream::{RecvStream, SendStream};

/// How long an address may be kept, in seconds: the system's resolver does not tell for how long it knows it.
const TTL: u32 = 30;

/// Addresses that one answer tells at most.
const MAX_ADDRESSES: usize = 64;

/// How long one name server may take (RFC 1123 6.1.3.3 leaves it open; resolvers take 5 s).
const PATIENCE: Duration = Duration::from_secs(3);

/// Name servers that are asked, one after the other, as resolv.conf(5) has it (MAXNS).
const MAX_SERVERS: usize = 3;

/// The longest message over UDP that is looked for; what is longer comes over TCP (RFC 6891 section 6.2.5).
const LONGEST_DATAGRAM: usize = 4096;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Answers a peer's question.
pub(crate) async fn answer(
    session: &PeerSession,
    mut send: SendStream,
    recv: UnitStream<RecvStream>,
    query: &[u8],
) {
    let core = &session.core;
    let found = tokio::select! {
        biased;
        found = answer_to(query, &core.dialler, &core.config.allow_to) => found,
        // Its asker has lost interest.
        _ = send.stopped() => return,
    };
    match found {
        Ok(message) => {
            let told = async {
                grant(&mut send).await?;
                send.write_chunk(&mut Bytes::from(message)).await?;
                send.finish()
            };
            if let Err(error) = told.await {
                debug!("{}: a name's answer was not taken: {error}", session.name);
            }
        }
        Err(refusal) => {
            session.log_refusal("resolve", &refusal);
            refuse(send, recv, refusal).await;
        }
    }
}

/// The answer as a message of RFC 1035, or why there is none.
async fn answer_to(query: &[u8], dialler: &Dialler, allow: &AllowTo) -> Result<Vec<u8>, Refusal> {
    let malformed = |what: &str| Refusal::new(Status::Malformed, format!("a question that {what}"));
    let packet = Packet::parse(query).map_err(|_| malformed("is no DNS message"))?;
    let [question] = &packet.questions[..] else {
        return Err(malformed("is not one question"));
    };
    if packet.has_flags(PacketFlag::RESPONSE) || packet.opcode() != OPCODE::StandardQuery {
        return Err(malformed("asks nothing"));
    }
    let name = question.qname.to_string().parse::<Name>().ok();
    let wanted = match question.qtype {
        QTYPE::TYPE(TYPE::A) => Some(IpAddr::is_ipv4 as fn(&IpAddr) -> bool),
        QTYPE::TYPE(TYPE::AAAA) => Some(IpAddr::is_ipv6 as fn(&IpAddr) -> bool),
        _ => None,
    };
    match (name, wanted) {
        (Some(name), Some(wanted)) => {
            let (code, addresses) = addresses(&name, wanted, dialler, allow).await;
            reply(&packet, code, &addresses)
        }
        (Some(name), None) if allow.permits_name(&name) => pass_on(query).await,
        (None, _) if allow.permits_everything() => pass_on(query).await,
        _ => reply(&packet, RCODE::Refused, &[]),
    }
}

/// What the system's resolver says about a name, as far as the peer may know it.
async fn addresses(
    name: &Name,
    wanted: fn(&IpAddr) -> bool,
    dialler: &Dialler,
    allow: &AllowTo,
) -> (RCODE, Vec<IpAddr>) {
    let found = match dialler.look_up(name).await {
        Ok(found) => found,
        Err(error) => return (code_of(&error), Vec::new()),
    };
    let nothing = found.is_empty();
    let granted: Vec<IpAddr> = found
        .into_iter()
        .filter(|ip| allow.permits_host(name, *ip))
        .collect();
    if granted.is_empty() && !nothing {
        return (RCODE::Refused, Vec::new());
    }
    let mut addresses: Vec<IpAddr> = granted.into_iter().filter(wanted).collect();
    addresses.truncate(MAX_ADDRESSES);
    (RCODE::NoError, addresses)
}

/// The system's resolver says why only in words (`gai_strerror`, in English as no locale is set).
fn code_of(error: &io::Error) -> RCODE {
    let words = error.to_string();
    if words.contains("No address associated") {
        RCODE::NoError
    } else if words.contains("Temporary failure") || error.kind() == io::ErrorKind::TimedOut {
        RCODE::ServerFailure
    } else {
        RCODE::NameError
    }
}

fn reply(query: &Packet<'_>, code: RCODE, addresses: &[IpAddr]) -> Result<Vec<u8>, Refusal> {
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *reply.rcode_mut() = code;
    reply.questions.clone_from(&query.questions);
    if let Some(question) = query.questions.first() {
        reply.answers.extend(addresses.iter().map(|address| {
            let data = match address {
                IpAddr::V4(ip) => RData::A(A::from(*ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA::from(*ip)),
            };
            ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data)
        }));
    }
    reply
        .build_bytes_vec_compressed()
        .map_err(|error| Refusal::new(Status::Failed, error.to_string()))
}

/// Asks this machine's name servers in the peer's own words.
async fn pass_on(query: &[u8]) -> Result<Vec<u8>, Refusal> {
    // A small file that is in memory as good as always: no thread for it.
    let servers = servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    if servers.is_empty() {
        let reason = format!("{RESOLV_CONF} of this side names no server");
        return Err(Refusal::new(Status::NameNotFound, reason));
    }
    let mut last = None;
    for server in servers {
        match timeout(PATIENCE, ask(server, query)).await {
            Ok(Ok(message)) => return Ok(message),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    let reason = last.map_or_else(String::new, |error| error.to_string());
    Err(Refusal::new(
        Status::TimedOut,
        format!("no name server of this side answers: {reason}"),
    ))
}

/// The servers that resolv.conf(5) names.
fn servers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        // A zone behind an IPv6 address (`fe80::1%eth0`) is not among what this can ask.
        let ip: IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(ip, 53))
    });
    lines.take(MAX_SERVERS).collect()
}

/// Asks one name server over UDP, and over TCP when its answer does not fit.
async fn ask(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for each question, which a forger would have to guess (RFC 5452 section 4.5).
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let len = socket.recv(&mut buffer).await?;
        let message = buffer.get(..len).unwrap_or_default();
        if !is_answer(message, query) {
            continue;
        }
        if is_truncated(message) {
            return ask_whole(server, query).await;
        }
        return Ok(message.to_vec());
    }
}

/// RFC 7766: messages behind their length in two bytes.
async fn ask_whole(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut wire = len.to_be_bytes().to_vec();
    wire.extend_from_slice(query);
    stream.write_all(&wire).await?;
    let len = stream.read_u16().await?;
    let mut message = vec![0; len.into()];
    stream.read_exact(&mut message).await?;
    if is_answer(&message, query) {
        Ok(message)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Same number, and an answer (RFC 1035 section 4.1.1).
pub(super) fn is_answer(message: &[u8], query: &[u8]) -> bool {
    let is_response = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
    message.len() >= 12 && message.get(..2) == query.get(..2) && is_response
}

fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use simple_dns::{QCLASS, Question};

    use super::*;
    use crate::tunnel::dial::{Resolve, Resolved};

    /// Knows a few names, and fails in the words of glibc for the rest.
    struct Table(HashMap<&'static str, Vec<IpAddr>>);

    impl Resolve for Table {
        fn resolve(&self, name: &Name) -> Resolved {
            let failed = |words: &str| {
                let words = format!("failed to lookup address information: {words}");
                Err(io::Error::other(words))
            };
            let found = match name.as_str() {
                "busy.example" => failed("Temporary failure in name resolution"),
                "empty.example" => failed("No address associated with hostname"),
                known => match self.0.get(known) {
                    Some(addresses) => Ok(addresses.clone()),
                    None => failed("Name or service not known"),
                },
            };
            Box::pin(async move { found })
        }
    }

    fn dialler() -> Dialler {
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
        let table = Table(HashMap::from([
            ("two.example", ips(&["192.0.2.1", "2001:db8::1"])),
            ("inside.example", ips(&["10.0.0.1"])),
        ]));
        Dialler::new(Arc::new(table), Duration::from_secs(120))
    }

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(0x1234);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = simple_dns::Name::new_unchecked(name);
        let question = Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        packet.questions.push(question);
        packet.build_bytes_vec().unwrap()
    }

    async fn asked(name: &str, kind: TYPE, allow: &str) -> (RCODE, Vec<IpAddr>) {
        let allow = AllowTo::from_rules([allow]).unwrap();
        let query = query(name, kind);
        let message = answer_to(&query, &dialler(), &allow).await.unwrap();
        assert!(is_answer(&message, &query));
        let packet = Packet::parse(&message).unwrap();
        assert!(packet.has_flags(PacketFlag::RECURSION_AVAILABLE));
        assert_eq!(packet.questions[0].qname.to_string(), name);
        let addresses = packet.answers.iter().map(|answer| match &answer.rdata {
            RData::A(a) => IpAddr::from(std::net::Ipv4Addr::from(a.address)),
            RData::AAAA(aaaa) => IpAddr::from(Ipv6Addr::from(aaaa.address)),
            other => panic!("{other:?}"),
        });
        (packet.rcode(), addresses.collect())
    }

    #[tokio::test]
    async fn each_type_gets_its_own_addresses() {
        let one = asked("two.example", TYPE::A, "any").await;
        assert_eq!(one, (RCODE::NoError, vec!["192.0.2.1".parse().unwrap()]));
        let six = asked("two.example", TYPE::AAAA, "any").await;
        assert_eq!(six, (RCODE::NoError, vec!["2001:db8::1".parse().unwrap()]));
        let none = asked("inside.example", TYPE::AAAA, "any").await;
        assert_eq!(none, (RCODE::NoError, Vec::new()));
    }

    /// Resolvers ask with letters in random case and compare (draft-vixie-dnsext-dns0x20).
    #[tokio::test]
    async fn the_question_comes_back_letter_by_letter() {
        let found = asked("tWo.eXample", TYPE::A, "any").await;
        assert_eq!(found.1.len(), 1);
    }

    #[tokio::test]
    async fn what_the_resolver_says_has_its_code() {
        for (name, code) in [
            ("no.example", RCODE::NameError),
            ("busy.example", RCODE::ServerFailure),
            ("empty.example", RCODE::NoError),
        ] {
            assert_eq!(
                asked(name, TYPE::A, "any").await,
                (code, Vec::new()),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_told_that_may_not_be_reached() {
        let refused = (RCODE::Refused, Vec::new());
        assert_eq!(asked("inside.example", TYPE::A, "loopback").await, refused);
        assert_eq!(
            asked("inside.example", TYPE::A, "192.0.2.0/24").await,
            refused
        );
        let granted = asked("inside.example", TYPE::A, "10.0.0.0/8:22").await;
        assert_eq!(granted.1.len(), 1);
        let granted = asked("inside.example", TYPE::A, "inside.example:443").await;
        assert_eq!(granted.1.len(), 1);
        // Other types tell anything about a name: only a rule for the name, or for everything, allows them.
        assert_eq!(
            asked("inside.example", TYPE::TXT, "10.0.0.0/8").await,
            refused
        );
    }

    #[tokio::test]
    async fn what_is_no_question_is_refused() {
        let allow = AllowTo::any();
        let mut response = query("two.example", TYPE::A);
        response[2] |= 0x80;
        let mut two = query("two.example", TYPE::A);
        two[5] = 2;
        for bad in [
            &b""[..],
            b"GET / HTTP/1.1\r\n",
            &[0xff; 40],
            &response,
            &two,
        ] {
            let refusal = answer_to(bad, &dialler(), &allow).await.unwrap_err();
            assert_eq!(refusal.status, Status::Malformed, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_server_s_answer_is_told_from_a_stranger_s_and_completed_over_tcp() {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let at = udp.local_addr().unwrap();
            if let Ok(tcp) = tokio::net::TcpListener::bind(at).await {
                break (udp, tcp);
            }
        };
        let server = udp.local_addr().unwrap();
        let query = query("two.example", TYPE::TXT);
        let mut whole = query.clone();
        whole[2] |= 0x80;
        let expected = whole.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (len, from) = udp.recv_from(&mut buffer).await.unwrap();
            // Another number first, then the right one, cut short.
            let mut other = whole.clone();
            other[0] ^= 1;
            udp.send_to(&other, from).await.unwrap();
            let mut cut = whole.clone();
            cut[2] |= 0x02;
            udp.send_to(&cut, from).await.unwrap();
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut asked = vec![0; len + 2];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked[2..], buffer[..len]);
            let length = u16::try_from(whole.len()).unwrap().to_be_bytes();
            stream
                .write_all(&[&length[..], &whole].concat())
                .await
                .unwrap();
        });
        assert_eq!(ask(server, &query).await.unwrap(), expected);
    }

    #[test]
    fn servers_are_those_of_resolv_conf() {
        let text = "# a comment\nsearch example\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n\
                    nameserver\t::1 \noptions edns0\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let found: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "[::1]:53", "10.0.0.2:53"]);
    }
}
