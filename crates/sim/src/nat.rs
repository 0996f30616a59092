//! An address translator: nodes behind it are seen under its addresses, and now and then it
//! forgets under which.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use weir_core::time::{Duration, Instant};

use crate::schedule::Rebinding;

/// What a translator is like. Mapping and filtering do not depend on the other side's address
/// (RFC 4787 sections 4.1 and 5): whoever knows a mapped address reaches the node behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// Its outer addresses. Each rebinding takes the next, and the first after the last.
    pub addresses: Vec<IpAddr>,
    /// The first outer port; each mapping takes the next.
    pub first_port: u16,
    /// When all mappings are forgotten.
    pub rebind: Rebinding,
    /// A mapping through which nothing was sent for so long is forgotten; zero keeps it.
    /// RFC 4787 section 4.3 asks for two minutes at least; real ones take 30 seconds.
    pub idle: Duration,
}

impl NatConfig {
    /// A translator with one outer address that never forgets.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self {
            addresses: vec![address],
            first_port: 40_000,
            rebind: Rebinding::never(),
            idle: Duration::ZERO,
        }
    }

    /// The same, rebinding as `rebind` says.
    #[must_use]
    pub fn rebinding(mut self, rebind: Rebinding) -> Self {
        self.rebind = rebind;
        self
    }
}

/// An address translator.
#[derive(Debug)]
pub struct Nat {
    config: NatConfig,
    epoch: u64,
    next_port: u16,
    live: HashMap<SocketAddr, Mapping>,
    /// Who was last behind an outer address, whether or not the mapping still lives: packets to a
    /// forgotten one travel all the way and are dropped at the translator, as in life.
    behind: HashMap<SocketAddr, SocketAddr>,
    rebindings: u64,
}

#[derive(Debug)]
struct Mapping {
    outside: SocketAddr,
    used: Instant,
}

impl Nat {
    /// A translator without mappings.
    #[must_use]
    pub fn new(config: NatConfig) -> Self {
        Self {
            epoch: 0,
            next_port: config.first_port,
            live: HashMap::new(),
            behind: HashMap::new(),
            rebindings: 0,
            config,
        }
    }

    /// Its outer addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.config.addresses
    }

    /// How often it forgot everything.
    #[must_use]
    pub fn rebindings(&self) -> u64 {
        self.rebindings
    }

    /// Forgets all mappings now.
    pub fn rebind(&mut self) {
        self.live.clear();
        self.rebindings += 1;
    }

    /// The address under which a packet from `inside` leaves.
    pub fn outbound(&mut self, now: Instant, inside: SocketAddr) -> SocketAddr {
        self.forget_due(now);
        let idle = self.config.idle;
        if let Some(mapping) = self.live.get_mut(&inside)
            && !expired(mapping.used, now, idle)
        {
            mapping.used = now;
            return mapping.outside;
        }
        let outside = self.fresh_outside(inside);
        self.live.insert(inside, Mapping { outside, used: now });
        self.behind.insert(outside, inside);
        outside
    }

    /// Who is behind `outside` now.
    pub fn inbound(&mut self, now: Instant, outside: SocketAddr) -> Option<SocketAddr> {
        self.forget_due(now);
        let inside = *self.behind.get(&outside)?;
        let mapping = self.live.get(&inside)?;
        let alive = mapping.outside == outside && !expired(mapping.used, now, self.config.idle);
        alive.then_some(inside)
    }

    /// Who is or was last behind `outside`.
    #[must_use]
    pub fn last_behind(&self, outside: SocketAddr) -> Option<SocketAddr> {
        self.behind.get(&outside).copied()
    }

    fn forget_due(&mut self, now: Instant) {
        let epoch = self.config.rebind.epoch(now);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.rebind();
        }
    }

    fn fresh_outside(&mut self, inside: SocketAddr) -> SocketAddr {
        let turn = self.rebindings as usize % self.config.addresses.len().max(1);
        let address = self
            .config
            .addresses
            .get(turn)
            .copied()
            .unwrap_or(inside.ip());
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(self.config.first_port);
        SocketAddr::new(address, port)
    }
}

fn expired(used: Instant, now: Instant, idle: Duration) -> bool {
    !idle.is_zero() && now.saturating_duration_since(used) > idle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_mapping_stays_until_it_is_forgotten() {
        let rebind = Rebinding::at(&[at(10)]);
        let mut nat = Nat::new(NatConfig::new(address("192.0.2.1:0").ip()).rebinding(rebind));
        let inside = address("10.0.0.2:5000");
        let first = nat.outbound(at(0), inside);
        assert_eq!(first, address("192.0.2.1:40000"));
        assert_eq!(nat.outbound(at(9), inside), first);
        assert_eq!(nat.inbound(at(9), first), Some(inside));
        assert_eq!(nat.inbound(at(10), first), None);
        assert_eq!(nat.last_behind(first), Some(inside));
        let second = nat.outbound(at(10), inside);
        assert_eq!(second, address("192.0.2.1:40001"));
        assert_eq!(nat.inbound(at(11), second), Some(inside));
        assert_eq!(nat.inbound(at(11), first), None);
    }

    #[test]
    fn rebinding_takes_the_next_address_and_idle_mappings_expire() {
        let mut config = NatConfig::new(address("192.0.2.1:0").ip());
        config.addresses.push(address("192.0.2.2:0").ip());
        config.rebind = Rebinding::every(Duration::from_secs(100));
        config.idle = Duration::from_secs(30);
        let mut nat = Nat::new(config);
        let inside = address("10.0.0.2:5000");
        let ips: Vec<String> = [0, 100, 200]
            .map(|second| nat.outbound(at(second), inside).ip().to_string())
            .to_vec();
        assert_eq!(ips, ["192.0.2.1", "192.0.2.2", "192.0.2.1"]);
        let before = nat.outbound(at(210), inside);
        assert_eq!(nat.inbound(at(240), before), Some(inside));
        assert_eq!(nat.inbound(at(241), before), None);
        assert_ne!(nat.outbound(at(241), inside), before);
    }
}
