//! What can be chosen about a session, checked before it starts.

use crate::limits::{INITIAL_WINDOW, MAX_FRAME, MIN_SESSION_MEMORY};
use weir_core::time::Duration;
use weir_core::window::WindowConfig;

/// Which side of the carrier this session is. It decides the parity of the stream ids (Y11).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Opened the carrier; its streams have odd ids.
    Client,
    /// Took the carrier; its streams have even ids.
    Server,
}

impl Role {
    /// The role's name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
        }
    }
}

/// Settings of a session. [`Config::validate`] is run by `Session::new`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receive window of a new stream, in bytes. At least the 256 KiB that every peer assumes;
    /// from 512 KiB on, what is above it is announced with the SYN or ACK (Y15), for as many streams
    /// as leave half of the session's memory free.
    pub receive_window: u32,
    /// Receive window that a stream may grow to, in bytes, when its reader keeps up with more
    /// than the window allows in a round trip (Y29).
    pub max_receive_window: u32,
    /// Inbound streams open at once; SYNs over it are refused with RST.
    pub max_streams: u32,
    /// Outbound streams that may wait for their ACK at once; `open` is blocked over it (Y19).
    pub ack_backlog: u32,
    /// Inbound streams that may wait for `accept` at once; SYNs over it get RST (Y20).
    pub accept_backlog: u32,
    /// Payload of a Data frame when no other stream waits, in bytes (at most 64 KiB, Y9).
    pub max_frame: u32,
    /// Payload of a Data frame when other streams wait, in bytes (Y31).
    pub fair_frame: u32,
    /// Bytes that one stream may have queued for sending.
    pub send_buffer: u32,
    /// A ping is sent when nothing was received for this long (Y46); `None`: never.
    pub keepalive: Option<Duration>,
    /// How long after a keepalive ping the session ends when nothing comes (Y46).
    pub keepalive_timeout: Duration,
    /// How long an opened stream waits for its ACK before it is reset (Y23).
    pub open_timeout: Duration,
    /// How long a stream whose FIN was sent waits for the peer to send anything before it is
    /// reset (Y43). Starts anew with what the peer sends as long as somebody reads.
    pub close_timeout: Duration,
    /// How long the carrier may refuse to take bytes before the session ends (Y51).
    pub write_timeout: Duration,
    /// Memory of the whole session, in bytes: unread and unsent data, enlarged windows, streams.
    pub session_budget: u64,
    /// Streams that the peer may reset before they were answered in a burst ...
    pub reset_burst: u32,
    /// ... and each second in the long run, before its SYNs are refused.
    pub reset_rate: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            receive_window: INITIAL_WINDOW,
            max_receive_window: 16 * 1024 * 1024,
            max_streams: 16_384,
            ack_backlog: 256,
            accept_backlog: 256,
            max_frame: MAX_FRAME,
            fair_frame: 16 * 1024,
            send_buffer: 512 * 1024,
            keepalive: Some(Duration::from_secs(30)),
            keepalive_timeout: Duration::from_secs(20),
            open_timeout: Duration::from_secs(75),
            close_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            session_budget: 64 * 1024 * 1024,
            reset_burst: 1_024,
            reset_rate: 256,
        }
    }
}

/// A setting that is out of its range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {value} {unit}, it must be between {min} and {max}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub field: &'static str,
    /// What it was set to.
    pub value: u64,
    /// The least it may be.
    pub min: u64,
    /// The most it may be.
    pub max: u64,
    /// What the three numbers count.
    pub unit: &'static str,
}

/// A day: no time-out is meant to be longer, and sums of times stay far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Checks every field and how they fit together.
    ///
    /// # Errors
    /// The first field that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const GIB: u32 = 1 << 30;
        let streams = |field, value, min, max| check(field, value, min, max, "streams");
        let bytes = |field, value, min, max| check(field, value, min, max, "bytes");
        bytes("receive_window", self.receive_window, INITIAL_WINDOW, GIB)?;
        bytes(
            "max_receive_window",
            self.max_receive_window,
            self.receive_window,
            GIB,
        )?;
        streams("max_streams", self.max_streams, 0, 1 << 24)?;
        streams("ack_backlog", self.ack_backlog, 1, 1 << 20)?;
        streams("accept_backlog", self.accept_backlog, 1, 1 << 20)?;
        bytes("max_frame", self.max_frame, 1024, MAX_FRAME)?;
        bytes("fair_frame", self.fair_frame, 1024, self.max_frame)?;
        bytes("send_buffer", self.send_buffer, self.max_frame, GIB)?;
        streams("reset_burst", self.reset_burst, 1, 1 << 24)?;
        streams("reset_rate", self.reset_rate, 1, 1 << 24)?;
        let budget = self.session_budget;
        check(
            "session_budget",
            budget,
            MIN_SESSION_MEMORY,
            1 << 48,
            "bytes",
        )?;
        self.validate_times()
    }

    /// How the streams' receive windows behave. What `receive_window` has above 256 KiB is growth
    /// that is granted at the start.
    pub(crate) fn windows(&self) -> WindowConfig {
        WindowConfig::new(
            u64::from(INITIAL_WINDOW),
            u64::from(self.max_receive_window),
        )
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let times = [
            (
                "keepalive",
                self.keepalive.unwrap_or(Duration::from_secs(1)),
            ),
            ("keepalive_timeout", self.keepalive_timeout),
            ("open_timeout", self.open_timeout),
            ("close_timeout", self.close_timeout),
            ("write_timeout", self.write_timeout),
        ];
        for (field, time) in times {
            check(field, millis(time), 1, millis(LONGEST), "ms")?;
        }
        Ok(())
    }
}

/// Whether a field is in its range.
fn check<N: Into<u64>>(
    field: &'static str,
    value: N,
    min: N,
    max: N,
    unit: &'static str,
) -> Result<(), ConfigError> {
    let (value, min, max) = (value.into(), min.into(), max.into());
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value,
        min,
        max,
        unit,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn an_error_names_field_value_and_range() {
        let config = Config {
            receive_window: 1000,
            ..Config::default()
        };
        let error = config.validate().unwrap_err();
        assert_eq!(
            (error.field, error.value, error.min),
            ("receive_window", 1000, 262_144)
        );
        assert_eq!(
            error.to_string(),
            "receive_window is 1000 bytes, it must be between 262144 and 1073741824"
        );
        let config = Config {
            fair_frame: 65_537,
            ..Config::default()
        };
        assert_eq!(config.validate().unwrap_err().field, "fair_frame");
        let config = Config {
            write_timeout: Duration::ZERO,
            ..Config::default()
        };
        assert_eq!(config.validate().unwrap_err().field, "write_timeout");
    }
}
