//! What the network says of a peer that does not take datagrams (RFC 9000 section 14.2.1).

use std::net::SocketAddr;

use weir_core::close::{CloseReason, Initiator, Layer};
use weir_core::time::Instant;

use super::{Connection, State};

/// Bytes before the Destination Connection ID in a long header: form, version, its length
/// (RFC 8999 section 5.1).
const BEFORE_DCID: usize = 6;

impl Connection {
    /// Whether this is a client whose server has not answered: no packet has come that holds.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        let stats = &self.stats;
        self.side.is_client()
            && matches!(self.state, State::Handshaking)
            && stats.packets_received == 0
            && stats.retries == 0
    }

    /// The system says that datagrams to `remote` do not get there: nobody listens, or there is no way.
    /// `quoted` is the beginning of the datagram that this is about, as far as it was quoted; `code` is
    /// the system's error number, `reason` says it in words.
    ///
    /// That ends a dial that nobody has answered, and nothing else: such messages can be forged by those
    /// who see no packet, and what has been answered once goes by its own timers. True when the
    /// connection is over now.
    pub fn handle_unreachable(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        quoted: &[u8],
        code: u64,
        reason: String,
    ) -> bool {
        let place = |addr: SocketAddr| (addr.ip(), addr.port());
        let here = self
            .path()
            .is_some_and(|path| place(path.remote) == place(remote));
        if !here || !self.is_unanswered() || !self.may_have_sent(quoted) {
            return false;
        }
        let reason = CloseReason::new(Initiator::Carrier, Layer::Carrier, code, reason);
        self.end_silently(now, reason);
        true
    }

    /// RFC 9000 14.2.1: where the quote goes as far as the connection ID, it has to be the one that
    /// this client chose for the server.
    fn may_have_sent(&self, quoted: &[u8]) -> bool {
        let dcid = self.handshake.original_dcid.as_slice();
        match quoted.get(BEFORE_DCID..) {
            Some(id) => id.starts_with(dcid.get(..id.len()).unwrap_or(dcid)),
            None => true,
        }
    }
}
