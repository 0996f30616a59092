//! A TUN device by the two calls it takes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use crate::args::{KERNEL, STACK};

/// The device's name: the benchmark has a network namespace to itself.
const NAME: &str = "bench0";
/// The largest packet behind the largest header.
pub const LARGEST: usize = 65_536 + VNET;
/// Length of a `virtio_net_hdr` as TUN devices have it by default.
pub const VNET: usize = 10;

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const IFF_TUN: libc::c_short = 0x0001;
const IFF_NO_PI: libc::c_short = 0x1000;
const IFF_VNET_HDR: libc::c_short = 0x4000;
/// Checksums, TSO4, TSO6.
const OFFLOADS: libc::c_uint = 1 | 2 | 4;

/// A TUN device of MTU 1500, up, with the machine's address on it.
pub struct Tun {
    file: File,
    /// Whether packets begin with a `virtio_net_hdr`.
    pub offload: bool,
}

impl Tun {
    /// Makes it. Never blocks.
    pub fn open(offload: bool) -> io::Result<Tun> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
            *to = from as libc::c_char;
        }
        let vnet = if offload { IFF_VNET_HDR } else { 0 };
        request.ifr_ifru.ifru_flags = IFF_TUN | IFF_NO_PI | vnet;
        // SAFETY: the request is a whole ifreq, and the descriptor is open.
        if unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: takes a number.
        if offload && unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, OFFLOADS) } < 0 {
            return Err(io::Error::last_os_error());
        }
        ip(&["addr", "add", &format!("{KERNEL}/24"), "dev", NAME])?;
        ip(&[
            "link",
            "set",
            NAME,
            "mtu",
            "1500",
            "txqueuelen",
            "10000",
            "up",
        ])?;
        Ok(Tun { file, offload })
    }

    /// One packet, behind its `virtio_net_hdr` if there is one; `None` when there is none now.
    #[inline]
    pub fn read(&self, into: &mut [u8]) -> Option<usize> {
        (&self.file).read(into).ok()
    }

    /// One packet.
    #[inline]
    pub fn write(&self, packet: &[u8]) {
        let _ = (&self.file).write(packet);
    }

    /// Waits until there is something to read, or until the time (milliseconds, -1 for ever) is over.
    pub fn wait(&self, millis: i32) {
        let mut poll = libc::pollfd {
            fd: self.file.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, and it says one.
        unsafe { libc::poll(&mut poll, 1, millis) };
    }
}

/// Brings the machine's end into the same state whoever made the device: CUBIC, which a namespace may choose by
/// route where it may not for everybody, and a queue that is not what limits. Where that is refused, the system's
/// defaults stay.
pub fn same_for_all() {
    let network = STACK.octets();
    let network = format!("{}.{}.{}.0/24", network[0], network[1], network[2]);
    let source = KERNEL.to_string();
    let route = [
        "route", "replace", &network, "dev", NAME, "src", &source, "congctl", "cubic",
    ];
    let _ = ip(&route);
    let _ = ip(&["link", "set", NAME, "txqueuelen", "10000"]);
}

fn ip(words: &[&str]) -> io::Result<()> {
    let done = Command::new("ip").args(words).status()?;
    match done.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("ip {} failed", words.join(" ")))),
    }
}
