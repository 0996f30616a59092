//! What can be seen of a connection at any moment, as `ss -ti` shows it.

use weir_core::time::{Duration, Instant};
use weir_core::trace::HeldBy;

use super::connection::Connection;
use super::state::State;

/// A connection as it stands. Bytes and segments count from its beginning; times ago are measured
/// from the moment of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpStats {
    /// Its state.
    pub state: State,
    /// Why nothing more is sent at present.
    pub held_by: HeldBy,
    /// The congestion control algorithm.
    pub congestion: &'static str,
    /// What the algorithm is doing, in its own word.
    pub congestion_state: &'static str,
    /// SACK was agreed.
    pub sack: bool,
    /// Timestamps were agreed.
    pub timestamps: bool,
    /// ECN was agreed.
    pub ecn: bool,
    /// Data went, or came, with the SYN and was acknowledged.
    pub fast_open: bool,
    /// How far the peer's windows are shifted; `None` where scaling was not agreed.
    pub send_scale: Option<u8>,
    /// How far our windows are shifted; `None` where scaling was not agreed.
    pub receive_scale: Option<u8>,
    /// Payload bytes of a full segment sent, its usual options taken off.
    pub mss: u32,
    /// The path's MTU in bytes, as known.
    pub path_mtu: u16,
    /// The largest payload of a segment received.
    pub receive_mss: u32,
    /// The retransmission time-out, without backing off.
    pub rto: Duration,
    /// Time-outs since the last new acknowledgement.
    pub backoff: u32,
    /// The smoothed round trip time.
    pub rtt: Option<Duration>,
    /// Its variation.
    pub rtt_variance: Option<Duration>,
    /// The least round trip time.
    pub min_rtt: Option<Duration>,
    /// The congestion window in bytes.
    pub congestion_window: u64,
    /// The slow start threshold in bytes.
    pub ssthresh: Option<u64>,
    /// Bytes thought to be in the network.
    pub in_flight: u64,
    /// The peer's window in bytes from the first byte not acknowledged.
    pub send_window: u64,
    /// Bytes that the peer may send now.
    pub receive_window: u64,
    /// The size that the receive window aims at in bytes.
    pub receive_window_size: u64,
    /// Bytes written and not acknowledged.
    pub unacknowledged: u64,
    /// Bytes written and never sent.
    pub unsent: u64,
    /// The most that may be written ahead, now.
    pub send_buffer: u64,
    /// Bytes in order that were not read.
    pub unread: u64,
    /// Bytes that wait behind a gap.
    pub out_of_order: u64,
    /// Data bytes that the peer acknowledged.
    pub bytes_acked: u64,
    /// Data bytes received in order.
    pub bytes_received: u64,
    /// Data bytes sent again.
    pub bytes_retransmitted: u64,
    /// Segments sent, retransmitted ones too.
    pub segments_out: u64,
    /// Segments received.
    pub segments_in: u64,
    /// Segments sent with new data.
    pub data_segments_out: u64,
    /// Segments received with data.
    pub data_segments_in: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Bytes thought lost at some time.
    pub lost: u64,
    /// How long after a later segment one is thought lost.
    pub reordering_window: Duration,
    /// Bytes per second that pacing allows; `None` without pacing.
    pub pacing_rate: Option<u64>,
    /// Since data was last sent.
    pub last_sent: Duration,
    /// Since anything was last received.
    pub last_received: Duration,
}

impl Connection {
    /// How it stands.
    pub(crate) fn stats(&self, now: Instant) -> TcpStats {
        let recovery = self.recovery.stats();
        let (send, receive) = (&self.send, &self.receive);
        let ago = |at| now.saturating_duration_since(at);
        TcpStats {
            state: self.state,
            held_by: self.held_by(),
            congestion: recovery.algorithm,
            congestion_state: recovery.state,
            sack: self.sack,
            timestamps: self.clock.is_on,
            ecn: self.ecn.is_on,
            fast_open: self.begin.fast_open,
            send_scale: self.scaling.then_some(send.shift),
            receive_scale: self.scaling.then_some(receive.shift),
            mss: u32::from(self.mss),
            path_mtu: self.path.mtu,
            receive_mss: receive.mss,
            rto: recovery.rto,
            backoff: self.recovery.consecutive_timeouts(),
            rtt: recovery.rtt,
            rtt_variance: recovery.rttvar,
            min_rtt: recovery.min_rtt,
            congestion_window: recovery.window,
            ssthresh: recovery.ssthresh,
            in_flight: recovery.in_flight,
            send_window: send.wnd(),
            receive_window: receive.remaining(),
            receive_window_size: receive.window.size(),
            unacknowledged: send.buffer.len_unacked(),
            unsent: send.buffer.unsent(),
            send_buffer: send.limit,
            unread: receive.assembler.readable(),
            out_of_order: receive.assembler.held(),
            bytes_acked: send.buffer.base().saturating_sub(1),
            bytes_received: receive.assembler.end().saturating_sub(1),
            bytes_retransmitted: recovery.retransmitted,
            segments_out: self.seen.segments_out,
            segments_in: self.seen.segments_in,
            data_segments_out: self.seen.data_segments_out,
            data_segments_in: self.seen.data_segments_in,
            retransmissions: self.seen.retransmissions,
            lost: recovery.lost,
            reordering_window: recovery.reordering_window,
            pacing_rate: recovery.pacing_rate,
            last_sent: ago(self.seen.last_sent),
            last_received: ago(self.seen.last_received),
        }
    }

    /// Why nothing more is sent at present.
    fn held_by(&self) -> HeldBy {
        if self.state == State::Closed || self.kick {
            return HeldBy::Nothing;
        }
        if !self.send.has_unsent() && !self.send.buffer.has_lost() {
            return HeldBy::Application;
        }
        self.held_by
    }
}
