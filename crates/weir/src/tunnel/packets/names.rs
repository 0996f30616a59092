//! The name server at the stack's own addresses: it passes questions to the peer, and the peer's answers back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simple_dns::{Packet, PacketFlag, RCODE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Carried;
use crate::tcpip::{Datagram, Received, TcpListener, TcpStream, UdpSocket};
use crate::tunnel::names::is_answer;
use crate::tunnel::protocol::{MAX_QUERY, Refusal, Request, Status, read_answer};
use crate::tunnel::shared::NoStream;
use crate::tunnel::streams::ask;
use crate::tunnel::units::{READ_MAX, UnitError, UnitStream};

/// Questions that wait for an answer at once; more are dropped, and asked again by those who asked.
const MAX_ASKING: usize = 256;

/// Connections to the name server at once.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection to the name server may be silent (RFC 7766 section 6.2.3: some seconds).
const SILENCE: Duration = Duration::from_secs(10);

/// How long the peer may take, which asks its own name servers one after the other.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest answer over UDP to whom does not say that longer ones are taken (RFC 1035 section 4.2.1).
const SHORT_DATAGRAM: usize = 512;

/// The longest to anybody: what every path carries whole (the DNS flag day's figure).
const LONG_DATAGRAM: usize = 1232;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("{0}")]
    NoStream(#[from] NoStream),
    #[error("{0}")]
    Stream(#[from] crate::error::StreamError),
    #[error("the answer of the far side: {0}")]
    Answer(#[from] UnitError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the far side's answer is none")]
    Nonsense,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

/// Answers questions that come as datagrams.
pub(super) async fn serve_datagrams(carried: Carried, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let slots = Arc::new(Semaphore::new(MAX_ASKING));
    loop {
        let received = match socket.recv_datagram().await {
            Ok(received) => received,
            Err(error) => return warn!("--tun: {}: {error}", carried.name),
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue;
        };
        let (task, socket) = (carried.clone(), Arc::clone(&socket));
        carried.tasks.spawn(async move {
            let Received { data, from, to, .. } = received;
            if let Some(answer) = answer(&task, &data, from).await {
                let answer = fit(answer, &data);
                let mut datagram = Datagram::to(from);
                datagram.from = Some(to);
                // Lost, as datagrams may be: it is asked again.
                let _ = socket.try_send(&answer, datagram);
            }
            drop(slot);
        });
    }
}

/// Answers questions that come over connections.
pub(super) async fn serve_connections(carried: Carried, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => return warn!("--tun: {}: {error}", carried.name),
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            stream.abort();
            continue;
        };
        let task = carried.clone();
        carried.tasks.spawn(async move {
            if let Err(error) = converse(&task, stream, from).await {
                debug!("--tun: questions of {from}: {error}");
            }
            drop(slot);
        });
    }
}

/// RFC 7766: messages behind their length in two bytes, until the client ends.
async fn converse(carried: &Carried, mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    loop {
        let len = match timeout(SILENCE, stream.read_u16()).await {
            Ok(Ok(len)) => usize::from(len),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let mut query = vec![0; len];
        let read = timeout(SILENCE, stream.read_exact(&mut query)).await;
        read.map_err(io::Error::from)??;
        let Some(answer) = answer(carried, &query, from).await else {
            return Ok(());
        };
        let len = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut wire = len.to_be_bytes().to_vec();
        wire.extend_from_slice(&answer);
        stream.write_all(&wire).await?;
    }
}

/// The peer's answer, or one that says that there is none; `None` to what is no question at all.
async fn answer(carried: &Carried, query: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let packet = Packet::parse(query).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    if query.len() > MAX_QUERY || packet.questions.len() != 1 {
        return Some(without_answer(&packet, RCODE::FormatError));
    }
    let asked = timeout(PATIENCE, ask_peer(carried, query)).await;
    match asked.unwrap_or(Err(NoAnswer::TimedOut)) {
        Ok(answer) => Some(answer),
        Err(error) => {
            tell(carried, from, &packet, &error);
            let code = match error {
                NoAnswer::Refused(refusal) if refusal.status == Status::NotAllowed => {
                    RCODE::Refused
                }
                _ => RCODE::ServerFailure,
            };
            Some(without_answer(&packet, code))
        }
    }
}

fn tell(carried: &Carried, from: SocketAddr, packet: &Packet<'_>, error: &NoAnswer) {
    if let Some(left_out) = carried.core.quiet.suffix() {
        let name = packet.questions.first().map(|q| q.qname.to_string());
        let name = name.unwrap_or_default();
        warn!("--tun: the name {name} for {from}: {error}{left_out}");
    }
}

async fn ask_peer(carried: &Carried, query: &[u8]) -> Result<Vec<u8>, NoAnswer> {
    let core = &carried.core;
    let (_, mut send, recv) = core.open().await?;
    let request = Request::Resolve {
        query: query.to_vec(),
    };
    ask(&mut send, &request, &[]).await?;
    send.finish()?;
    let mut recv = UnitStream::new(recv);
    let unit = recv.next_within(core.config.request_timeout).await?;
    read_answer(&request, &unit).map_err(UnitError::from)??;
    let mut message = recv.take_rest().unwrap_or_default().to_vec();
    while let Some(chunk) = recv.source_mut().read_chunk(READ_MAX).await? {
        message.extend_from_slice(&chunk);
        if message.len() > usize::from(u16::MAX) {
            return Err(NoAnswer::Nonsense);
        }
    }
    if is_answer(&message, query) {
        Ok(message)
    } else {
        Err(NoAnswer::Nonsense)
    }
}

/// The question with a code and nothing else.
fn without_answer(query: &Packet<'_>, code: RCODE) -> Vec<u8> {
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *reply.rcode_mut() = code;
    reply.questions.clone_from(&query.questions);
    reply.build_bytes_vec().unwrap_or_default()
}

/// As it is, or cut down to the question with the mark that there is more, to be asked for over TCP.
fn fit(answer: Vec<u8>, query: &[u8]) -> Vec<u8> {
    let Ok(packet) = Packet::parse(query) else {
        return answer;
    };
    let takes = packet.opt().map_or(SHORT_DATAGRAM, |opt| {
        usize::from(opt.udp_packet_size).clamp(SHORT_DATAGRAM, LONG_DATAGRAM)
    });
    if answer.len() <= takes {
        return answer;
    }
    let mut cut = without_answer(&packet, RCODE::NoError);
    if let Some(flags) = cut.get_mut(2) {
        *flags |= 0x02;
    }
    cut
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::OPT;
    use simple_dns::{CLASS, Name, QCLASS, QTYPE, Question, TYPE};

    use super::*;

    fn query(takes: Option<u16>) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = Name::new_unchecked("long.example");
        let question = Question::new(
            name,
            QTYPE::TYPE(TYPE::TXT),
            QCLASS::CLASS(CLASS::IN),
            false,
        );
        packet.questions.push(question);
        *packet.opt_mut() = takes.map(|udp_packet_size| OPT {
            opt_codes: Vec::new(),
            udp_packet_size,
            version: 0,
        });
        packet.build_bytes_vec().unwrap()
    }

    /// RFC 1035 section 4.2.1, RFC 6891 section 6.2.3.
    #[test]
    fn answers_over_udp_are_no_longer_than_the_asker_takes() {
        for (takes, len, whole) in [
            (None, 512, true),
            (None, 513, false),
            (Some(1232), 1232, true),
            (Some(1232), 1233, false),
            // No datagram is made that paths may not carry, whatever is asked for.
            (Some(4096), 1400, false),
            (Some(100), 512, true),
        ] {
            let query = query(takes);
            let answer = vec![0; len];
            let fitted = fit(answer.clone(), &query);
            assert_eq!(fitted == answer, whole, "{takes:?} {len}");
            if !whole {
                let packet = Packet::parse(&fitted).unwrap();
                assert!(packet.has_flags(PacketFlag::TRUNCATION | PacketFlag::RESPONSE));
                assert_eq!((packet.id(), packet.questions.len()), (7, 1));
            }
        }
    }

    #[test]
    fn what_has_no_answer_is_answered_so() {
        let query = query(None);
        let packet = Packet::parse(&query).unwrap();
        let reply = without_answer(&packet, RCODE::ServerFailure);
        assert!(is_answer(&reply, &query));
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!(reply.rcode(), RCODE::ServerFailure);
        assert_eq!(reply.questions.len(), 1);
    }
}
