//! Which user outside a user of the namespace is (`user_namespaces(7)`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use nix::unistd::{getegid, geteuid};

use super::plan::Identity;
use super::refusal::Settings;
use crate::SystemError;

/// Sets the users and groups of the namespace that process `pid` has just made.
///
/// Root maps everybody to themselves. Anybody else may map himself only, and only after his namespace
/// gave up changing supplementary groups: a group may be there to take rights away.
pub(super) fn write(pid: u32, identity: Identity) -> Result<(), SystemError> {
    let file = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    let (user, group) = (geteuid(), getegid());
    if user.is_root() && everybody(&file).is_ok() {
        return Ok(());
    }
    let failed = |what: &str, error: io::Error| {
        let advice = Settings::read("/proc".as_ref()).advice(&error);
        SystemError::new(format!("set the {what} of the namespace"), error).maybe_hint(advice)
    };
    match put(file("setgroups"), "deny") {
        // Before Linux 3.19 there was no such thing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(|error| failed("groups", error))?,
    }
    let (inner_user, inner_group) = match identity {
        Identity::Same => (user.as_raw(), group.as_raw()),
        Identity::Root => (0, 0),
    };
    put(file("uid_map"), &format!("{inner_user} {user} 1"))
        .map_err(|error| failed("user", error))?;
    put(file("gid_map"), &format!("{inner_group} {group} 1"))
        .map_err(|error| failed("group", error))
}

/// Everybody that this process' own namespace knows keeps his number.
fn everybody(file: &impl Fn(&str) -> PathBuf) -> io::Result<()> {
    for map in ["uid_map", "gid_map"] {
        let own = fs::read_to_string(format!("/proc/self/{map}"))?;
        put(file(map), &to_themselves(&own))?;
    }
    Ok(())
}

/// From lines of "inside, outside, how many" those that map what is inside to itself.
fn to_themselves(own: &str) -> String {
    let lines = own.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (inside, _, count) = (words.next()?, words.next()?, words.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

/// The kernel takes a map in one write only.
fn put(path: PathBuf, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_mapped_to_himself_within_what_is_known() {
        let all = "         0          0 4294967295\n";
        assert_eq!(to_themselves(all), "0 0 4294967295\n");
        // A container, whose root is user 100000 outside of it.
        let container = "0 100000 65536\n65536 1000 1\n";
        assert_eq!(to_themselves(container), "0 0 65536\n65536 65536 1\n");
    }
}
