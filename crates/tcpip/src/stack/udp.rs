//! UDP sockets, as the application calls them.

use std::net::SocketAddr;

use weir_core::limits::OutOfRange;
use weir_core::time::Instant;

use super::host::Host;
use super::{BindError, Gone, Stack, UdpConfig, UdpKey, UdpSendError};
use crate::tcp::check_dscp;
use crate::udp::{Datagram, Received, Sockets, UdpError};

impl Stack {
    /// A socket for datagrams to `local`. An unspecified address stands for all of the stack's (of
    /// IPv6: of both versions); port 0 for one chosen at random (RFC 6056).
    ///
    /// # Errors
    /// [`BindError`].
    pub fn udp_bind(
        &mut self,
        now: Instant,
        local: SocketAddr,
        config: UdpConfig,
    ) -> Result<UdpKey, BindError> {
        let (udp, mut host) = self.sockets(now);
        udp.bind(&mut host, local, config)
    }

    /// From here on datagrams go to `remote` where nothing else is said, and only those from there are
    /// received.
    ///
    /// # Errors
    /// [`UdpSendError::NoRoute`], [`UdpSendError::Closed`].
    pub fn udp_connect(&mut self, key: UdpKey, remote: SocketAddr) -> Result<(), UdpSendError> {
        let (udp, mut host) = self.sockets(self.now);
        udp.connect(&mut host, key, remote)
    }

    /// Queues a datagram, or several in one call, for sending. They are copied.
    ///
    /// # Errors
    /// [`UdpSendError`]; nothing is queued then.
    pub fn udp_send(
        &mut self,
        now: Instant,
        key: UdpKey,
        data: &[u8],
        datagram: Datagram,
    ) -> Result<(), UdpSendError> {
        let (udp, mut host) = self.sockets(now);
        udp.send(&mut host, key, data, &datagram)
    }

    /// The oldest datagram that waits.
    pub fn udp_recv(&mut self, key: UdpKey) -> Option<Received> {
        let (udp, mut host) = self.sockets(self.now);
        udp.recv(&mut host, key)
    }

    /// What an ICMP message, or the link, says about a datagram that was sent; each is given once.
    pub fn udp_error(&mut self, key: UdpKey) -> Option<UdpError> {
        self.udp.error(key)
    }

    /// Sets the Differentiated Services codepoint of what is sent from here on, also of datagrams that
    /// wait ([`UdpConfig::dscp`]).
    ///
    /// # Errors
    /// A value above 63. A key that was let go does nothing.
    pub fn udp_set_dscp(&mut self, key: UdpKey, dscp: u8) -> Result<(), OutOfRange> {
        check_dscp(dscp)?;
        let _known = self.udp.set_dscp(key, dscp);
        Ok(())
    }

    /// The address and port that the socket is bound to.
    #[must_use]
    pub fn udp_local(&self, key: UdpKey) -> Option<SocketAddr> {
        self.udp.local(key)
    }

    /// Lets go of the socket. What waits to be sent is still sent.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn udp_close(&mut self, key: UdpKey) -> Result<(), Gone> {
        let (udp, mut host) = self.sockets(self.now);
        if udp.close(&mut host, key) {
            Ok(())
        } else {
            Err(Gone)
        }
    }

    /// UDP, and the stack around it.
    fn sockets(&mut self, now: Instant) -> (&mut Sockets, Host<'_>) {
        self.now = self.now.max(now);
        let (_, udp, host) = self.parts();
        (udp, host)
    }
}
