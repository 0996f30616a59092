//! The `ioctl`s of TUN devices, each as a function that takes what the kernel wants for it.

#![allow(
    unsafe_code,
    reason = "ioctl takes untyped arguments: here each request meets its type"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// Bytes of an interface's name, with the zero behind it (`IFNAMSIZ`).
pub(super) const NAME_LEN: usize = libc::IFNAMSIZ;

/// `struct ifreq` as the TUN requests use it: a name and flags. The kernel copies
/// `sizeof(struct ifreq)` bytes both ways, so it must be no shorter.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_LEN],
    flags: libc::c_short,
    rest: [u8; REST],
}

const REST: usize = size_of::<libc::ifreq>() - NAME_LEN - size_of::<libc::c_short>();
const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

impl InterfaceRequest {
    fn new(name: &str, flags: libc::c_int) -> InterfaceRequest {
        let mut bytes = [0; NAME_LEN];
        for (to, from) in bytes.iter_mut().zip(name.bytes().take(NAME_LEN - 1)) {
            *to = from;
        }
        InterfaceRequest {
            name: bytes,
            // The flags are 16 bits wide; the constants are int for C's sake.
            flags: flags as libc::c_short,
            rest: [0; REST],
        }
    }

    fn into_parts(self) -> (String, libc::c_int) {
        let name: Vec<u8> = self.name.into_iter().take_while(|b| *b != 0).collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        (name, libc::c_int::from(self.flags as libc::c_ushort))
    }
}

/// `TUNSETIFF`: makes or attaches to the interface; returns its name.
pub(super) fn set_interface(
    fd: BorrowedFd<'_>,
    name: &str,
    flags: libc::c_int,
) -> io::Result<String> {
    let mut request = InterfaceRequest::new(name, flags);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` has its size and is borrowed
    // for the call only.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(result)?;
    Ok(request.into_parts().0)
}

/// `TUNGETIFF`: name and flags of the interface that the file is attached to.
pub(super) fn get_interface(fd: BorrowedFd<'_>) -> io::Result<(String, libc::c_int)> {
    let mut request = InterfaceRequest::new("", 0);
    // SAFETY: TUNGETIFF writes one `struct ifreq`; `request` has its size and is borrowed for the call
    // only. On a file that is no TUN device the request is unknown (ENOTTY).
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    Errno::result(result)?;
    Ok(request.into_parts())
}

/// `SIOCGIFNAME`: the name of the interface of this index, in the network namespace of the socket.
pub(super) fn name_of(socket: BorrowedFd<'_>, index: i32) -> io::Result<String> {
    let mut request = InterfaceRequest::new("", 0);
    // `ifr_ifindex` lies where the flags begin.
    let [first, second, third, fourth] = index.to_ne_bytes();
    request.flags = libc::c_short::from_ne_bytes([first, second]);
    for (to, from) in request.rest.iter_mut().zip([third, fourth]) {
        *to = from;
    }
    // SAFETY: SIOCGIFNAME reads and writes one `struct ifreq`; `request` has its size and is borrowed
    // for the call only.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
    Errno::result(result)?;
    Ok(request.into_parts().0)
}

/// `TUNGETFEATURES`: the flags that `TUNSETIFF` knows.
pub(super) fn features(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut flags: libc::c_int = 0;
    // SAFETY: TUNGETFEATURES writes one unsigned int, of the size of `flags`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETFEATURES, &raw mut flags) };
    Errno::result(result)?;
    Ok(flags)
}

/// `TUNSETVNETHDRSZ`: how long the header before each packet is, in bytes.
pub(super) fn set_vnet_header_len(fd: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len = libc::c_int::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    Errno::result(result)?;
    Ok(())
}

/// `TUNSETVNETLE`: the header's fields are little-endian, as virtio 1 has them, and not in the machine's
/// order as before.
pub(super) fn set_vnet_little_endian(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: TUNSETVNETLE reads one int through the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETLE, &raw const on) };
    Errno::result(result)?;
    Ok(())
}

/// `TUNSETOFFLOAD`: what the kernel may leave undone in packets that it hands over (`TUN_F_*`).
pub(super) fn set_offload(fd: BorrowedFd<'_>, bits: libc::c_uint) -> io::Result<()> {
    let bits = libc::c_ulong::from(bits);
    // SAFETY: TUNSETOFFLOAD takes its argument by value; no memory of ours is touched.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, bits) };
    Errno::result(result)?;
    Ok(())
}

/// `TUNSETPERSIST`: whether the interface stays when nobody has it open.
pub(super) fn set_persistent(fd: BorrowedFd<'_>, persistent: bool) -> io::Result<()> {
    let value = libc::c_ulong::from(persistent);
    // SAFETY: TUNSETPERSIST takes its argument by value; no memory of ours is touched.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, value) };
    Errno::result(result)?;
    Ok(())
}
