//! Signals together with where they come from: who runs a command for somebody else must pass on what
//! was sent to it, and must not pass on what the terminal sent to both.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::SystemError;

/// What a runner passes on. `SIGTSTP` and `SIGCONT` are not among them: both stop and go on by
/// themselves, the runner like the command.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub number: i32,
    /// The kernel sent it by itself: Ctrl-C or Ctrl-\ at the terminal, a terminal that went away or was
    /// resized. It sends those to the whole foreground process group.
    pub from_kernel: bool,
    /// The process that sent it, 0 when that was the kernel.
    pub sender: i32,
}

impl Arrived {
    /// The signal's name, `SIGTERM`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Signal::try_from(self.number).map_or("a signal", Signal::as_str)
    }
}

/// The signals that ask a program to end or tell it something, read from a file instead of
/// interrupting it.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Takes over SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 and SIGWINCH. Must be called while
    /// the process has one thread: threads that are started later inherit that they leave these signals
    /// alone, others would still be interrupted. So do programs that it starts, which go on as before by
    /// [`give_back`].
    ///
    /// # Errors
    /// The system refuses.
    pub fn take() -> Result<Signals, SystemError> {
        let failed = |error: nix::Error| SystemError::new("take over signals", error);
        let set: SigSet = PASSED_ON.into_iter().collect();
        set.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&set, flags).map_err(failed)?;
        Ok(Signals { fd })
    }

    /// The next signal; `None` when there is none now.
    ///
    /// # Errors
    /// The system refuses.
    pub fn read(&self) -> std::io::Result<Option<Arrived>> {
        let Some(info) = self.fd.read_signal()? else {
            return Ok(None);
        };
        Ok(Some(Arrived {
            number: i32::try_from(info.ssi_signo).unwrap_or(0),
            from_kernel: info.ssi_code == libc::SI_KERNEL,
            sender: i32::try_from(info.ssi_pid).unwrap_or(0),
        }))
    }
}

/// Lets this thread be interrupted again by what [`Signals::take`] took over, in a program that inherited
/// it. A helper of [`namespace`](crate::namespace) does so by itself.
///
/// # Errors
/// The system refuses.
pub fn give_back() -> Result<(), SystemError> {
    let set: SigSet = PASSED_ON.into_iter().collect();
    set.thread_unblock()
        .map_err(|error| SystemError::new("give signals back", error))
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}
