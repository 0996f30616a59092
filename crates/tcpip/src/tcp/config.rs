//! How a connection behaves, checked when it is used.

use weir_core::congestion::Algorithm;
use weir_core::limits::{OutOfRange, check_range};
use weir_core::time::{Duration, nanos};
use weir_core::window::WindowConfig;

use crate::limits::{
    DEFAULT_DELAYED_ACK, DEFAULT_FIN_WAIT, DEFAULT_MIN_RTO, DEFAULT_RECEIVE_WINDOW,
    DEFAULT_SEND_BUFFER, DEFAULT_SYN_TIMEOUT, DEFAULT_TIME_WAIT, DEFAULT_USER_TIMEOUT, FLOOR_MSS,
    LEAST_BUFFER, LEAST_KEEPALIVE, MAX_DSCP, MAX_RECEIVE_WINDOW, MAX_SEND_BUFFER, MOST_DELAYED_ACK,
    MOST_WINDOW,
};

/// How a connection behaves. One for many connections: the stack keeps it behind an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// The congestion control algorithm (T95).
    pub congestion: Algorithm,
    /// Whether large windows go out paced over the round trip (T92). On by default; round trips below
    /// 2 ms are not paced.
    pub pacing: bool,
    /// True: small segments go out at once, though others are not acknowledged (Nagle off, T62).
    pub nodelay: bool,
    /// Keep-alive probes; `None`, as by default, for none (T126).
    pub keepalive: Option<KeepAlive>,
    /// How long sent data may stay unacknowledged, or a zero window unanswered, before the
    /// connection is given up: R2 of RFC 9293 3.8.3 and the user timeout of RFC 5482. 15 minutes by
    /// default, at least 100 ms.
    pub user_timeout: Duration,
    /// What closing does with data not yet acknowledged: `None` sends it in the background, zero
    /// resets at once, another time resets when it has passed (T123).
    pub linger: Option<Duration>,
    /// Bytes that may be written ahead of what is acknowledged.
    pub send_buffer: SendBufferConfig,
    /// The receive window: what a peer may send before it is read, and how it grows (T69).
    pub receive_window: WindowConfig,
    /// The least retransmission time-out. 200 ms by default (RFC 6298 2.4 has 1 s; RFC 8961 and
    /// practice allow less; T72).
    pub min_rto: Duration,
    /// How long an acknowledgement may wait for company. 40 ms by default, at most 500 ms (T63).
    pub delayed_ack: Duration,
    /// ECN (RFC 3168): asked for when connecting and granted when asked. On by default: a SYN that
    /// asks and gets lost is repeated without (T128).
    pub ecn: bool,
    /// TCP Fast Open (RFC 7413): off by default, because data in a SYN may be delivered twice.
    pub fast_open: bool,
    /// The Timestamps option (RFC 7323 section 3). On by default.
    pub timestamps: bool,
    /// Selective acknowledgements (RFC 2018). On by default.
    pub sack: bool,
    /// The Window Scale option (RFC 7323 section 2). On by default.
    pub window_scale: bool,
    /// An upper bound on the segment size in bytes, sent and received; `None` for the path's.
    pub mss: Option<u16>,
    /// The TTL or hop limit of what is sent. 64 by default (T142).
    pub hop_limit: u8,
    /// The Differentiated Services codepoint of what is sent, 0 to 63: the high six bits of the TOS byte
    /// or traffic class (RFC 2474, RFC 9293 3.9.2 MUST-48). 0 by default. ECN has the low two.
    pub dscp: u8,
    /// How long an attempt to connect lasts. 3 minutes by default (T23).
    pub syn_timeout: Duration,
    /// How long FIN-WAIT-2 lasts once the application let go. 60 s by default (T122).
    pub fin_wait_timeout: Duration,
    /// How long TIME-WAIT lasts, two maximum segment lifetimes. 60 s by default (T119).
    pub time_wait: Duration,
}

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        TcpConfig {
            congestion: Algorithm::default(),
            pacing: true,
            nodelay: false,
            keepalive: None,
            user_timeout: DEFAULT_USER_TIMEOUT,
            linger: None,
            send_buffer: SendBufferConfig::default(),
            receive_window: WindowConfig::new(DEFAULT_RECEIVE_WINDOW, MAX_RECEIVE_WINDOW),
            min_rto: DEFAULT_MIN_RTO,
            delayed_ack: DEFAULT_DELAYED_ACK,
            ecn: true,
            fast_open: false,
            timestamps: true,
            sack: true,
            window_scale: true,
            mss: None,
            hop_limit: 64,
            dscp: 0,
            syn_timeout: DEFAULT_SYN_TIMEOUT,
            fin_wait_timeout: DEFAULT_FIN_WAIT,
            time_wait: DEFAULT_TIME_WAIT,
        }
    }
}

impl TcpConfig {
    /// Checks the figures.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name and what it may be; times in nanoseconds.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        const SECOND: u64 = 1_000_000_000;
        const DAY: u64 = 86_400 * SECOND;
        self.receive_window.validate()?;
        let window = &self.receive_window;
        check_range(
            "receive_window.initial",
            window.initial,
            LEAST_BUFFER,
            MOST_WINDOW,
        )?;
        check_range(
            "receive_window.max",
            window.max,
            window.initial,
            MOST_WINDOW,
        )?;
        let send = &self.send_buffer;
        check_range(
            "send_buffer.initial",
            send.initial,
            LEAST_BUFFER,
            MOST_WINDOW,
        )?;
        check_range("send_buffer.max", send.max, send.initial, MOST_WINDOW)?;
        if let Some(mss) = self.mss {
            let least = u64::from(FLOOR_MSS);
            check_range("mss", u64::from(mss), least, u64::from(u16::MAX))?;
        }
        check_range("hop_limit", u64::from(self.hop_limit), 1, 255)?;
        check_dscp(self.dscp)?;
        check_delayed_ack(self.delayed_ack)?;
        check_range("min_rto", nanos(self.min_rto), 1_000_000, 60 * SECOND)?;
        check_user_timeout(self.user_timeout)?;
        check_range("syn_timeout", nanos(self.syn_timeout), 1_000_000, DAY)?;
        let wait = nanos(self.fin_wait_timeout);
        check_range("fin_wait_timeout", wait, 0, DAY)?;
        check_range("time_wait", nanos(self.time_wait), 0, DAY)?;
        self.keepalive.as_ref().map_or(Ok(()), KeepAlive::validate)
    }
}

/// When and how often a silent peer is asked whether it is there (RFC 9293 3.8.4).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer after which the connection is given up.
    pub count: u8,
}

impl Default for KeepAlive {
    /// Two hours, then nine probes 75 s apart.
    fn default() -> KeepAlive {
        KeepAlive {
            idle: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

impl KeepAlive {
    /// Checks the figures: times of at least 10 ms, at least one probe.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let least = nanos(LEAST_KEEPALIVE);
        check_range("keepalive.idle", nanos(self.idle), least, u64::MAX)?;
        check_range("keepalive.interval", nanos(self.interval), least, u64::MAX)?;
        check_range("keepalive.count", u64::from(self.count), 1, 255)
    }
}

/// How much may be written ahead of what is acknowledged, in bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SendBufferConfig {
    /// To begin with.
    pub initial: u64,
    /// The most that it grows to with the congestion window (T70).
    pub max: u64,
}

impl Default for SendBufferConfig {
    fn default() -> SendBufferConfig {
        SendBufferConfig {
            initial: DEFAULT_SEND_BUFFER,
            max: MAX_SEND_BUFFER,
        }
    }
}

/// What can be changed on a connection that exists.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// [`TcpConfig::nodelay`].
    NoDelay(bool),
    /// [`TcpConfig::keepalive`].
    KeepAlive(Option<KeepAlive>),
    /// [`TcpConfig::user_timeout`].
    UserTimeout(Duration),
    /// [`TcpConfig::linger`].
    Linger(Option<Duration>),
    /// [`TcpConfig::delayed_ack`].
    DelayedAck(Duration),
    /// The most that the send buffer grows to, in bytes.
    SendBuffer(u64),
    /// The most that the receive window grows to, in bytes.
    ReceiveWindow(u64),
    /// [`TcpConfig::hop_limit`].
    HopLimit(u8),
    /// [`TcpConfig::dscp`].
    Dscp(u8),
}

impl Setting {
    /// Checks the figure as [`TcpConfig::validate`] does.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name and what it may be; times in nanoseconds.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        match *self {
            Setting::NoDelay(_) | Setting::Linger(_) | Setting::KeepAlive(None) => Ok(()),
            Setting::KeepAlive(Some(keepalive)) => keepalive.validate(),
            Setting::UserTimeout(timeout) => check_user_timeout(timeout),
            Setting::DelayedAck(delay) => check_delayed_ack(delay),
            Setting::SendBuffer(bytes) => {
                check_range("send_buffer.max", bytes, LEAST_BUFFER, MOST_WINDOW)
            }
            Setting::ReceiveWindow(bytes) => {
                check_range("receive_window.max", bytes, LEAST_BUFFER, MOST_WINDOW)
            }
            Setting::HopLimit(limit) => check_range("hop_limit", u64::from(limit), 1, 255),
            Setting::Dscp(dscp) => check_dscp(dscp),
        }
    }
}

/// A codepoint has six bits.
pub(crate) fn check_dscp(dscp: u8) -> Result<(), OutOfRange> {
    check_range("dscp", u64::from(dscp), 0, u64::from(MAX_DSCP))
}

fn check_user_timeout(timeout: Duration) -> Result<(), OutOfRange> {
    const MONTH: u64 = 30 * 86_400 * 1_000_000_000;
    check_range("user_timeout", nanos(timeout), 100_000_000, MONTH)
}

fn check_delayed_ack(delay: Duration) -> Result<(), OutOfRange> {
    check_range("delayed_ack", nanos(delay), 0, nanos(MOST_DELAYED_ACK))
}
