//! What a script is played against.

use std::net::{IpAddr, SocketAddr};

use weir_core::time::Instant;

/// The host under test: an engine with an application that does as it is told. Whoever has an
/// engine implements it; nothing here knows one.
pub trait Host {
    /// A frame arrives.
    fn handle_input(&mut self, now: Instant, frame: &[u8]);

    /// A timer is due.
    fn handle_timeout(&mut self, now: Instant);

    /// Appends the frames that the host wants sent, each whole and by itself.
    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<Vec<u8>>);

    /// When the next timer is due, and its name.
    fn poll_timeout(&self) -> Option<(Instant, &'static str)>;

    /// Does what a line of the script says that is none of the script's own: a call of the
    /// application (`write 1000`) or a question about the state (`state`). The answer is compared with
    /// what the line says behind `=`, if it says anything. An answer that begins with `error` fails a
    /// line that expects none.
    ///
    /// # Errors
    /// Words that mean nothing, or a call for a connection that is not there.
    fn call(
        &mut self,
        now: Instant,
        connection: &Connection<'_>,
        words: &[&str],
    ) -> Result<String, String>;
}

/// The connection that a script's lines are about at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// What the script calls it (`flow NAME ..`).
    pub name: &'a str,
    /// The script's end.
    pub peer: SocketAddr,
    /// The host's port, as far as it is known.
    pub host_port: Option<u16>,
}

/// What the script says of the host before anything happens.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Frames are Ethernet's; otherwise they begin with the IP header.
    pub ethernet: bool,
    /// The largest IP packet.
    pub mtu: u16,
    /// The host's address.
    pub host: IpAddr,
    /// The host's Ethernet address.
    pub host_mac: [u8; 6],
    /// The address of the script's end, on the same link.
    pub peer: IpAddr,
    /// Its Ethernet address.
    pub peer_mac: [u8; 6],
    /// The `config` lines, each a key and the rest.
    pub config: Vec<(String, String)>,
}

impl Setup {
    /// The value of a `config` line.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<&str> {
        let found = self.config.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Bits of the network that host and peer share: 24 or 64.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        if self.host.is_ipv4() { 24 } else { 64 }
    }
}
