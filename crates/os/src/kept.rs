//! Routes that are taken back: at the end, and where a program had no chance to, when it is started the next time.
//!
//! Most routes to a device go with the device. What stays after a crash is a route past it, to the other end of the
//! tunnel by the way that there was before, and whatever leads to a device that is persistent. So each route is written
//! down before it is made, in a file that names the process; whoever finds the file of a process that is no more takes
//! the routes back.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::netlink::{Netlink, RouteSpec};
use crate::{Cidr, SystemError};

/// How the files' names begin: with the network namespace, for routes of another one are not ours to take back. The
/// process' number follows.
fn prefix() -> String {
    let namespace = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let number: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    format!("routes-{number}-")
}

/// Routes that this process has set. Dropped, it takes them back.
#[derive(Debug)]
pub struct KeptRoutes {
    netlink: Netlink,
    file: PathBuf,
    routes: Vec<RouteSpec>,
}

impl KeptRoutes {
    /// Takes back what processes that are no more left behind, as written down in `directory`, which is made when it is
    /// not there. Returns those routes too, for people.
    ///
    /// # Errors
    /// The directory cannot be made or written to.
    pub fn open(directory: &Path) -> Result<(KeptRoutes, Vec<RouteSpec>), SystemError> {
        let failed = |error: io::Error| {
            let doing = format!("write down routes in {}", directory.display());
            SystemError::new(doing, error)
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let mut netlink = Netlink::open()?;
        let left = take_back(&mut netlink, directory).map_err(failed)?;
        let kept = KeptRoutes {
            netlink,
            file: directory.join(format!("{}{}", prefix(), std::process::id())),
            routes: Vec::new(),
        };
        kept.write().map_err(failed)?;
        Ok((kept, left))
    }

    /// Writes a route down and adds it.
    ///
    /// # Errors
    /// It cannot be written down, or the system refuses it; it is not there then.
    pub fn add(&mut self, route: RouteSpec) -> Result<(), SystemError> {
        self.routes.push(route);
        let written = self.write().map_err(|error| {
            let doing = format!("write the route {route} down in {}", self.file.display());
            SystemError::new(doing, error)
        });
        let added = written.and_then(|()| self.netlink.add_route(&route));
        if added.is_err() {
            self.routes.pop();
            // One too many in the file does no harm: it is not there to be taken back.
            let _ = self.write();
        }
        added
    }

    /// Takes back one route that was added. One that is gone already, with its interface or by somebody
    /// else's hand, is as it should be.
    pub fn remove(&mut self, route: &RouteSpec) {
        let before = self.routes.len();
        self.routes.retain(|kept| kept != route);
        if self.routes.len() < before {
            let _ = self.netlink.delete_route(route);
            // One too many in the file does no harm: it is not there to be taken back.
            let _ = self.write();
        }
    }

    /// What was added.
    #[must_use]
    pub fn routes(&self) -> &[RouteSpec] {
        &self.routes
    }

    /// Replaces the file in one step, so that a crash leaves the old one or the new one.
    fn write(&self) -> io::Result<()> {
        let mut text = format!("process {}\n", start_of("self").unwrap_or(0));
        for route in &self.routes {
            text.push_str(&line_of(route));
        }
        let new = self.file.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, &self.file)
    }
}

impl Drop for KeptRoutes {
    fn drop(&mut self) {
        for route in self.routes.iter().rev() {
            // Gone with its device, or taken away by somebody else: as it should be.
            let _ = self.netlink.delete_route(route);
        }
        let _ = fs::remove_file(&self.file);
    }
}

fn take_back(netlink: &mut Netlink, directory: &Path) -> io::Result<Vec<RouteSpec>> {
    let mut taken = Vec::new();
    let prefix = prefix();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.strip_prefix(&prefix)) else {
            continue;
        };
        let text = fs::read_to_string(&path)?;
        // A process of the same number that began at another time is another process.
        if start_of(pid).is_some_and(|start| text.starts_with(&format!("process {start}\n"))) {
            continue;
        }
        for route in text.lines().filter_map(route_of) {
            if netlink.delete_route(&route).is_ok() {
                taken.push(route);
            }
        }
        fs::remove_file(&path)?;
    }
    Ok(taken)
}

/// When a process began, in the kernel's ticks since it booted: proc(5), field 22 of stat.
fn start_of(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn line_of(route: &RouteSpec) -> String {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    format!(
        "route {} {} {} {}\n",
        route.to,
        or_dash(route.via.map(|via| via.to_string())),
        or_dash(route.interface.map(|index| index.to_string())),
        or_dash(route.metric.map(|metric| metric.to_string())),
    )
}

fn route_of(line: &str) -> Option<RouteSpec> {
    fn field<T: std::str::FromStr>(word: Option<&str>) -> Option<Option<T>> {
        match word? {
            "-" => Some(None),
            word => word.parse().ok().map(Some),
        }
    }
    let mut words = line.strip_prefix("route ")?.split(' ');
    Some(RouteSpec {
        to: words.next()?.parse::<Cidr>().ok()?,
        via: field(words.next())?,
        interface: field(words.next())?,
        metric: field(words.next())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_back_as_they_were_written_down() {
        let routes = [
            RouteSpec {
                to: "192.0.2.0/24".parse().unwrap(),
                via: None,
                interface: Some(7),
                metric: None,
            },
            RouteSpec {
                to: "2001:db8::1/128".parse().unwrap(),
                via: Some("fe80::1".parse().unwrap()),
                interface: Some(2),
                metric: Some(100),
            },
        ];
        for route in routes {
            assert_eq!(route_of(line_of(&route).trim_end()), Some(route));
        }
        for line in [
            "",
            "process 7",
            "route",
            "route 1.2.3.4/24 x - -",
            "route 1.2.3.4/99 - - -",
        ] {
            assert_eq!(route_of(line), None, "{line}");
        }
    }

    #[test]
    fn processes_are_known_by_when_they_began() {
        let own = start_of("self").unwrap();
        assert_eq!(start_of(&std::process::id().to_string()), Some(own));
        assert!(own > 0);
        assert_eq!(start_of("0"), None);
    }
}
