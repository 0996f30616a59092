//! What to make, and how it is written down for the helper.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::Cidr;

/// Who the command is in its namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The user that it would be outside: user 1000 stays user 1000. Without rights over the namespace's
    /// interfaces and routes, except for root, who stays root.
    #[default]
    Same,
    /// Root of the namespace, which is nobody special outside of it: for what must set up interfaces.
    Root,
}

/// The interface that the namespace gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// Its name.
    pub name: String,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Packets come with a `virtio_net_hdr`.
    pub vnet_header: bool,
    /// Further queues can be opened.
    pub multi_queue: bool,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// What goes out by it, besides the networks of its addresses.
    pub routes: Vec<Cidr>,
    /// It is made as where `/dev/net/tun` may not be opened, whether or not it may: for tests.
    pub without_tun: bool,
}

/// A command in network, mount and user namespaces of its own.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The command, looked up in `PATH` when it has no slash.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// A program whose `main` begins with [`entry`](super::entry): usually this one itself,
    /// `/proc/self/exe`.
    pub helper: PathBuf,
    /// Who the command is in there.
    pub identity: Identity,
    /// Its interface beside loopback; none leaves it alone in its network.
    pub device: Option<DevicePlan>,
    /// The servers that names are asked of: in a `/etc/resolv.conf` that only the command sees. Empty:
    /// the one of the machine stays.
    pub nameservers: Vec<IpAddr>,
}

impl Plan {
    /// `program` alone in its network, as itself.
    pub fn new(program: impl Into<OsString>) -> Plan {
        Plan {
            program: program.into(),
            arguments: Vec::new(),
            helper: PathBuf::from("/proc/self/exe"),
            identity: Identity::Same,
            device: None,
            nameservers: Vec::new(),
        }
    }

    /// The part that the helper is told as text.
    pub(super) fn setting(&self) -> Setting {
        Setting {
            device: self.device.clone(),
            nameservers: self.nameservers.clone(),
        }
    }
}

/// What the helper makes before it becomes the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) device: Option<DevicePlan>,
    pub(super) nameservers: Vec<IpAddr>,
}

impl Setting {
    /// A line for each thing: a word and its values.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        if let Some(device) = &self.device {
            let (vnet, queues) = (device.vnet_header, device.multi_queue);
            let (name, mtu, without_tun) = (&device.name, device.mtu, device.without_tun);
            let _ = writeln!(text, "device {name} {mtu} {vnet} {queues} {without_tun}");
            for address in &device.addresses {
                let _ = writeln!(text, "address {address}");
            }
            for route in &device.routes {
                let _ = writeln!(text, "route {route}");
            }
        }
        for server in &self.nameservers {
            let _ = writeln!(text, "nameserver {server}");
        }
        text
    }

    /// Reads what [`to_text`](Setting::to_text) wrote; the error is the line that makes no sense.
    pub(super) fn from_text(text: &str) -> Result<Setting, String> {
        let mut setting = Setting::default();
        for line in text.lines() {
            setting.read_line(line).ok_or_else(|| line.to_owned())?;
        }
        Ok(setting)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "device" => {
                self.device = Some(DevicePlan {
                    name: words.next()?.to_owned(),
                    mtu: words.next()?.parse().ok()?,
                    vnet_header: words.next()?.parse().ok()?,
                    multi_queue: words.next()?.parse().ok()?,
                    without_tun: words.next()?.parse().ok()?,
                    addresses: Vec::new(),
                    routes: Vec::new(),
                });
            }
            "address" => {
                let address = words.next()?.parse().ok()?;
                self.device.as_mut()?.addresses.push(address);
            }
            "route" => {
                let route = words.next()?.parse().ok()?;
                self.device.as_mut()?.routes.push(route);
            }
            "nameserver" => self.nameservers.push(words.next()?.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        let setting = Setting {
            device: Some(DevicePlan {
                name: "weir0".to_owned(),
                mtu: 1500,
                vnet_header: true,
                multi_queue: false,
                addresses: vec![
                    "10.7.0.2/24".parse().unwrap(),
                    "fd00::2/64".parse().unwrap(),
                ],
                routes: vec!["0.0.0.0/0".parse().unwrap()],
                without_tun: true,
            }),
            nameservers: vec!["10.7.0.1".parse().unwrap()],
        };
        assert_eq!(Setting::from_text(&setting.to_text()).unwrap(), setting);
        let nothing = Setting::default();
        assert_eq!(Setting::from_text(&nothing.to_text()).unwrap(), nothing);
    }

    #[test]
    fn a_line_without_sense_is_named() {
        for line in [
            "colour green",
            "device weir0",
            "address 10.7.0.2/24",
            "nameserver x",
        ] {
            assert_eq!(Setting::from_text(line).unwrap_err(), line);
        }
    }
}
