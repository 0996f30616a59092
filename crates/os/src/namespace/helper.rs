//! The helper: the process that enters the namespaces, sets them up and becomes the command.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getegid;

use super::HELPER;
use super::control::{Control, Kind};
use super::names;
use super::pair;
use super::plan::{DevicePlan, Setting};
use super::refusal::Settings;
use crate::SystemError;
use crate::netlink::{Netlink, RouteSpec};
use crate::tun::{self, Layer, Tun, TunOptions};

/// To be called first in the `main` of a program that makes namespaces: `None`, unless this process was
/// started as their helper. Then it becomes the command, or what it returns is to be its exit code.
///
/// Threads must not have been started before.
#[must_use]
pub fn entry() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != HELPER {
        return None;
    }
    let number = arguments.next().and_then(|n| n.to_str()?.parse().ok());
    let control = match number.map(Control::inherited) {
        Some(Ok(control)) => control,
        _ => {
            eprintln!("`{HELPER}` is how `weir` starts itself; it is of no use by hand");
            return Some(ExitCode::from(2));
        }
    };
    let command: Vec<OsString> = arguments.collect();
    Some(ExitCode::from(be(&control, &command)))
}

/// Goes all the way; returns only with an exit code for what went wrong.
fn be(control: &Control, command: &[OsString]) -> u8 {
    // The starter reads its signals, and children inherit that they are held back.
    let freed = crate::signals::give_back();
    match freed.and_then(|()| set_up(control)) {
        Ok(true) => {}
        // The starter went away: there is nobody to tell.
        Ok(false) => return 1,
        Err(error) => {
            let _ = control.send(Kind::Failed, &account_of(&error), None);
            return 1;
        }
    }
    let Some((program, arguments)) = command.split_first() else {
        return 2;
    };
    // Returns only when it could not.
    let error = Command::new(program).args(arguments).exec();
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    let _ = control.send(Kind::NoCommand, &errno.to_string(), None);
    1
}

/// False when the starter does not want it any more.
fn set_up(control: &Control) -> Result<bool, SystemError> {
    let failed = |error: io::Error| SystemError::new("talk to the one who started this", error);
    let wait_for = |kind: Kind| -> Result<Option<String>, SystemError> {
        let received = control.receive().map_err(failed)?;
        Ok(received.filter(|r| r.kind == kind).map(|r| r.text))
    };
    let Some(text) = wait_for(Kind::Plan)? else {
        return Ok(false);
    };
    let setting = Setting::from_text(&text).map_err(|line| {
        let error = io::Error::from(io::ErrorKind::InvalidData);
        SystemError::new(format!("read the line `{line}` of the plan"), error)
    })?;
    enter()?;
    control.send(Kind::Entered, "", None).map_err(failed)?;
    if wait_for(Kind::Mapped)?.is_none() {
        return Ok(false);
    }
    let mut warnings = Vec::new();
    let tun = furnish(&setting, &mut warnings)?;
    let file = tun.as_ref().map(AsRawFd::as_raw_fd);
    control
        .send(Kind::Ready, &warnings.join("\n"), file)
        .map_err(failed)?;
    // From here on the starter holds the only queue.
    drop(tun);
    Ok(wait_for(Kind::Go)?.is_some())
}

fn enter() -> Result<(), SystemError> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(|error| {
        let error = io::Error::from(error);
        let advice = Settings::read("/proc".as_ref()).advice(&error);
        SystemError::new("make user, network and mount namespaces", error).maybe_hint(advice)
    })
}

/// With the rights of a user namespace that a security module took back, the first use of them fails.
fn with_advice(error: SystemError) -> SystemError {
    let denied = error.io().kind() == io::ErrorKind::PermissionDenied;
    if !denied {
        return error;
    }
    let advice = Settings::read("/proc".as_ref()).advice(error.io());
    error.maybe_hint(advice)
}

fn furnish(setting: &Setting, warnings: &mut Vec<String>) -> Result<Option<Tun>, SystemError> {
    let everything = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let none: Option<&str> = None;
    mount(none, "/", none, everything, none)
        .map_err(|error| SystemError::new("part the namespace's mounts from the machine's", error))
        .map_err(with_advice)?;
    let mut netlink = Netlink::open()?;
    let loopback = netlink.link("lo")?;
    netlink.set_up(loopback.index, true).map_err(with_advice)?;
    let tun = match &setting.device {
        Some(plan) => Some(device(&mut netlink, plan, warnings)?),
        None => None,
    };
    if !setting.nameservers.is_empty() {
        // Names are then looked up where the machine looks them up, which from in here leads nowhere:
        // worth a warning, and much works without names.
        if let Err(error) = names::point_to(&setting.nameservers) {
            warnings.push(with_advice(error).to_string());
        }
    }
    let_ping(warnings);
    Ok(tun)
}

fn device(
    netlink: &mut Netlink,
    plan: &DevicePlan,
    warnings: &mut Vec<String>,
) -> Result<Tun, SystemError> {
    let tun = open(plan)?;
    let index = netlink.link(tun.name())?.index;
    netlink.set_mtu(index, plan.mtu)?;
    netlink.set_up(index, true)?;
    let mut lacks_v6 = false;
    for address in &plan.addresses {
        match netlink.add_address(index, *address) {
            // A machine without IPv6 is one to run commands on all the same.
            Err(error) if address.address.is_ipv6() => {
                lacks_v6 = true;
                warnings.push(error.to_string());
            }
            result => result?,
        }
    }
    for to in &plan.routes {
        if to.address.is_ipv6() && lacks_v6 {
            continue;
        }
        netlink.add_route(&RouteSpec {
            to: *to,
            via: None,
            interface: Some(index),
            metric: None,
        })?;
    }
    Ok(tun)
}

/// The device itself: a TUN device, or where its file may not be opened, what stands in for it.
fn open(plan: &DevicePlan) -> Result<Tun, SystemError> {
    tun::check_name(&plan.name)?;
    if plan.without_tun {
        return pair::make(plan);
    }
    let closed = match tun::device_file() {
        Ok(file) => {
            let options = TunOptions {
                name: plan.name.clone(),
                layer: Layer::Ip,
                vnet_header: plan.vnet_header,
                multi_queue: plan.multi_queue,
            };
            return Tun::open_on(file, &options).map_err(with_advice);
        }
        Err(error) => error,
    };
    // The file is what most can do something about.
    pair::make(plan).map_err(|error| {
        let advice = closed.advice().unwrap_or("no TUN device can be made");
        let advice = format!(
            "{advice}; nor does it go without one: cannot {}: {}",
            error.doing(),
            error.io()
        );
        closed.hint(advice)
    })
}

/// Lets the command's group send echo requests: `ping` without being root. Files with capabilities, as
/// `ping` is one on many systems, give none to users that are mapped to themselves alone.
fn let_ping(warnings: &mut Vec<String>) {
    let own = getegid();
    // The kernel's largest, and the one group there is where only one is mapped.
    let ranges = ["0 2147483647".to_owned(), format!("{own} {own}")];
    let path = "/proc/sys/net/ipv4/ping_group_range";
    let mut last = None;
    for range in ranges {
        match fs::write(path, range) {
            Ok(()) => return,
            Err(error) => last = Some(error),
        }
    }
    if let Some(error) = last {
        warnings.push(format!(
            "`ping` may not work: {path} cannot be set: {error}"
        ));
    }
}

/// A [`SystemError`] as text, for another process.
fn account_of(error: &SystemError) -> String {
    let errno = error.io().raw_os_error().unwrap_or(0);
    let advice = error.advice().unwrap_or_default();
    format!("{errno}\n{}\n{}\n{advice}", error.doing(), error.io())
}

/// The error that [`account_of`] wrote down.
pub(super) fn error_from(account: &str) -> SystemError {
    let mut lines = account.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (errno, doing, said, advice) = (next(), next(), next(), next());
    let source = match errno.parse() {
        Ok(errno @ 1..) => io::Error::from_raw_os_error(errno),
        _ => io::Error::other(said.to_owned()),
    };
    let advice = (!advice.is_empty()).then(|| advice.to_owned());
    SystemError::new(doing, source).maybe_hint(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_its_way_to_the_starter() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        let error = SystemError::new("make the TUN device `weir0`", denied).hint("become root");
        let told = error_from(&account_of(&error));
        assert_eq!(told.to_string(), error.to_string());
        assert_eq!(told.io().raw_os_error(), Some(libc::EPERM));
        let error = SystemError::new("count", io::Error::other("too few fingers"));
        assert_eq!(
            error_from(&account_of(&error)).to_string(),
            error.to_string()
        );
    }
}
