//! TUN and TAP devices of Linux: a network interface whose packets a program reads and writes.
//!
//! With `IFF_VNET_HDR` each packet comes and goes behind a `virtio_net_hdr`, which says what is still to
//! be done about its checksum, and that it stands for many segments of one size: up to 64 KiB pass in
//! one system call instead of one MTU. Which of that the kernel may hand over is negotiated by
//! [`Tun::set_offloads`].
//!
//! Where `/dev/net/tun` may not be opened, a [`namespace`](crate::namespace) has a packet socket at the
//! far end of a pair of Ethernet interfaces instead. It is a [`Tun`], too, and behaves like one.

mod ioctl;
pub(crate) mod packet;

use std::fs::OpenOptions;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc;

use crate::SystemError;

/// Bytes of the `virtio_net_hdr` before each packet of a device that has them (virtio 1.2 section
/// 5.1.6.1, without `num_buffers`), its fields little-endian.
pub const VNET_HEADER_LEN: usize = 10;

/// The most bytes that one packet of a device takes, whatever its MTU: an IP packet of 65,535 bytes, an
/// Ethernet header with a VLAN tag before it. A shorter buffer would cut super-segments off.
pub const MAX_PACKET: usize = 65_535 + 18;

const DEVICE: &str = "/dev/net/tun";

/// What the packets of a device begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An IP header (TUN).
    Ip,
    /// An Ethernet header (TAP).
    Ethernet,
}

/// Which device to open, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunOptions {
    /// Name of the interface, at most 15 bytes; `weir%d` has the system fill in the next free number.
    /// An interface of that name which exists and is persistent is attached to.
    pub name: String,
    /// TUN or TAP.
    pub layer: Layer,
    /// Packets come and go with a `virtio_net_hdr` before them (`IFF_VNET_HDR`).
    pub vnet_header: bool,
    /// Further queues can be opened ([`Tun::queue`]): the kernel keeps each flow on one of them.
    pub multi_queue: bool,
}

impl Default for TunOptions {
    fn default() -> Self {
        TunOptions {
            name: "weir%d".to_owned(),
            layer: Layer::Ip,
            vnet_header: true,
            multi_queue: false,
        }
    }
}

/// What the kernel may leave undone in the packets it hands over, because whoever reads them can do it
/// (`TUNSETOFFLOAD`). For packets written, a device with headers takes all of it in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Transport checksums hold the pseudo-header's sum only. All others need this.
    pub checksum: bool,
    /// TCP over IPv4 in super-segments.
    pub tso4: bool,
    /// TCP over IPv6 in super-segments.
    pub tso6: bool,
    /// The super-segments may carry ECN's CWR, which belongs to the first segment only.
    pub tso_ecn: bool,
    /// UDP datagrams of one size in super-segments, over both (Linux 6.2).
    pub uso: bool,
}

impl Offloads {
    /// Everything there is.
    pub const ALL: Offloads = Offloads {
        checksum: true,
        tso4: true,
        tso6: true,
        tso_ecn: true,
        uso: true,
    };
    /// Nothing: complete packets, none larger than the MTU.
    pub const NONE: Offloads = Offloads {
        checksum: false,
        tso4: false,
        tso6: false,
        tso_ecn: false,
        uso: false,
    };

    /// What a pair of Ethernet interfaces leaves undone, and takes undone: that is not negotiated. UDP in
    /// super-segments goes by what the kernel says of it ([`packet::takes_uso`]).
    fn of_pairs(fd: &OwnedFd) -> Offloads {
        Offloads {
            uso: packet::takes_uso(fd),
            ..Offloads::ALL
        }
    }

    fn bits(self) -> libc::c_uint {
        let Offloads {
            checksum,
            tso4,
            tso6,
            tso_ecn,
            uso,
        } = self;
        let each = [
            (checksum, libc::TUN_F_CSUM),
            (tso4, libc::TUN_F_TSO4),
            (tso6, libc::TUN_F_TSO6),
            (tso_ecn && (tso4 || tso6), libc::TUN_F_TSO_ECN),
            (uso, libc::TUN_F_USO4 | libc::TUN_F_USO6),
        ];
        let chosen = each.iter().filter(|(wanted, _)| *wanted && checksum);
        chosen.fold(0, |bits, (_, bit)| bits | bit)
    }
}

/// One queue of a TUN or TAP device, non-blocking. The interface goes when its last queue is dropped,
/// unless it is persistent; then its offloads are set back, for they would outlive this user.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    /// It is a packet socket at the far end of a pair of interfaces.
    is_packet_socket: bool,
    name: String,
    layer: Layer,
    vnet_header: bool,
    multi_queue: bool,
    persistent: bool,
    offloads: Offloads,
    /// Queues of this device that this process has open.
    queues: Arc<AtomicUsize>,
}

impl Tun {
    /// Makes the interface, or attaches to the persistent one of that name.
    ///
    /// # Errors
    /// Names the device and what to do: `/dev/net/tun` is missing, the right to make interfaces is
    /// missing (`CAP_NET_ADMIN`), another program holds the interface, or it is of another kind.
    pub fn open(options: &TunOptions) -> Result<Tun, SystemError> {
        check_name(&options.name)?;
        Tun::open_on(device_file()?, options)
    }

    /// [`open`](Tun::open) with what [`device_file`] opened, and a name that is one.
    pub(crate) fn open_on(fd: OwnedFd, options: &TunOptions) -> Result<Tun, SystemError> {
        let flags = flags_of(options);
        let name = ioctl::set_interface(fd.as_fd(), &options.name, flags)
            .map_err(|error| attach_failed(options, error))?;
        let (_, flags) = ioctl::get_interface(fd.as_fd()).map_err(|error| failed(&name, error))?;
        let tun = Tun {
            fd,
            is_packet_socket: false,
            name,
            layer: options.layer,
            vnet_header: options.vnet_header,
            multi_queue: options.multi_queue,
            persistent: flags & libc::IFF_PERSIST != 0,
            offloads: Offloads::NONE,
            queues: Arc::new(AtomicUsize::new(1)),
        };
        tun.settle()?;
        Ok(tun)
    }

    /// Takes over the open queue of a device, as another process hands it over: all else is asked of
    /// the system. The interface may well be in another network namespace.
    ///
    /// # Errors
    /// It is no TUN or TAP device.
    pub fn adopt(fd: OwnedFd) -> Result<Tun, SystemError> {
        let no_device = |error| {
            SystemError::new("take over a TUN device", error).hint("the file is no TUN device")
        };
        if let Some(name) = packet::interface_of(fd.as_fd()).map_err(no_device)? {
            nonblocking(fd.as_fd()).map_err(|error| failed(&name, error))?;
            return Ok(Tun::of_packet_socket(fd, name));
        }
        let (name, flags) = ioctl::get_interface(fd.as_fd()).map_err(no_device)?;
        nonblocking(fd.as_fd()).map_err(|error| failed(&name, error))?;
        let is = |flag: libc::c_int| flags & flag != 0;
        let tun = Tun {
            fd,
            is_packet_socket: false,
            name,
            layer: if is(libc::IFF_TAP) {
                Layer::Ethernet
            } else {
                Layer::Ip
            },
            vnet_header: is(libc::IFF_VNET_HDR),
            multi_queue: is(libc::IFF_MULTI_QUEUE),
            persistent: is(libc::IFF_PERSIST),
            offloads: Offloads::NONE,
            queues: Arc::new(AtomicUsize::new(1)),
        };
        tun.settle()?;
        Ok(tun)
    }

    /// A socket of [`packet::open`], at the far end of the interface of this name.
    pub(crate) fn of_packet_socket(fd: OwnedFd, name: String) -> Tun {
        let offloads = Offloads::of_pairs(&fd);
        Tun {
            fd,
            is_packet_socket: true,
            name,
            layer: Layer::Ip,
            vnet_header: true,
            multi_queue: false,
            persistent: false,
            offloads,
            queues: Arc::new(AtomicUsize::new(1)),
        }
    }

    /// A further queue of the same interface, with the same offloads.
    ///
    /// # Errors
    /// The device was not opened with `multi_queue`, or the system has no more queues (256).
    pub fn queue(&self) -> Result<Tun, SystemError> {
        if self.is_packet_socket {
            let error = io::Error::from(io::ErrorKind::Unsupported);
            return Err(failed(&self.name, error).hint("it is no TUN device: it has one queue"));
        }
        let options = TunOptions {
            name: self.name.clone(),
            layer: self.layer,
            vnet_header: self.vnet_header,
            multi_queue: self.multi_queue,
        };
        let fd = device_file()?;
        let name = ioctl::set_interface(fd.as_fd(), &options.name, flags_of(&options))
            .map_err(|error| attach_failed(&options, error))?;
        self.queues.fetch_add(1, Ordering::Relaxed);
        Ok(Tun {
            fd,
            name,
            queues: Arc::clone(&self.queues),
            ..*self
        })
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// TUN or TAP.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// Whether a `virtio_net_hdr` of [`VNET_HEADER_LEN`] bytes stands before each packet.
    #[must_use]
    pub fn has_vnet_header(&self) -> bool {
        self.vnet_header
    }

    /// Whether the interface stays when nobody has it open.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// What was negotiated last.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Asks for `wanted`, and for less where this kernel does not know all of it: without USO before
    /// Linux 6.2. Returns what holds now, for all queues of the device. Nothing without
    /// [`vnet_header`](TunOptions::vnet_header): the kernel would have no way to tell. Always the same where
    /// a packet socket stands in for the device: complete packets are fine to send there, but what comes
    /// is not always complete.
    ///
    /// # Errors
    /// The system refuses even the least of it.
    pub fn set_offloads(&mut self, wanted: Offloads) -> Result<Offloads, SystemError> {
        if !self.vnet_header {
            return Ok(Offloads::NONE);
        }
        if self.is_packet_socket {
            return Ok(self.offloads);
        }
        let without_uso = Offloads {
            uso: false,
            ..wanted
        };
        let checksum = Offloads {
            checksum: wanted.checksum,
            ..Offloads::NONE
        };
        let mut refused = None;
        for attempt in [wanted, without_uso, checksum, Offloads::NONE] {
            match ioctl::set_offload(self.fd.as_fd(), attempt.bits()) {
                Ok(()) => {
                    self.offloads = attempt;
                    return Ok(attempt);
                }
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
                Err(error) => return Err(failed(&self.name, error)),
            }
        }
        let error = refused.unwrap_or_else(|| io::ErrorKind::InvalidInput.into());
        Err(failed(&self.name, error))
    }

    /// Lets the interface stay when nobody has it open, or go.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_persistent(&mut self, persistent: bool) -> Result<(), SystemError> {
        ioctl::set_persistent(self.fd.as_fd(), persistent)
            .map_err(|error| failed(&self.name, error))?;
        self.persistent = persistent;
        Ok(())
    }

    /// Reads one packet into `packet`, and into `header` what stands before it (zeros where the device
    /// has no headers). Returns the packet's length in bytes. A packet longer than the buffer is cut
    /// off: [`MAX_PACKET`] holds all.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none; what else the system says.
    pub fn recv(&self, header: &mut [u8; VNET_HEADER_LEN], packet: &mut [u8]) -> io::Result<usize> {
        if self.is_packet_socket {
            return packet::recv(&self.fd, header, packet);
        }
        if !self.vnet_header {
            *header = [0; VNET_HEADER_LEN];
            return Ok(nix::unistd::read(&self.fd, packet)?);
        }
        let room = packet.len();
        let mut parts = [IoSliceMut::new(header), IoSliceMut::new(packet)];
        let read = nix::sys::uio::readv(&self.fd, &mut parts)?;
        match read.checked_sub(VNET_HEADER_LEN) {
            Some(len) => Ok(len.min(room)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads one packet with its header, where the device has headers, before it into `buffer`; returns
    /// the bytes of both. `VNET_HEADER_LEN + MAX_PACKET` bytes hold all; what does not fit is cut off.
    ///
    /// # Errors
    /// As [`recv`](Tun::recv).
    pub fn recv_whole(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_packet_socket {
            let Some((header, packet)) = buffer.split_first_chunk_mut() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let len = packet::recv(&self.fd, header, packet)?;
            return Ok(len.saturating_add(VNET_HEADER_LEN));
        }
        Ok(nix::unistd::read(&self.fd, buffer)?.min(buffer.len()))
    }

    /// Writes one packet, given in parts; the first part begins with its `virtio_net_hdr` when the
    /// device has them.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the device takes no more now; `EIO` when the interface is
    /// down, `EINVAL` when the packet or its header make no sense.
    pub fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if self.is_packet_socket {
            return packet::send(&self.fd, parts);
        }
        match parts {
            // A list of slices costs the kernel a look at each before it begins.
            [whole] => nix::unistd::write(&self.fd, whole)?,
            parts => nix::sys::uio::writev(&self.fd, parts)?,
        };
        Ok(())
    }

    /// Brings what may outlive the last user of a persistent device to a known state.
    fn settle(&self) -> Result<(), SystemError> {
        if self.vnet_header {
            ioctl::set_vnet_header_len(self.fd.as_fd(), VNET_HEADER_LEN)
                .and_then(|()| ioctl::set_vnet_little_endian(self.fd.as_fd()))
                .map_err(|error| failed(&self.name, error))?;
        }
        ioctl::set_offload(self.fd.as_fd(), 0).map_err(|error| failed(&self.name, error))
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        let last = self.queues.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && self.persistent {
            // Whoever opens it next without headers would get packets with half a checksum.
            let _ = ioctl::set_offload(self.fd.as_fd(), 0);
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Whether this machine could make TUN devices at all (whether this user may is known only by trying),
/// and whether they have headers and several queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// `IFF_VNET_HDR`: packets with offloads.
    pub vnet_header: bool,
    /// `IFF_MULTI_QUEUE`: several queues.
    pub multi_queue: bool,
}

/// Asks the system what TUN devices it has. Makes none.
///
/// # Errors
/// There are none: says what is missing.
pub fn support() -> Result<Support, SystemError> {
    let fd = device_file()?;
    let flags = ioctl::features(fd.as_fd())
        .map_err(|error| SystemError::new(format!("ask {DEVICE} what it can do"), error))?;
    let is = |flag: libc::c_int| flags & flag != 0;
    Ok(Support {
        vnet_header: is(libc::IFF_VNET_HDR),
        multi_queue: is(libc::IFF_MULTI_QUEUE),
    })
}

fn flags_of(options: &TunOptions) -> libc::c_int {
    let mut flags = libc::IFF_NO_PI;
    flags |= match options.layer {
        Layer::Ip => libc::IFF_TUN,
        Layer::Ethernet => libc::IFF_TAP,
    };
    if options.vnet_header {
        flags |= libc::IFF_VNET_HDR;
    }
    if options.multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    flags
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Opens the file that TUN devices are made by.
pub(crate) fn device_file() -> Result<OwnedFd, SystemError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(libc::O_NONBLOCK);
    let path = Path::new(DEVICE);
    options.open(path).map(OwnedFd::from).map_err(|error| {
        let mode = path.metadata().ok().map(|data| data.permissions().mode());
        let advice = advice_on_opening(&error, mode);
        SystemError::new(format!("open {DEVICE}"), error).maybe_hint(advice)
    })
}

/// What to do when the file, which has this mode, cannot be opened.
fn advice_on_opening(error: &io::Error, mode: Option<u32>) -> Option<String> {
    match error.raw_os_error()? {
        libc::ENOENT | libc::ENXIO | libc::ENODEV => Some(
            "the kernel's TUN driver is missing: as root, `modprobe tun`; a container needs `--device \
             /dev/net/tun`"
                .to_owned(),
        ),
        libc::EACCES | libc::EPERM => {
            let mode = mode.map(|mode| mode & 0o777);
            // 6: what this user may do, if it is neither the owner nor of the group.
            Some(match mode {
                Some(mode) if mode & 0o006 != 0o006 => format!(
                    "its mode is {mode:04o}: as root, `chmod 0666 {DEVICE}`, which is the mode that most \
                     systems give it"
                ),
                _ => format!("a container needs `--device {DEVICE}`"),
            })
        }
        _ => None,
    }
}

fn attach_failed(options: &TunOptions, error: io::Error) -> SystemError {
    let kind = match options.layer {
        Layer::Ip => "TUN",
        Layer::Ethernet => "TAP",
    };
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Some(
            "it takes root, or the capability CAP_NET_ADMIN; `weir run` needs neither, for it works in a \
             namespace of its own",
        ),
        Some(libc::EBUSY) => Some("another program has it open: choose another name"),
        Some(libc::EINVAL) => {
            Some("an interface of that name exists and is of another kind: choose another name")
        }
        _ => None,
    };
    SystemError::new(format!("make the {kind} device `{}`", options.name), error)
        .maybe_hint(hint.map(str::to_owned))
}

fn failed(name: &str, error: io::Error) -> SystemError {
    SystemError::new(format!("set up the TUN device `{name}`"), error)
}

/// What `dev_valid_name` of the kernel accepts, said before the kernel says only "invalid argument".
pub(crate) fn check_name(name: &str) -> Result<(), SystemError> {
    let fits = !name.is_empty() && name.len() < ioctl::NAME_LEN;
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if fits && plain && name != "." && name != ".." {
        return Ok(());
    }
    let error = io::Error::from(io::ErrorKind::InvalidInput);
    Err(
        SystemError::new(format!("name a TUN device `{name}`"), error)
            .hint("1 to 15 letters, digits, `-`, `_` or `.`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_cannot_be_opened_is_told_how_to_be() {
        let advice = |errno, mode| advice_on_opening(&io::Error::from_raw_os_error(errno), mode);
        let closed = advice(libc::EACCES, Some(0o020_600)).unwrap();
        assert!(
            closed.contains("mode is 0600") && closed.contains("chmod 0666 /dev/net/tun"),
            "{closed}"
        );
        // The mode is not what forbids it.
        let forbidden = advice(libc::EPERM, Some(0o020_666)).unwrap();
        assert!(
            forbidden.contains("--device") && !forbidden.contains("chmod"),
            "{forbidden}"
        );
        let missing = advice(libc::ENOENT, None).unwrap();
        assert!(missing.contains("modprobe tun"), "{missing}");
        assert_eq!(advice(libc::EMFILE, None), None);
    }
}
