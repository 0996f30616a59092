//! Messages of netlink (RFC 3549 section 2): a header, a fixed part, attributes. All in the byte order
//! of the machine, all at multiples of four bytes.

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// A request under construction.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of `kind` (`RTM_*`) with `flags` (`NLM_F_*`), its fixed part being `fixed`.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Request {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut request = Request { bytes };
        request.pad();
        request
    }

    /// Appends an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Request {
        // Values are names, addresses and numbers: far below 64 KiB.
        let len = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends an attribute of four bytes.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Request {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Appends bytes that are no attribute: the fixed part with which some nested ones begin.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Request {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute that is made of what `fill` appends.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Request)) -> &mut Request {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self);
        let len = self.bytes.len().saturating_sub(start);
        // As with the values of single attributes.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let head = start..start.saturating_add(4);
        if let Some((to_len, to_kind)) = self
            .bytes
            .get_mut(head)
            .and_then(|h| h.split_at_mut_checked(2))
        {
            to_len.copy_from_slice(&len.to_ne_bytes());
            to_kind.copy_from_slice(&kind.to_ne_bytes());
        }
        self
    }

    /// The bytes to send, with their length and the sequence number filled in.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(0..4) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
        if let Some(field) = self.bytes.get_mut(8..12) {
            field.copy_from_slice(&sequence.to_ne_bytes());
        }
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A message of the kernel's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    /// What follows the header.
    pub(super) body: &'a [u8],
}

/// The messages of one datagram, in order; ends early where one is cut off.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            sequence: u32_at(bytes, 8)?,
            body: bytes.get(HEADER..len)?,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind a fixed part, as kind and value; ends early where one is cut off.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        // The upper two bits say "nested" and "in network byte order".
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_as_the_kernel_would_read_it() {
        let mut request = Request::new(20, 5, &[1, 2, 3, 4]);
        request.attribute(3, b"weir0\0").number(4, 1500);
        let bytes = request.finish(7);
        assert_eq!(bytes.len(), 16 + 4 + 12 + 8);
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].sequence), (20, 7));
        assert_eq!(all[0].body[..4], [1, 2, 3, 4]);
        let attributes: Vec<_> = attributes(&all[0].body[4..]).collect();
        assert_eq!(attributes[0], (3, &b"weir0\0"[..]));
        assert_eq!(attributes[1], (4, &1500u32.to_ne_bytes()[..]));
    }

    #[test]
    fn an_attribute_of_attributes_is_as_long_as_they_are() {
        let mut request = Request::new(20, 5, &[1, 2, 3, 4]);
        request.nested(18, |inner| {
            inner.raw(&[9; 16]).attribute(3, b"weir0\0");
        });
        request.number(4, 1500);
        let bytes = request.finish(7);
        let message = messages(&bytes).next().unwrap();
        let all: Vec<_> = attributes(&message.body[4..]).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0, all[0].1.len()), (18, 16 + 12));
        let inner: Vec<_> = attributes(&all[0].1[16..]).collect();
        assert_eq!(inner[0], (3, &b"weir0\0"[..]));
        assert_eq!(all[1], (4, &1500u32.to_ne_bytes()[..]));
    }

    #[test]
    fn what_is_cut_off_ends_the_list() {
        let bytes = Request::new(20, 5, &[1, 2, 3, 4]).finish(7);
        for cut in 0..bytes.len() {
            assert_eq!(messages(&bytes[..cut]).count(), 0, "{cut}");
        }
        // Lengths that cannot be: shorter than the header itself.
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
    }
}
