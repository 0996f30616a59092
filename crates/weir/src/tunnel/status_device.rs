//! What `weir connect --status` shows of the near end of `--tun` and `weir run`: the connections that the machine, or
//! the command, has with the stack that ends them here.

use serde::{Deserialize, Serialize};

use super::status::MAX_LISTED;
use crate::tcpip::{Stack, TcpConnection};

/// One device and the stack behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// What it is called, with its addresses.
    pub name: String,
    /// Attempts to connect that wait for the peer's answer.
    pub asking: u64,
    /// Connections that ended lately, and whose ports are kept until nothing of them can be on its way.
    pub time_wait: u64,
    /// Bytes that the stack holds in buffers.
    pub memory: u64,
    /// Packets that found no room on their way to the device.
    pub discarded: u64,
    /// Segments that were sent again.
    pub retransmissions: u64,
    /// Datagrams of the machine's that were dropped because they came faster than they were carried.
    pub datagrams_dropped: u64,
    /// The TCP connections.
    pub tcp: Vec<TcpStatus>,
    /// How many more there are than are listed.
    pub omitted: u64,
}

/// A TCP connection between the machine and this end of the tunnel. Bytes *sent* go to the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TcpStatus {
    /// The machine's end, as in [`StreamStatus::from`](super::StreamStatus::from).
    pub from: String,
    /// Where it believes to be connected to.
    pub to: String,
    /// The state of RFC 9293 section 3.3.2.
    pub state: String,
    /// Smoothed round-trip time in milliseconds, once one has been measured.
    pub rtt_ms: Option<f64>,
    /// Bytes that may be on their way to the machine at once.
    pub congestion_window: u64,
    /// Bytes that are on their way.
    pub in_flight: u64,
    /// Bytes that the machine takes now.
    pub send_window: u64,
    /// Bytes from the tunnel that wait to be sent for the first time.
    pub unsent: u64,
    /// Bytes from the tunnel that the machine has not acknowledged, those never sent included.
    pub unacknowledged: u64,
    /// Bytes from the machine that the tunnel has not taken.
    pub unread: u64,
    /// Bytes that the machine may send now.
    pub receive_window: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Why nothing more is sent to the machine at present, in words.
    pub send_held_by: String,
}

impl DeviceStatus {
    /// How a stack stands.
    pub(crate) fn of(name: String, stack: &Stack) -> DeviceStatus {
        let stats = stack.stats();
        let tcp: Vec<TcpStatus> = stack
            .connections(MAX_LISTED)
            .into_iter()
            .map(TcpStatus::of)
            .collect();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        // Those that were let go of, and say their last words, are of no interest.
        let all = stats.connections.saturating_sub(stats.orphans);
        DeviceStatus {
            name,
            asking: count(stats.incoming),
            time_wait: count(stats.time_waits),
            memory: stats.memory,
            discarded: stack.ip_counters().out_discards,
            retransmissions: stats.counters.retrans_segs,
            datagrams_dropped: stats.counters.udp_rcvbuf_errors,
            omitted: count(all.saturating_sub(tcp.len())),
            tcp,
        }
    }
}

impl TcpStatus {
    fn of(connection: TcpConnection) -> TcpStatus {
        let stats = connection.stats;
        TcpStatus {
            from: connection.remote.to_string(),
            to: connection.local.to_string(),
            state: stats.state.to_string(),
            rtt_ms: stats.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            congestion_window: stats.congestion_window,
            in_flight: stats.in_flight,
            send_window: stats.send_window,
            unsent: stats.unsent,
            unacknowledged: stats.unacknowledged,
            unread: stats.unread,
            receive_window: stats.receive_window,
            retransmissions: stats.retransmissions,
            send_held_by: stats.held_by.as_str().to_owned(),
        }
    }

    /// Why it stands still, in a few words, from both directions; `None` where bytes flow or there are none.
    #[must_use]
    pub fn stands_still(&self) -> Option<String> {
        let mut why = Vec::new();
        if self.unsent > 0 && self.send_window == 0 {
            why.push("the machine reads no more".to_owned());
        } else if self.unsent > 0 {
            why.push(self.send_held_by.clone());
        } else if self.unacknowledged > 0 && self.retransmissions > 0 {
            why.push("the machine does not acknowledge".to_owned());
        }
        if self.unread > 0 {
            why.push("the tunnel takes no more".to_owned());
        }
        (!why.is_empty()).then(|| why.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> TcpStatus {
        TcpStatus {
            from: "10.7.0.2:50000".to_owned(),
            to: "203.0.113.1:80".to_owned(),
            state: "ESTABLISHED".to_owned(),
            rtt_ms: Some(0.2),
            congestion_window: 14_600,
            in_flight: 0,
            send_window: 65_535,
            unsent: 0,
            unacknowledged: 0,
            unread: 0,
            receive_window: 65_535,
            retransmissions: 0,
            send_held_by: "application".to_owned(),
        }
    }

    #[test]
    fn why_a_connection_stands_still_is_said_of_each_direction() {
        assert_eq!(idle().stands_still(), None);
        let shut = TcpStatus {
            unsent: 5,
            send_window: 0,
            ..idle()
        };
        assert_eq!(shut.stands_still().unwrap(), "the machine reads no more");
        let full = TcpStatus {
            unsent: 5,
            unread: 7,
            send_held_by: "congestion window".to_owned(),
            ..idle()
        };
        let words = "congestion window, the tunnel takes no more";
        assert_eq!(full.stands_still().unwrap(), words);
    }
}
