//! Dials that the network says are in vain: nobody listens on that port, or no way leads there.
//!
//! The system keeps such messages only while a dial is unanswered, because any call on the socket may
//! fail with one of them, whatever connection it was made for. A stack of one's own keeps them beside
//! the socket, and wakes for them. Nothing but dials heeds them (RFC 9000 section 14.2.1).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tracing::debug;
use weir_core::time::Instant;
use weir_os::reports;
use weir_quic::ConnectionHandle;

use super::table::Table;

/// When the queue is looked into after a dial began: nothing wakes a reader for it. Doubled each time.
const FIRST_LOOK: Duration = Duration::from_millis(2);
/// The longest time between two looks.
const LAST_LOOK: Duration = Duration::from_millis(250);
/// Reports that are taken at once; what is left comes with the next look.
const AT_ONCE: usize = 64;
/// Bytes of a quote that are looked at: to the end of the longest connection ID.
const QUOTE: usize = 26;

/// A datagram that did not get through.
struct Report {
    to: SocketAddr,
    error: io::Error,
    quoted: Vec<u8>,
}

/// The unanswered dials of a socket, and what was heard of them.
#[derive(Default)]
pub(super) struct Dials {
    dials: Vec<ConnectionHandle>,
    heard: VecDeque<Report>,
}

impl Dials {
    /// A dial begins.
    pub(super) fn expect(&mut self, dial: ConnectionHandle) {
        self.dials.push(dial);
    }

    /// Whether nobody waits for an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.dials.is_empty()
    }

    /// Whether something was heard that the dials have not been told.
    pub(super) fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// A datagram did not get through.
    pub(super) fn hear(&mut self, to: SocketAddr, error: io::Error, datagram: &[u8]) {
        if self.dials.is_empty() || self.heard.len() >= AT_ONCE || !is_final(&error) {
            return;
        }
        let quoted = datagram.get(..QUOTE).unwrap_or(datagram).to_vec();
        self.heard.push_back(Report { to, error, quoted });
    }

    /// Tells the dials what was heard, and forgets those that are answered or over.
    pub(super) fn tell(&mut self, now: Instant, table: &mut Table, due: &mut VecDeque<usize>) {
        let heard = &self.heard;
        self.dials.retain(|dial| {
            let Some(entry) = table.get_mut(*dial) else {
                return false;
            };
            let mut state = entry.shared.lock();
            let now = state.link.begin(now);
            let connection = &mut state.engine.connection;
            let is_over = heard.iter().any(|report| {
                let (code, words) = in_words(&report.error);
                connection.handle_unreachable(now, report.to, &report.quoted, code, words)
            });
            let waits = connection.is_unanswered();
            drop(state);
            if is_over {
                entry.mark(due);
            }
            waits
        });
        self.heard.clear();
    }
}

/// What the system tells of a socket's dials.
#[derive(Default)]
pub(super) struct Reports {
    dials: Dials,
    /// The system keeps them.
    is_on: bool,
    /// The system has told of one since, so that the socket's readiness cannot be relied upon.
    is_stale: bool,
    next: Option<Instant>,
    wait: Duration,
}

impl Reports {
    /// A dial begins.
    pub(super) fn expect(&mut self, now: Instant, io: &UdpSocket, dial: ConnectionHandle) {
        if !self.is_on {
            match reports::report(io, true) {
                Ok(()) => self.is_on = true,
                Err(error) => debug!("the system reports no unreachable peers: {error}"),
            }
        }
        self.dials.expect(dial);
        self.wait = FIRST_LOOK;
        self.next = Some(now + FIRST_LOOK);
    }

    /// When to [`look`](Self::look); `None` while nothing is dialled.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A call on the socket failed: takes the reports that there are. Whether there were any, so that
    /// the call is worth another try.
    #[cold]
    pub(super) fn collect(&mut self, io: &UdpSocket) -> bool {
        if !self.is_on {
            return false;
        }
        let mut found = false;
        for _ in 0..AT_ONCE {
            let mut quote = [0; QUOTE];
            match reports::next(io, &mut quote) {
                Ok(Some(report)) => {
                    found = true;
                    let quoted = quote.get(..report.quoted).unwrap_or(&quote);
                    self.hear(report.to, report.error, quoted);
                }
                Ok(None) => break,
                Err(error) => {
                    debug!("the socket's errors cannot be read: {error}");
                    break;
                }
            }
        }
        self.is_stale |= found;
        found
    }

    /// A datagram did not get through.
    pub(super) fn hear(&mut self, to: SocketAddr, error: io::Error, datagram: &[u8]) {
        self.dials.hear(to, error, datagram);
    }

    /// Tells the dials what was heard. True when the socket's readiness cannot be relied upon any more
    /// and nothing more is expected.
    pub(super) fn look(
        &mut self,
        now: Instant,
        io: &UdpSocket,
        table: &mut Table,
        due: &mut VecDeque<usize>,
    ) -> bool {
        let is_time = self.next.is_some_and(|at| at <= now);
        if is_time {
            self.collect(io);
            self.wait = self.wait.saturating_mul(2).min(LAST_LOOK);
            self.next = Some(now + self.wait);
        }
        if !is_time && !self.dials.has_heard() {
            return false;
        }
        self.dials.tell(now, table, due);
        self.dials.is_empty() && self.rest(io)
    }

    /// Nothing is dialled any more.
    fn rest(&mut self, io: &UdpSocket) -> bool {
        self.next = None;
        if std::mem::take(&mut self.is_on)
            && let Err(error) = reports::report(io, false)
        {
            debug!("the system goes on to report unreachable peers: {error}");
        }
        std::mem::take(&mut self.is_stale)
    }

    /// The socket was exchanged: the new one has told nothing yet.
    pub(super) fn moved(&mut self, io: &UdpSocket) {
        self.is_stale = false;
        if self.is_on && reports::report(io, true).is_err() {
            self.is_on = false;
        }
    }
}

/// Whether an error means that datagrams do not get there, rather than that one did not.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
    )
}

/// The error's number and what it means for a dial.
fn in_words(error: &io::Error) -> (u64, String) {
    let number = error.raw_os_error();
    let code = number.or_else(|| reports::error_number(error.kind()));
    let code = code.and_then(|code| u64::try_from(code).ok());
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens on that UDP port".to_owned(),
        _ => error.to_string(),
    };
    (code.unwrap_or(0), words)
}
