//! What `weir connect --status` shows of a running tunnel: one JSON document.

use serde::{Deserialize, Serialize};

use super::spec::Transport;
pub(crate) use super::status_device::DeviceStatus;

/// Streams that one document lists at most; `omitted` counts the others.
pub const MAX_LISTED: usize = 10_000;

/// A running tunnel, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The running process.
    pub pid: u32,
    /// The peer as it was given: `PEER@HOST:PORT`.
    pub peer: String,
    /// What the tunnel is doing.
    pub state: TunnelState,
    /// Seconds since the tunnel was started.
    pub uptime_secs: f64,
    /// How often a lost connection has been replaced by a new one.
    pub reconnects: u64,
    /// Why the last connection ended, once one has.
    pub last_end: Option<String>,
    /// The connection in use, while there is one.
    pub connection: Option<ConnectionStatus>,
    /// What was asked for with `-L`, `-R`, `-D` and `--tun`.
    pub forwards: Vec<ForwardStatus>,
    /// The devices of `--tun` and `weir run`, and what stands at this side's end of them.
    #[serde(default)]
    pub devices: Vec<DeviceStatus>,
    /// The connections that are forwarded now, oldest first.
    pub streams: Vec<StreamStatus>,
    /// How many more there are than are listed.
    pub omitted: u64,
}

/// What a tunnel is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TunnelState {
    /// The peer is reached.
    Connected,
    /// It is being dialled.
    Connecting,
    /// Nothing new is taken, what runs may finish.
    Draining,
}

/// The connection to the peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The peer ID that answered, where the way is authenticated.
    pub peer_id: Option<String>,
    /// The peer's address.
    pub remote: String,
    /// How the streams are carried.
    pub via: String,
    /// Smoothed round-trip time in milliseconds, once one has been measured.
    pub rtt_ms: Option<f64>,
    /// Seconds since the connection was made.
    pub age_secs: f64,
    /// Why they are carried so, where there was a choice.
    #[serde(default)]
    pub why: Option<String>,
    /// Bytes given to the carrier, framing included.
    pub sent: u64,
    /// Bytes taken from the carrier, framing included.
    pub received: u64,
    /// Bytes of memory that the connection holds for its streams.
    pub memory_used: u64,
    /// The most it may hold.
    pub memory_limit: u64,
    /// The network path, where the way manages it itself (QUIC).
    #[serde(default)]
    pub path: Option<PathStatus>,
    /// Datagrams of the connection that belonged to no flow, and were dropped.
    #[serde(default)]
    pub unknown_datagrams: u64,
}

/// The network path of a connection that manages it itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// The least round-trip time seen, in milliseconds, once one has been measured.
    pub min_rtt_ms: Option<f64>,
    /// Bytes that may be on their way at once.
    pub congestion_window: u64,
    /// Bytes that are on their way.
    pub in_flight: u64,
    /// The congestion controller.
    pub congestion: String,
    /// The state that it is in, in its own words.
    pub congestion_state: String,
    /// Size of the datagrams that the path carries, in bytes of UDP payload.
    pub datagram_size: usize,
    /// What became of the marks for explicit congestion notification, in a word.
    #[serde(default)]
    pub ecn: String,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// UDP datagrams received.
    pub datagrams_received: u64,
    /// Packets that were sent and taken for lost.
    pub packets_lost: u64,
    /// Times that the connection moved to another address.
    pub migrations: u64,
    /// Times that the packet keys were replaced.
    pub key_updates: u64,
}

/// One forward that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// Which of `-L`, `-R`, `-D`, `--tun`.
    pub kind: ForwardKind,
    /// What it carries; `-D` carries both.
    #[serde(default)]
    pub transport: Transport,
    /// Where is listened; for `-R` as the peer said, `None` while it does not listen; for `--tun` the device.
    pub bind: Option<String>,
    /// What is reached; `None` for `-D` and `--tun`, where each connection says it.
    pub to: Option<String>,
}

/// The kinds of forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardKind {
    /// `-L`
    Local,
    /// `-R`
    Remote,
    /// `-D`
    Socks,
    /// `--tun`, and `weir run`
    Packets,
}

impl ForwardKind {
    /// The option that asks for it.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Local => "-L",
            Self::Remote => "-R",
            Self::Socks => "-D",
            Self::Packets => "--tun",
        }
    }
}

/// How far a forwarded connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamPhase {
    /// It waits for a connection to the peer.
    Waiting,
    /// The peer has been asked and has not answered.
    Opening,
    /// Bytes may go both ways.
    Open,
}

/// What a UDP flow counts beyond bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramStatus {
    /// Datagrams sent into the tunnel.
    pub sent: u64,
    /// Datagrams that came out of the tunnel and were passed on.
    pub received: u64,
    /// Of those sent, how many went as datagrams of the connection; the others went over the stream.
    pub sent_direct: u64,
    /// Of those received, how many came so.
    pub received_direct: u64,
    /// Datagrams that were not passed on: a queue was full, or the system would not send them.
    pub dropped: u64,
}

/// One forwarded connection, or one UDP flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Its number in this tunnel.
    pub id: u64,
    /// The stream's number on the wire, once it has one.
    pub stream: Option<u64>,
    /// Which kind of forward it belongs to.
    pub kind: ForwardKind,
    /// A connection, or a flow of datagrams.
    #[serde(default)]
    pub transport: Transport,
    /// The datagrams of a flow.
    #[serde(default)]
    pub datagrams: Option<DatagramStatus>,
    /// Who connected.
    pub from: String,
    /// What it reaches.
    pub to: String,
    /// How far it has come.
    pub phase: StreamPhase,
    /// Seconds since it came.
    pub age_secs: f64,
    /// Bytes sent into the tunnel.
    pub sent: u64,
    /// Bytes received from the tunnel.
    pub received: u64,
    /// What keeps its bytes from being sent now, in words.
    pub send_held_by: String,
    /// What keeps bytes for it from coming now, as far as this side knows.
    pub receive_held_by: String,
}

impl StreamStatus {
    /// What holds it back in either direction, in a few words: `nothing` when nothing does.
    pub fn held_by(&self) -> String {
        let nothing = |held: &str| held.is_empty() || held == NOTHING;
        match (nothing(&self.send_held_by), nothing(&self.receive_held_by)) {
            (true, true) => NOTHING.to_owned(),
            (false, true) => format!("{} (sending)", self.send_held_by),
            (true, false) => format!("{} (receiving)", self.receive_held_by),
            (false, false) if self.send_held_by == self.receive_held_by => {
                self.send_held_by.clone()
            }
            _ => format!(
                "{} (sending), {} (receiving)",
                self.send_held_by, self.receive_held_by
            ),
        }
    }
}

/// The word for a stream that nothing holds back.
const NOTHING: &str = "nothing";

impl Status {
    /// The document as one line.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: there is no value that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a document back. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Status {
        let stream = StreamStatus {
            id: 7,
            stream: Some(3),
            kind: ForwardKind::Socks,
            transport: Transport::Udp,
            datagrams: Some(DatagramStatus {
                sent: 3,
                received: 2,
                sent_direct: 1,
                received_direct: 0,
                dropped: 4,
            }),
            from: "127.0.0.1:50000".to_owned(),
            to: "example.org:443".to_owned(),
            phase: StreamPhase::Open,
            age_secs: 1.5,
            sent: 10,
            received: 20,
            send_held_by: "peer's window".to_owned(),
            receive_held_by: NOTHING.to_owned(),
        };
        Status {
            pid: 42,
            peer: "12D3@example.org:4433".to_owned(),
            state: TunnelState::Connected,
            uptime_secs: 9.0,
            reconnects: 1,
            last_end: Some("the peer \"left\"\n".to_owned()),
            connection: None,
            forwards: vec![ForwardStatus {
                kind: ForwardKind::Socks,
                transport: Transport::Tcp,
                bind: Some("127.0.0.1:1080".to_owned()),
                to: None,
            }],
            devices: Vec::new(),
            streams: vec![stream],
            omitted: 0,
        }
    }

    #[test]
    fn a_document_is_one_line_and_reads_back() {
        let status = sample();
        let json = status.to_json();
        assert!(!json.contains('\n'));
        assert!(json.contains(r#""state":"connected""#) && json.contains(r#""kind":"socks""#));
        assert_eq!(Status::from_json(&json).unwrap(), status);
        assert!(json.contains(r#""transport":"udp""#) && json.contains(r#""dropped":4"#));
        assert!(Status::from_json("{}").is_err());
    }

    #[test]
    fn what_holds_a_stream_back_is_said_once() {
        let mut stream = sample().streams.remove(0);
        assert_eq!(stream.held_by(), "peer's window (sending)");
        stream.receive_held_by = stream.send_held_by.clone();
        assert_eq!(stream.held_by(), "peer's window");
        stream.send_held_by = NOTHING.to_owned();
        stream.receive_held_by = NOTHING.to_owned();
        assert_eq!(stream.held_by(), "nothing");
    }
}
