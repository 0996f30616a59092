//! UDP sockets, as the application calls them.

use std::net::SocketAddr;

use weir_core::time::Instant;

use super::{BindError, Gone, Stack, UdpConfig, UdpKey, UdpSendError};
use crate::udp::{Datagram, Received, UdpError};

impl Stack {
    /// A socket for datagrams to `local`. An unspecified address stands for all of the stack's (of
    /// IPv6: of both versions); port 0 for one chosen at random (RFC 6056).
    ///
    /// # Errors
    /// [`BindError`].
    pub fn udp_bind(
        &mut self,
        _now: Instant,
        local: SocketAddr,
        config: UdpConfig,
    ) -> Result<UdpKey, BindError> {
        config.validate()?;
        Err(BindError::NotLocal(local))
    }

    /// From here on datagrams go to `remote` where nothing else is said, and only those from there are
    /// received.
    ///
    /// # Errors
    /// [`UdpSendError::NoRoute`], [`UdpSendError::Closed`].
    pub fn udp_connect(&mut self, _key: UdpKey, _remote: SocketAddr) -> Result<(), UdpSendError> {
        Err(UdpSendError::Closed)
    }

    /// Queues a datagram, or several in one call, for sending. They are copied.
    ///
    /// # Errors
    /// [`UdpSendError`]; nothing is queued then.
    pub fn udp_send(
        &mut self,
        _now: Instant,
        _key: UdpKey,
        _data: &[u8],
        _datagram: Datagram,
    ) -> Result<(), UdpSendError> {
        Err(UdpSendError::Closed)
    }

    /// The oldest datagram that waits.
    pub fn udp_recv(&mut self, _key: UdpKey) -> Option<Received> {
        None
    }

    /// What an ICMP message says about a datagram that was sent; each is given once.
    pub fn udp_error(&mut self, _key: UdpKey) -> Option<UdpError> {
        None
    }

    /// The address and port that the socket is bound to.
    #[must_use]
    pub fn udp_local(&self, _key: UdpKey) -> Option<SocketAddr> {
        None
    }

    /// Lets go of the socket. What waits to be sent is still sent.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn udp_close(&mut self, _key: UdpKey) -> Result<(), Gone> {
        Err(Gone)
    }
}
