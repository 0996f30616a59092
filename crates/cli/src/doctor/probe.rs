//! Asking whether UDP reaches a QUIC server and comes back, without a connection.
//!
//! A long header of a version that nobody speaks makes each QUIC server answer with Version
//! Negotiation (RFC 9000 section 6), whatever versions it knows. The answer repeats the connection
//! IDs of the question, so it proves that just this datagram arrived, at its whole length.

use super::wire::{Arrived, Wire};
use quinn_udp::{EcnCodepoint, TransportErrorPayload};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// RFC 9000 section 6.1: a server need not answer datagrams that could not begin a connection.
pub(super) const LEAST: usize = 1_200;

/// Bytes of a connection ID: 8 is what a client must use at least (RFC 9000 section 7.2).
const CID: usize = 8;

/// What became of a question.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was answered.
    Negotiated(Negotiated),
    /// It is greater than an MTU: that of this machine's interface, or one on the path that says so.
    TooBig,
    /// The host says that nothing listens there.
    Unreachable,
    /// The system did not send it.
    NotSent(io::Error),
    /// Nothing came.
    Silence,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Negotiated {
    /// From the question to the answer.
    pub(super) time: Duration,
    /// The versions that the server speaks, with those that it made up (RFC 9000 section 6.3).
    pub(super) versions: Vec<u32>,
    /// The mark on the answer.
    pub(super) ecn: Option<EcnCodepoint>,
}

/// Whether UDP reaches `target`, where a QUIC server is believed to be, and comes back. Asks three
/// times within `limit`.
pub(super) async fn udp_reachability(target: SocketAddr, limit: Duration) -> Answer {
    match Prober::new(target) {
        Ok(mut prober) => prober.ask(LEAST, None, limit).await,
        Err(error) => Answer::NotSent(error),
    }
}

/// Asks one server.
#[derive(Debug)]
pub(super) struct Prober {
    wire: Wire,
    target: SocketAddr,
}

impl Prober {
    /// A socket of its own. Must be called within a tokio runtime.
    pub(super) fn new(target: SocketAddr) -> io::Result<Self> {
        let any = if target.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let wire = Wire::bind(any)?;
        Ok(Self { wire, target })
    }

    /// Whether the don't-fragment bit is on what is sent: only then does an answer say something
    /// about the path's MTU.
    pub(super) fn keeps_whole(&self) -> bool {
        !self.wire.state.may_fragment()
    }

    /// Asks with a datagram of `size` bytes, at least [`LEAST`], three times within `limit` if need
    /// be: each time the answer may take twice as long.
    pub(super) async fn ask(
        &mut self,
        size: usize,
        ecn: Option<EcnCodepoint>,
        limit: Duration,
    ) -> Answer {
        let mut wait = limit / 7;
        for _ in 0..3 {
            let answer = self.ask_once(size, ecn, wait).await;
            if !matches!(answer, Answer::Silence) {
                return answer;
            }
            wait *= 2;
        }
        Answer::Silence
    }

    async fn ask_once(&mut self, size: usize, ecn: Option<EcnCodepoint>, wait: Duration) -> Answer {
        let question = Question::new();
        let sent = Instant::now();
        match self
            .wire
            .send(self.target, &question.datagram(size), ecn, None)
        {
            Ok(()) => {}
            Err(error) if quinn_udp::is_msg_size_err(&error) => return Answer::TooBig,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Answer::Unreachable;
            }
            Err(error) => return Answer::NotSent(error),
        }
        loop {
            match self.wire.receive(sent + wait).await {
                Arrived::Datagrams(bytes, meta) => {
                    let mut pieces = bytes.chunks(meta.stride.max(1));
                    if let Some(versions) = pieces.find_map(|piece| question.answer(piece)) {
                        return Answer::Negotiated(Negotiated {
                            time: sent.elapsed(),
                            versions,
                            ecn: meta.ecn,
                        });
                    }
                }
                Arrived::Error(TransportErrorPayload::TooBig { .. }) => return Answer::TooBig,
                Arrived::Error(TransportErrorPayload::Unreachable) => return Answer::Unreachable,
                Arrived::Error(_) => {}
                Arrived::Nothing => return Answer::Silence,
            }
        }
    }
}

/// A datagram that asks for Version Negotiation.
struct Question {
    version: u32,
    destination: [u8; CID],
    source: [u8; CID],
}

impl Question {
    fn new() -> Self {
        let mut random = [0; 4 + 2 * CID];
        // Without randomness the answers could be forged; this only measures.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let (version, ids) = random.split_at(4);
        let (destination, source) = ids.split_at(CID);
        let version = u32::from_be_bytes(version.try_into().unwrap_or_default());
        Self {
            // RFC 9000 section 15: versions of this form are reserved to force this very answer.
            version: (version & 0xf0f0_f0f0) | 0x0a0a_0a0a,
            destination: destination.try_into().unwrap_or_default(),
            source: source.try_into().unwrap_or_default(),
        }
    }

    /// RFC 8999 section 5.1: form bit, version, connection IDs; then nothing but padding.
    fn datagram(&self, size: usize) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(size);
        datagram.push(0xc0);
        datagram.extend(self.version.to_be_bytes());
        for id in [&self.destination, &self.source] {
            datagram.push(CID as u8);
            datagram.extend(id);
        }
        datagram.resize(size.max(datagram.len()), 0);
        datagram
    }

    /// The versions in a Version Negotiation packet that answers this (RFC 8999 section 6): version
    /// zero, the connection IDs exchanged, versions to the end.
    fn answer(&self, datagram: &[u8]) -> Option<Vec<u32>> {
        let (first, rest) = datagram.split_first()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (&length, rest) = rest.split_first()?;
        let (destination, rest) = rest.split_at_checked(length.into())?;
        let (&length, rest) = rest.split_first()?;
        let (source, versions) = rest.split_at_checked(length.into())?;
        let ours = first & 0x80 != 0
            && *version == [0; 4]
            && destination == self.source
            && source == self.destination;
        if !ours || versions.is_empty() || !versions.len().is_multiple_of(4) {
            return None;
        }
        let words = versions.chunks_exact(4);
        Some(
            words
                .filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?)))
                .collect(),
        )
    }
}

/// A version in words; `None` for one that a server made up so that clients stay tolerant.
pub(super) fn version_name(version: u32) -> Option<String> {
    match version {
        1 => Some("1".to_owned()),
        0x6b33_43cf => Some("2".to_owned()),
        reserved if reserved & 0x0f0f_0f0f == 0x0a0a_0a0a => None,
        other => Some(format!("{other:#010x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiation(to: &Question, versions: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 0, 0, 0, 0, 8];
        packet.extend(to.source);
        packet.push(8);
        packet.extend(to.destination);
        packet.extend(versions);
        packet
    }

    #[test]
    fn the_question_is_a_padded_long_header_of_a_reserved_version() {
        // RFC 8999 section 5.1, RFC 9000 section 15
        let question = Question::new();
        let datagram = question.datagram(1_200);
        assert_eq!(datagram.len(), 1_200);
        assert_eq!(datagram[0] & 0x80, 0x80);
        assert!(datagram[1..5].iter().all(|byte| byte & 0x0f == 0x0a));
        assert_eq!((datagram[5], datagram[14]), (8, 8));
        assert_eq!(datagram[6..14], question.destination);
        assert_eq!(datagram[15..23], question.source);
        assert_ne!(Question::new().destination, question.destination);
    }

    #[test]
    fn only_an_answer_to_this_question_counts() {
        // RFC 8999 section 6
        let question = Question::new();
        let good = negotiation(&question, &[0, 0, 0, 1, 0x6b, 0x33, 0x43, 0xcf]);
        assert_eq!(question.answer(&good), Some(vec![1, 0x6b33_43cf]));
        assert_eq!(Question::new().answer(&good), None, "another question's");
        assert_eq!(question.answer(&question.datagram(1_200)), None, "an echo");
        for length in 0..good.len() - 8 {
            assert_eq!(
                question.answer(&good[..length]),
                None,
                "{length} bytes of it"
            );
        }
        assert_eq!(question.answer(&negotiation(&question, &[])), None);
        assert_eq!(question.answer(&negotiation(&question, &[0, 0, 1])), None);
    }

    #[test]
    fn versions_have_names_and_made_up_ones_have_none() {
        assert_eq!(version_name(1).as_deref(), Some("1"));
        assert_eq!(version_name(0x6b33_43cf).as_deref(), Some("2"));
        assert_eq!(version_name(0xff00_001d).as_deref(), Some("0xff00001d"));
        assert_eq!(version_name(0x1a2a_3a4a), None);
    }
}
