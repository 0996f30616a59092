//! Addresses of interfaces.

use nix::libc;

use super::message::{Message, Request, attributes, u8_at, u32_at};
use super::{ADD, CHANGE, LIST, Netlink, address_of, family, octets, refused};
use crate::{Cidr, SystemError};

/// Bytes of `struct ifaddrmsg`.
const FIXED: usize = 8;

/// An address that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface.
    pub index: u32,
    /// The address in its network.
    pub address: Cidr,
}

impl Netlink {
    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&mut self) -> Result<Vec<InterfaceAddress>, SystemError> {
        let request = Request::new(libc::RTM_GETADDR, LIST, &[0; FIXED]);
        let mut addresses = Vec::new();
        self.exchange(request, |message| addresses.extend(read(message)))
            .map_err(|error| refused("list the addresses".to_owned(), error))?;
        Ok(addresses)
    }

    /// Gives an interface an address, and the route to its network with it. IPv6 addresses are in use at
    /// once, without looking whether another machine has them (RFC 4862 section 5.4): at the other end
    /// of a tunnel there is nobody who could.
    ///
    /// # Errors
    /// Names address and interface, and what the system says.
    pub fn add_address(&mut self, index: u32, address: Cidr) -> Result<(), SystemError> {
        self.change(libc::RTM_NEWADDR, ADD, index, address)
            .map_err(|error| {
                refused(
                    format!("give interface {index} the address {address}"),
                    error,
                )
            })
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// Names address and interface, and what the system says.
    pub fn delete_address(&mut self, index: u32, address: Cidr) -> Result<(), SystemError> {
        self.change(libc::RTM_DELADDR, CHANGE, index, address)
            .map_err(|error| {
                refused(
                    format!("take the address {address} from interface {index}"),
                    error,
                )
            })
    }

    fn change(&mut self, kind: u16, flags: u16, index: u32, address: Cidr) -> std::io::Result<()> {
        let no_dad = if address.address.is_ipv6() {
            // 2: fits.
            libc::IFA_F_NODAD as u8
        } else {
            0
        };
        let mut fixed = [0; FIXED];
        let (head, tail) = fixed.split_at_mut(4);
        head.copy_from_slice(&[family(address.address), address.bits, no_dad, 0]);
        tail.copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(kind, flags, &fixed);
        let (bytes, len) = octets(address.address);
        let value = bytes.get(..len).unwrap_or_default();
        request.attribute(libc::IFA_LOCAL, value);
        request.attribute(libc::IFA_ADDRESS, value);
        self.execute(request)
    }
}

fn read(message: Message<'_>) -> Option<InterfaceAddress> {
    let body = message.body;
    let (bits, index) = (u8_at(body, 1)?, u32_at(body, 4)?);
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(body.get(FIXED..)?) {
        match kind {
            libc::IFA_LOCAL => local = address_of(value),
            // On point-to-point links the peer's; else the same as the local one, or the only one.
            libc::IFA_ADDRESS => address = address_of(value),
            _ => {}
        }
    }
    Some(InterfaceAddress {
        index,
        address: Cidr::new(local.or(address)?, bits)?,
    })
}
