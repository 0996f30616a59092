//! Rules for addresses: what a peer may reach (`--allow-to`) and where it may listen
//! (`--allow-remote-listen`).
//!
//! A rule is `HOST[:PORTS]`:
//!
//! | form | grants |
//! |---|---|
//! | `any` | every address and port |
//! | `none` | nothing (and stands alone) |
//! | `loopback`, `loopback:8000-8100` | `127.0.0.0/8` and `::1` |
//! | `192.0.2.7:443`, `[2001:db8::1]:443` | one address |
//! | `10.0.0.0/8`, `10.0.0.0/8:22`, `[2001:db8::/32]:443` | the addresses of a network |
//! | `db.example.org:5432`, `*.example.org:443` | a name, or every name below one |
//! | `*:443` | every host at one port |
//!
//! `PORTS` is `443`, `8000-8100` or `*`, and `*` when left out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::destination::{Host, Name};

/// A set of addresses: those that share the first `prefix` bits with `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    const fn width(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// The bits of an address, left-aligned in 128, so that both families are masked alike.
    fn bits(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
            IpAddr::V6(ip) => ip.to_bits(),
        }
    }

    /// `address` with all bits after the prefix cleared.
    fn base(&self) -> IpAddr {
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.prefix))
            .unwrap_or(0);
        let bits = Self::bits(self.address) & mask;
        match self.address {
            // The upper half of the upper half: nothing is lost.
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4()
            && Self {
                address: ip,
                prefix: self.prefix,
            }
            .base()
                == self.base()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Loopback,
    Network(Network),
    Name(Name),
    Below(Name),
}

/// One rule; see the module for its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    hosts: Hosts,
    first: u16,
    last: u16,
}

impl Rule {
    const fn all_ports(hosts: Hosts) -> Self {
        Self {
            hosts,
            first: 0,
            last: u16::MAX,
        }
    }

    fn has_port(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn has_ip(&self, ip: IpAddr) -> bool {
        match &self.hosts {
            Hosts::All => true,
            Hosts::Loopback => ip.is_loopback(),
            Hosts::Network(network) => network.contains(ip),
            Hosts::Name(_) | Hosts::Below(_) => false,
        }
    }

    fn has_name(&self, name: &Name) -> bool {
        match &self.hosts {
            Hosts::Name(own) => own == name,
            Hosts::Below(parent) => name != parent && name.is_within(parent.as_str()),
            _ => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any_port = self.first == 0 && self.last == u16::MAX;
        match &self.hosts {
            Hosts::All if any_port => return f.write_str("any"),
            Hosts::All => f.write_str("*")?,
            Hosts::Loopback => f.write_str("loopback")?,
            Hosts::Name(name) => write!(f, "{name}")?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
            Hosts::Network(Network { address, prefix }) => {
                let whole = *prefix == Network::width(*address);
                match (address, whole) {
                    (IpAddr::V4(ip), true) => write!(f, "{ip}")?,
                    (IpAddr::V4(ip), false) => write!(f, "{ip}/{prefix}")?,
                    (IpAddr::V6(ip), true) => write!(f, "[{ip}]")?,
                    (IpAddr::V6(ip), false) => write!(f, "[{ip}/{prefix}]")?,
                }
            }
        }
        match (any_port, self.first == self.last) {
            (true, _) => Ok(()),
            (false, true) => write!(f, ":{}", self.first),
            (false, false) => write!(f, ":{}-{}", self.first, self.last),
        }
    }
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no rule: {problem}; use HOST:PORT, a network such as 10.0.0.0/8 or [2001:db8::/32]:443, `loopback`, or `any`"
)]
pub struct RuleError {
    text: String,
    problem: String,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let fail = |problem: String| RuleError {
            text: text.to_owned(),
            problem,
        };
        let (host, ports) = split_ports(text).map_err(|e| fail(e.to_owned()))?;
        let hosts = parse_hosts(host).map_err(fail)?;
        let (first, last) = match ports {
            None | Some("*") => (0, u16::MAX),
            Some(ports) => parse_ports(ports)
                .ok_or_else(|| fail(format!("`{ports}` is no port or range of ports")))?,
        };
        Ok(Self { hosts, first, last })
    }
}

/// Cuts the ports off. A bare IPv6 address or network has none: its last group is not taken for a port.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("a bracket is not closed")?;
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((host, None)),
            (_, Some(ports)) => Ok((host, Some(ports))),
            _ => Err("only a port stands behind brackets: write [2001:db8::/32]:443"),
        };
    }
    match text.split_once(':') {
        Some((host, ports)) if !ports.contains(':') => Ok((host, Some(ports))),
        _ => Ok((text, None)),
    }
}

fn parse_hosts(host: &str) -> Result<Hosts, String> {
    match host {
        "any" | "*" => return Ok(Hosts::All),
        "loopback" => return Ok(Hosts::Loopback),
        "" => return Err("the host is missing".to_owned()),
        _ => {}
    }
    if let Some((address, prefix)) = host.split_once('/') {
        return parse_network(address, prefix).map(Hosts::Network);
    }
    if let Some(parent) = host.strip_prefix("*.") {
        return parent
            .parse()
            .map(Hosts::Below)
            .map_err(|e| format!("`{parent}` is {e}"));
    }
    match host.parse::<Host>() {
        Ok(Host::Ip(address)) => Ok(Hosts::Network(Network {
            address,
            prefix: Network::width(address),
        })),
        // "443" alone is a forgotten host, not a machine of that name.
        Ok(Host::Name(name)) if name.as_str().bytes().all(|b| b.is_ascii_digit()) => {
            Err("the host is missing".to_owned())
        }
        Ok(Host::Name(name)) => Ok(Hosts::Name(name)),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_network(address: &str, prefix: &str) -> Result<Network, String> {
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is no IP address"))?;
    let width = Network::width(address);
    let prefix = prefix
        .parse()
        .ok()
        .filter(|bits| *bits <= width)
        .ok_or_else(|| format!("`{prefix}` is no prefix length from 0 to {width}"))?;
    let network = Network { address, prefix };
    // A slip such as 10.1.2.3/8 grants far more than it looks like, so it is not rounded silently.
    if network.base() != address {
        let base = network.base();
        return Err(format!(
            "{address} lies inside {base}/{prefix}; write that, or a longer prefix"
        ));
    }
    Ok(network)
}

fn parse_ports(ports: &str) -> Option<(u16, u16)> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let range: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1).then_some(range)
}

/// What a peer may reach: the rules of `--allow-to`. A destination is allowed when one rule grants it.
///
/// The default is [`AllowTo::loopback`]: an allowed peer reaches the services of the listening machine itself and
/// nothing behind it, so letting a peer in does not open the network that the machine stands in.
///
/// # Names
/// A name is resolved on the listening side, and **each address that it leads to is checked by itself**: a name
/// that somebody else controls cannot be pointed at an address that no rule grants (DNS rebinding). A rule that
/// grants a name grants the addresses it leads to as well, except those that mean this machine or its own link
/// (loopback, link-local, unspecified): they need a rule of their own, unless the name is `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowTo {
    rules: Vec<Rule>,
}

impl Default for AllowTo {
    fn default() -> Self {
        Self::loopback()
    }
}

impl AllowTo {
    /// Nothing at all.
    pub const fn none() -> Self {
        Self { rules: Vec::new() }
    }

    /// The listening machine's own loopback addresses, every port.
    pub fn loopback() -> Self {
        Self {
            rules: vec![Rule::all_ports(Hosts::Loopback)],
        }
    }

    /// Everything that the listening machine can reach.
    pub fn any() -> Self {
        Self {
            rules: vec![Rule::all_ports(Hosts::All)],
        }
    }

    /// These rules and no others. `none` stands alone.
    pub fn from_rules<S: AsRef<str>>(
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Self, RuleError> {
        let mut rules = Vec::new();
        let mut nothing = None;
        for text in texts {
            let text = text.as_ref();
            match text {
                "none" => nothing = Some(text.to_owned()),
                _ => rules.push(text.parse()?),
            }
        }
        match nothing {
            Some(text) if !rules.is_empty() => {
                let problem = "it contradicts the other rules".to_owned();
                Err(RuleError { text, problem })
            }
            _ => Ok(Self { rules }),
        }
    }

    /// Whether nothing is granted.
    pub fn is_none(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether an address may be used, reached under `name` if there was one.
    pub fn permits(&self, name: Option<&Name>, ip: IpAddr, port: u16) -> bool {
        let ip = reached(ip);
        let by_name = |rule: &Rule| match name {
            Some(name) => rule.has_name(name) && (!is_own(ip) || name.is_localhost()),
            None => false,
        };
        self.rules
            .iter()
            .any(|rule| rule.has_port(port) && (rule.has_ip(ip) || by_name(rule)))
    }

    /// Whether an address may be used at some port, reached under `name`: then it may also be told that the name leads
    /// there.
    pub fn permits_host(&self, name: &Name, ip: IpAddr) -> bool {
        let ip = reached(ip);
        let own = is_own(ip) && !name.is_localhost();
        let granted = |rule: &Rule| rule.has_ip(ip) || (rule.has_name(name) && !own);
        self.rules.iter().any(granted)
    }

    /// Whether everything may be asked about a name: some rule grants it whatever its addresses are.
    pub fn permits_name(&self, name: &Name) -> bool {
        let granted = |rule: &Rule| matches!(rule.hosts, Hosts::All) || rule.has_name(name);
        self.rules.iter().any(granted)
    }

    /// Whether some rule is for every host there is.
    pub fn permits_everything(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule.hosts, Hosts::All))
    }

    /// Whether a name could be allowed at this port at all, before it is resolved: so that a machine which grants
    /// nothing of the kind does not ask its resolver for a peer either.
    pub fn might_permit(&self, name: &Name, port: u16) -> bool {
        self.rules.iter().any(|rule| {
            rule.has_port(port)
                && match &rule.hosts {
                    Hosts::All | Hosts::Network(_) | Hosts::Loopback => true,
                    Hosts::Name(_) | Hosts::Below(_) => rule.has_name(name),
                }
        })
    }
}

impl fmt::Display for AllowTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rules.is_empty() {
            return f.write_str("none");
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{rule}")?;
        }
        Ok(())
    }
}

/// The address that a connection to `ip` really reaches: IPv4 inside IPv6 is IPv4, and the unspecified address is
/// this machine (Linux connects `0.0.0.0` to loopback), so neither spelling passes by a rule.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

/// Addresses that mean this machine or its own link: among the latter are the metadata services of clouds.
fn is_own(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// Where a peer may listen on this machine (`-R`): the rules of `--allow-remote-listen`, in the forms of
/// [`AllowTo`] without names.
///
/// The default grants loopback addresses at port 0 and 1024 to 65535: what a peer forwards here is then seen by
/// this machine alone, and no well-known port is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowListen {
    rules: AllowTo,
}

impl Default for AllowListen {
    fn default() -> Self {
        let rule = |first, last| Rule {
            hosts: Hosts::Loopback,
            first,
            last,
        };
        Self {
            rules: AllowTo {
                rules: vec![rule(1024, u16::MAX), rule(0, 0)],
            },
        }
    }
}

impl AllowListen {
    /// No listening for peers.
    pub const fn none() -> Self {
        Self {
            rules: AllowTo::none(),
        }
    }

    /// Any address of this machine, any port.
    pub fn any() -> Self {
        Self {
            rules: AllowTo::any(),
        }
    }

    /// These rules and no others; a rule for a name is an error.
    pub fn from_rules<S: AsRef<str>>(
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Self, RuleError> {
        let rules = AllowTo::from_rules(texts)?;
        let named = |rule: &&Rule| matches!(rule.hosts, Hosts::Name(_) | Hosts::Below(_));
        match rules.rules.iter().find(named) {
            Some(rule) => Err(RuleError {
                text: rule.to_string(),
                problem: "an address to listen at is no name".to_owned(),
            }),
            None => Ok(Self { rules }),
        }
    }

    /// Whether a peer may listen at this address. The unspecified address means all of the machine's, so only a
    /// rule that contains it literally grants it.
    pub fn permits(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        self.rules
            .rules
            .iter()
            .any(|rule| rule.has_port(port) && rule.has_ip(ip))
    }

    /// Whether nothing is granted.
    pub fn is_none(&self) -> bool {
        self.rules.is_none()
    }
}

impl fmt::Display for AllowListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("loopback:1024-65535");
        }
        write!(f, "{}", self.rules)
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
