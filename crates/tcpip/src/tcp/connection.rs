//! One connection: its variables, and how it begins.

use std::sync::Arc;

use bytes::Bytes;
use weir_core::time::Instant;

use super::config::{Setting, TcpConfig};
use super::error::{CloseCause, ReadError, WriteError};
use super::interface::{
    Agreed, Context, FastOpenReply, News, Numbers, PathInfo, Received, SegmentSink, TcpTimer, Tuple,
};
use super::state::State;
use super::stats::TcpStats;
use super::time_wait::TimeWait;
use crate::ip::IcmpKind;
use crate::wire::tcp::FastOpen;

/// One end of a connection (RFC 9293 section 3.3.1).
///
/// # How it is driven
/// [`connect`](Connection::connect), [`accept`](Connection::accept) or
/// [`from_cookie`](Connection::from_cookie) make it. Then, as things happen: `handle_segment` for each
/// segment of a batch, `handle_timeout` when `poll_timeout` says so, the application's calls; and
/// after each batch `take_news`, then `poll_transmit` while `wants_transmit` (an ACK is sent once for
/// all segments of the batch), then `poll_timeout` again, because anything may have moved it.
///
/// # How it ends
/// When `take_time_wait` gives a value, the stack keeps that in this connection's place in its
/// table of ends, and passes it no more segments; what was received can still be read. When
/// `is_finished` the stack has nothing more to do for it. It is dropped then, once the application let go (`close`,
/// `abort`) and [`release`](Connection::release) gave its memory back.
#[derive(Debug)]
pub(crate) struct Connection {
    tuple: Tuple,
    config: Arc<TcpConfig>,
    numbers: Numbers,
    path: PathInfo,
    state: State,
    news: News,
}

#[allow(clippy::needless_pass_by_ref_mut, unused_variables, reason = "interim")]
impl Connection {
    fn interim(
        tuple: Tuple,
        config: Arc<TcpConfig>,
        numbers: Numbers,
        path: PathInfo,
        state: State,
    ) -> Connection {
        Connection {
            tuple,
            config,
            numbers,
            path,
            state,
            news: News::default(),
        }
    }

    /// Active open: a SYN is ready to be sent. `fast_open`: a cookie from an earlier connection, or
    /// [`FastOpen::REQUEST`], if [`TcpConfig::fast_open`] is on; what is written before the first
    /// `poll_transmit` goes with a SYN that has a cookie.
    pub(crate) fn connect(
        cx: &mut Context<'_>,
        tuple: Tuple,
        config: Arc<TcpConfig>,
        numbers: Numbers,
        path: PathInfo,
        fast_open: Option<FastOpen>,
    ) -> Connection {
        Connection::interim(tuple, config, numbers, path, State::SynSent)
    }

    /// Passive open: answers `syn`, which a listener got and found acceptable.
    pub(crate) fn accept(
        cx: &mut Context<'_>,
        tuple: Tuple,
        config: Arc<TcpConfig>,
        numbers: Numbers,
        path: PathInfo,
        syn: &Received<'_>,
        fast_open: FastOpenReply,
    ) -> Connection {
        Connection::interim(tuple, config, numbers, path, State::SynReceived)
    }

    /// Passive open by the ACK to a SYN cookie: ESTABLISHED at once. `ack` is not yet processed;
    /// pass it to `handle_segment` next. `peer_initial` is the peer's initial sequence number.
    pub(crate) fn from_cookie(
        cx: &mut Context<'_>,
        tuple: Tuple,
        config: Arc<TcpConfig>,
        numbers: Numbers,
        path: PathInfo,
        peer_initial: u32,
        agreed: &Agreed,
        ack: &Received<'_>,
    ) -> Connection {
        Connection::interim(tuple, config, numbers, path, State::Established)
    }

    /// A segment of this connection arrived.
    pub(crate) fn handle_segment(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {}
    /// Time passed. A spurious call does nothing.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {}
    /// The next wake-up.
    pub(crate) fn poll_timeout(&self) -> Option<(Instant, TcpTimer)> {
        None
    }
    /// True when `poll_transmit` may have something to send.
    pub(crate) fn wants_transmit(&self) -> bool {
        false
    }
    /// Sends what is to be sent. True when more could go, but the sink is full or had its turn.
    pub(crate) fn poll_transmit(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
    ) -> bool {
        false
    }
    /// An ICMP error quotes a segment of this connection, with the sequence number `quoted` (T49, T50).
    pub(crate) fn handle_icmp(
        &mut self,
        cx: &mut Context<'_>,
        kind: IcmpKind,
        quoted: Option<u32>,
    ) {
    }
    /// The path's MTU is another now, in bytes (T133).
    pub(crate) fn handle_path_mtu(&mut self, cx: &mut Context<'_>, mtu: u16) {}
    /// Appends what fits of `data` to the send buffer and takes it off `data`. Returns how many bytes.
    pub(crate) fn write(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Result<usize, WriteError> {
        Err(WriteError::Blocked)
    }
    /// As `write`, by copy.
    pub(crate) fn write_slice(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Result<usize, WriteError> {
        Err(WriteError::Blocked)
    }
    /// The next bytes in order, at most `max`. `None`: the peer finished and all was read.
    pub(crate) fn read(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Result<Option<Bytes>, ReadError> {
        Err(ReadError::Blocked)
    }
    /// As `read`, by copy; `Ok(0)` is the end (or `out` is empty).
    pub(crate) fn read_into(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Result<usize, ReadError> {
        Err(ReadError::Blocked)
    }
    /// No more is written: FIN follows what was (half-close).
    pub(crate) fn finish(&mut self, cx: &mut Context<'_>) {}
    /// No more is read: what arrives is thrown away.
    pub(crate) fn stop(&mut self, cx: &mut Context<'_>) {}
    /// The application lets go: it is closed in the background (T118, T122, T123).
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {}
    /// Ends it at once with a RST (T124).
    pub(crate) fn abort(&mut self, cx: &mut Context<'_>, cause: CloseCause) {}
    /// Changes a setting of this connection.
    pub(crate) fn configure(&mut self, cx: &mut Context<'_>, setting: Setting) {}
    /// What is seen.
    pub(crate) fn stats(&self, now: Instant) -> Option<TcpStats> {
        None
    }
    /// The state.
    pub(crate) fn state(&self) -> State {
        self.state
    }
    /// The two ends.
    pub(crate) fn tuple(&self) -> &Tuple {
        &self.tuple
    }
    /// How it behaves.
    pub(crate) fn config(&self) -> &TcpConfig {
        &self.config
    }
    /// What became of it since the last call.
    pub(crate) fn take_news(&mut self) -> News {
        core::mem::take(&mut self.news)
    }
    /// Why it is over, once it is.
    pub(crate) fn close_cause(&self) -> Option<CloseCause> {
        None
    }
    /// Once, when TIME-WAIT has begun and the last ACK was sent.
    pub(crate) fn take_time_wait(&mut self, now: Instant) -> Option<TimeWait> {
        None
    }
    /// True when it is CLOSED (or handed over to TIME-WAIT) and has nothing left to send.
    pub(crate) fn is_finished(&self) -> bool {
        false
    }
    /// True once the application let go of it.
    pub(crate) fn is_orphan(&self) -> bool {
        false
    }
    /// The Fast Open cookie that the peer sent, to be kept for the next connection.
    pub(crate) fn take_fast_open_cookie(&mut self) -> Option<FastOpen> {
        None
    }
    /// Gives all memory back, before it is dropped.
    pub(crate) fn release(&mut self, cx: &mut Context<'_>) {}
}
