//! Interfaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

use super::message::{Message, Request, attributes, u32_at};
use super::{ADD, CHANGE, LIST, Netlink, refused};
use crate::SystemError;

/// Bytes of `struct ifinfomsg`.
const FIXED: usize = 16;

/// `VETH_INFO_PEER` (`linux/veth.h`): the other end of a pair.
const VETH_INFO_PEER: u16 = 1;

/// One end of a pair of interfaces to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairEnd {
    /// Its Ethernet address.
    pub(crate) address: [u8; 6],
    /// Flags that it begins with (`IFF_*`).
    pub(crate) flags: libc::c_int,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, by which all else names it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its largest packet in bytes, without what the link puts before it.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
}

impl Netlink {
    /// All interfaces.
    ///
    /// # Errors
    /// What the system says.
    pub fn links(&mut self) -> Result<Vec<Link>, SystemError> {
        let request = Request::new(libc::RTM_GETLINK, LIST, &[0; FIXED]);
        let mut links = Vec::new();
        self.exchange(request, |message| links.extend(read(message)))
            .map_err(|error| refused("list the interfaces".to_owned(), error))?;
        Ok(links)
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// There is none; what the system says.
    pub fn link(&mut self, name: &str) -> Result<Link, SystemError> {
        let doing = || format!("find the interface `{name}`");
        let links = self.links()?;
        links
            .into_iter()
            .find(|l| l.name == name)
            .ok_or_else(|| refused(doing(), io::Error::from_raw_os_error(libc::ENODEV)))
    }

    /// Brings an interface up or down.
    ///
    /// # Errors
    /// Names the interface and what the system says.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<(), SystemError> {
        let flag = libc::IFF_UP as u32;
        let request = Request::new(
            libc::RTM_NEWLINK,
            CHANGE,
            &fixed(index, if up { flag } else { 0 }, flag),
        );
        self.execute(request).map_err(|error| {
            let way = if up { "up" } else { "down" };
            refused(format!("bring interface {index} {way}"), error)
        })
    }

    /// Sets the largest packet of an interface, in bytes.
    ///
    /// # Errors
    /// Names the interface, the size and what the system says.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), SystemError> {
        let mut request = Request::new(libc::RTM_NEWLINK, CHANGE, &fixed(index, 0, 0));
        request.number(libc::IFLA_MTU, mtu);
        self.execute(request)
            .map_err(|error| refused(format!("set an MTU of {mtu} on interface {index}"), error))
    }

    /// Makes a pair of Ethernet interfaces of one name (veth): what one sends the other receives. The near
    /// end comes to be in the network namespace of `there`, the far end in this one.
    pub(crate) fn add_pair(
        &mut self,
        name: &str,
        mtu: u32,
        far: PairEnd,
        near: PairEnd,
        there: BorrowedFd<'_>,
    ) -> Result<(), SystemError> {
        let end = |request: &mut Request, end: PairEnd| {
            request
                .attribute(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
                .number(libc::IFLA_MTU, mtu)
                .attribute(libc::IFLA_ADDRESS, &end.address);
        };
        // The numbers of flags are positive.
        let head = |end: PairEnd| fixed(0, end.flags as u32, end.flags as u32);
        let mut request = Request::new(libc::RTM_NEWLINK, ADD, &head(far));
        end(&mut request, far);
        request.nested(libc::IFLA_LINKINFO, |info| {
            info.attribute(libc::IFLA_INFO_KIND, b"veth\0");
            info.nested(libc::IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.raw(&head(near));
                    end(peer, near);
                    // Numbers of files are not negative.
                    peer.number(libc::IFLA_NET_NS_FD, there.as_raw_fd() as u32);
                });
            });
        });
        self.execute(request).map_err(|error| {
            let lacking = error.raw_os_error() == Some(libc::EOPNOTSUPP);
            let hint = lacking.then(|| "the kernel's veth driver is missing".to_owned());
            refused(format!("make the veth pair `{name}`"), error).maybe_hint(hint)
        })
    }

    /// Removes an interface, as far as it is one that can be removed.
    ///
    /// # Errors
    /// Names the interface and what the system says.
    pub fn delete_link(&mut self, index: u32) -> Result<(), SystemError> {
        let request = Request::new(libc::RTM_DELLINK, CHANGE, &fixed(index, 0, 0));
        self.execute(request)
            .map_err(|error| refused(format!("remove interface {index}"), error))
    }
}

/// `struct ifinfomsg`: family, pad, type, index, flags, mask of the flags that change.
fn fixed(index: u32, flags: u32, change: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    let fields = [0u32, index, flags, change];
    for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

fn read(message: Message<'_>) -> Option<Link> {
    let body = message.body;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        mtu: 0,
        up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
    };
    for (kind, value) in attributes(body.get(FIXED..)?) {
        match kind {
            libc::IFLA_IFNAME => {
                let name: Vec<u8> = value.iter().copied().take_while(|b| *b != 0).collect();
                link.name = String::from_utf8_lossy(&name).into_owned();
            }
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}
