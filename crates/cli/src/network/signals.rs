//! Signals on their way to a command that runs for somebody.

use std::future::pending;
use weir_os::Watched;
use weir_os::signals::{Arrived, Signals};

/// The next signal. Cancel-safe.
pub(super) async fn next(signals: &Watched<Signals>) -> Arrived {
    loop {
        let Ok(mut ready) = signals.readable().await else {
            return pending().await;
        };
        match ready.get_inner().read() {
            Ok(Some(arrived)) => return arrived,
            Ok(None) => ready.clear_ready(),
            Err(_) => return pending().await,
        }
    }
}

/// Whether a signal is to be passed on to the command `pid`: not what the terminal sent to both of them, and not what the
/// command itself sent.
pub(super) fn is_for(arrived: &Arrived, pid: u32) -> bool {
    !arrived.from_kernel && u32::try_from(arrived.sender) != Ok(pid)
}

/// Whether a signal ends a program that says nothing to it.
pub(super) fn is_the_end(arrived: &Arrived) -> bool {
    arrived.name() != "SIGWINCH"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_got_or_the_command_sent_is_not_passed_on() {
        let arrived = |from_kernel, sender| Arrived {
            number: 15,
            from_kernel,
            sender,
        };
        assert!(is_for(&arrived(false, 7), 8));
        assert!(!is_for(&arrived(true, 0), 8));
        assert!(!is_for(&arrived(false, 8), 8));
    }
}
