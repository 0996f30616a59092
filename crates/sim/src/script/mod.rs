//! Scripts: packets in, packets out, in virtual milliseconds. What they look like stands in
//! `docs/simulation.md`.

mod failure;
mod host;
mod line;
mod packet;
mod run;

use std::net::IpAddr;

pub use failure::Failure;
pub use host::{Connection, Host, Setup};
use line::{Line, without_comment};
use packet::flow::From;
use weir_core::time::Instant;

/// The byte at `offset` of the stream that the script's end sends.
#[must_use]
pub fn peer_byte(offset: u64) -> u8 {
    packet::flow::pattern(From::Peer, i64::try_from(offset).unwrap_or(0))
}

/// The byte at `offset` of the stream that the host's application writes.
#[must_use]
pub fn host_byte(offset: u64) -> u8 {
    packet::flow::pattern(From::Host, i64::try_from(offset).unwrap_or(0))
}

/// IPv4, IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// A script that was read.
#[derive(Debug)]
pub struct Script {
    name: String,
    rows: String,
    version: Option<Version>,
    ethernet: bool,
    config: Vec<(String, String)>,
    lines: Vec<Line>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// A line that cannot be read, or a first line that does not say what is shown.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let first = text.lines().next().unwrap_or_default();
        let mut script = Self {
            name: name.to_owned(),
            rows: first.trim_start_matches('#').trim().to_owned(),
            version: None,
            ethernet: false,
            config: Vec::new(),
            lines: Vec::new(),
        };
        if !first.starts_with("# ") {
            return Err(script.failure(
                1,
                first,
                "the first line says which rows are shown: # T1 ...",
            ));
        }
        for (index, line) in text.lines().enumerate() {
            let line = without_comment(line.trim());
            if line.is_empty() {
                continue;
            }
            let read = script.read(index + 1, line);
            read.map_err(|why| script.failure(index + 1, line, &why))?;
        }
        Ok(script)
    }

    fn read(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match (first, rest) {
            ("config" | "ip" | "medium", _) if !self.lines.is_empty() => {
                return Err("what the host is like is said before anything happens".to_owned());
            }
            ("config", _) => {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                self.config.push((key.to_owned(), value.trim().to_owned()));
            }
            ("ip", "4") => self.version = Some(Version::V4),
            ("ip", "6") => self.version = Some(Version::V6),
            ("medium", "ethernet") => self.ethernet = true,
            ("ip" | "medium", _) => return Err(format!("what is {rest:?}?")),
            _ => self.lines.extend(Line::parse(number, line)?),
        }
        Ok(())
    }

    /// What its first line says: the rows of the table that it shows, and why.
    #[must_use]
    pub fn rows(&self) -> &str {
        &self.rows
    }

    /// The versions of IP that it is for: both, unless a line says `ip 4` or `ip 6`.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        self.version
            .map_or_else(|| vec![Version::V4, Version::V6], |version| vec![version])
    }

    /// Plays it over `version`, against the host that `start` makes.
    ///
    /// # Errors
    /// The first line that did not come true.
    pub fn run<H: Host>(
        &self,
        version: Version,
        start: impl FnOnce(&Setup) -> H,
    ) -> Result<(), Failure> {
        let setup = self
            .setup(version)
            .map_err(|why| self.failure(0, "config", &why))?;
        run::Run::new(self, &setup, start(&setup)).play()
    }

    /// A script for both versions has the same maximum segment size in both: IPv6 gets an MTU that is
    /// larger by as much as its header is.
    fn setup(&self, version: Version) -> Result<Setup, String> {
        let address = |four: [u8; 4], six: u16| match version {
            Version::V4 => IpAddr::from(four),
            Version::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, six]),
        };
        let mtu = self.config.iter().find(|(key, _)| key == "mtu");
        let mtu = mtu.map_or(Ok(1_500), |(_, mtu)| mtu.parse::<u16>());
        let mtu = mtu.map_err(|_| "an MTU is a number up to 65535")?;
        let wider = version == Version::V6 && self.version.is_none();
        Ok(Setup {
            ethernet: self.ethernet,
            mtu: if wider { mtu.saturating_add(20) } else { mtu },
            host: address([192, 0, 2, 1], 1),
            host_mac: [2, 0, 0, 0, 0, 1],
            peer: address([192, 0, 2, 9], 9),
            peer_mac: [2, 0, 0, 0, 0, 9],
            config: self.config.clone(),
        })
    }

    fn failure(&self, line: usize, text: &str, message: &str) -> Failure {
        Failure {
            script: self.name.clone(),
            line,
            text: text.to_owned(),
            at: Instant::ZERO,
            message: message.to_owned(),
            log: Vec::new(),
        }
    }
}
