//! Where a command in its own mount namespace has its names looked up.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::SystemError;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where programs ask a resolver of the machine by a socket in the file system, which no network
/// namespace keeps them from: systemd-resolved (`nss-resolve`), nscd, Avahi (`nss-mdns`). Empty in the
/// command's view, for its names are to be looked up at the tunnel's other end.
const RESOLVERS: [&str; 3] = ["/run/systemd/resolve", "/run/nscd", "/run/avahi-daemon"];

/// Makes `servers` the name servers of whoever is in this mount namespace. Nothing outside of it changes,
/// and no file is written outside of memory.
pub(super) fn point_to(servers: &[IpAddr]) -> Result<(), SystemError> {
    let doing = format!("lay an own {RESOLV_CONF} over the machine's");
    let failed = |error: io::Error| SystemError::new(doing.clone(), error);
    // Before anything is hidden: it is often a link into what is about to be.
    let target = link_target(Path::new(RESOLV_CONF));
    for directory in RESOLVERS.map(Path::new) {
        if directory.is_dir() {
            memory_at(directory).map_err(failed)?;
        }
    }
    let text = text_for(servers);
    if RESOLVERS.iter().any(|hidden| target.starts_with(hidden)) {
        return put(&target, &text).map_err(failed);
    }
    if !target.exists() {
        return Err(failed(io::ErrorKind::NotFound.into())
            .hint(format!("create it: `touch {}` as root", target.display())));
    }
    lay_over(&target, &text).map_err(failed)
}

/// A file in memory at the place of `target`: written where nobody else looks, laid over, and its first
/// place taken away again.
fn lay_over(target: &Path, text: &str) -> io::Result<()> {
    let places = ["/tmp", "/mnt", "/opt", "/srv", "/var/tmp", "/dev/shm"].map(Path::new);
    let usable = |place: &&Path| place.is_dir() && !target.starts_with(place);
    let place = places.into_iter().find(usable);
    let place = place.ok_or(io::ErrorKind::NotFound)?;
    memory_at(place)?;
    let file = place.join("resolv.conf");
    let laid = put(&file, text).and_then(|()| {
        mount(Some(&file), target, NOTHING, MsFlags::MS_BIND, NOTHING)?;
        Ok(())
    });
    umount2(place, MntFlags::MNT_DETACH)?;
    laid
}

const NOTHING: Option<&str> = None;

/// Mounts an empty file system in memory.
fn memory_at(directory: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = Some("size=64k,mode=755");
    mount(Some("tmpfs"), directory, Some("tmpfs"), flags, options)?;
    Ok(())
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Where a chain of links ends, whether or not there is something.
fn link_target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many links as Linux follows (ELOOP).
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else {
            break;
        };
        path = path
            .parent()
            .map_or(next.clone(), |parent| parent.join(next));
    }
    // Links further up, like /var/run to /run, and `..`.
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

fn text_for(servers: &[IpAddr]) -> String {
    let mut text = String::from("# Names are looked up at the other end of the weir tunnel.\n");
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    // The tunnel may be long: no second question while the answer to the first is under way.
    text.push_str("options timeout:10 attempts:2\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_to_where_the_file_is_or_would_be() {
        let root = std::env::temp_dir().join(format!("weir-links-{}", std::process::id()));
        fs::create_dir_all(root.join("run/resolve")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        let link = root.join("etc/resolv.conf");
        std::os::unix::fs::symlink("../run/resolve/stub.conf", &link).unwrap();
        let root = root.canonicalize().unwrap();
        assert_eq!(link_target(&link), root.join("run/resolve/stub.conf"));
        fs::write(root.join("run/resolve/stub.conf"), "").unwrap();
        assert_eq!(link_target(&link), root.join("run/resolve/stub.conf"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn every_server_has_its_line() {
        let text = text_for(&["10.7.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]);
        assert!(
            text.contains("nameserver 10.7.0.1\nnameserver fd00::1\n"),
            "{text}"
        );
    }
}
