//! Extension headers (RFC 8200 4): walked in one place, within a bound, and judged as the RFC says.

use crate::limits::{MAX_EXTENSION_HEADERS, MAX_EXTENSION_OPTIONS};
use crate::wire::protocol;

/// Bytes of a Fragment header.
pub const FRAGMENT_LEN: usize = 8;
/// Where Next Header lies in the fixed header.
const FIRST_NEXT_HEADER: usize = 6;
/// Where Payload Length lies in the fixed header.
const PAYLOAD_LENGTH: u32 = 4;

/// One header behind the fixed one. Places are counted in bytes from the beginning of the packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Extension<'a> {
    /// Hop-by-Hop Options, only ever the first.
    HopByHop(Options<'a>),
    /// A Routing header.
    Routing(Routing),
    /// A Fragment header. What follows it belongs to the fragment's datagram, so the walk ends here.
    Fragment(Fragment<'a>),
    /// Destination Options.
    DestinationOptions(Options<'a>),
    /// No extension header: what the packet carries. The last item.
    Upper(Upper<'a>),
}

/// What a packet carries behind its extension headers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// The number of the upper layer, possibly one that nobody knows.
    pub protocol: u8,
    /// Where it begins in the packet.
    pub offset: usize,
    /// Where the Next Header field stands that named it: the pointer for a Parameter Problem.
    pub named_at: usize,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// A Routing header, as far as a host needs it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Routing Type; 0 is deprecated (RFC 5095).
    pub kind: u8,
    /// Nodes still to be visited; a host takes only 0.
    pub segments_left: u8,
    /// Where the header begins in the packet.
    pub offset: usize,
}

/// A part of a datagram (RFC 8200 4.5).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// What the datagram's fragmentable part begins with.
    pub next_header: u8,
    /// Where that number stands in the packet.
    pub named_at: usize,
    /// Where the part lies in the datagram, in bytes; a multiple of 8.
    pub fragment_offset: u16,
    /// More parts follow this one.
    pub more_fragments: bool,
    /// Which datagram of its source and destination it belongs to.
    pub id: u32,
    /// Where the Fragment header begins in the packet.
    pub offset: usize,
    /// The part's bytes.
    pub payload: &'a [u8],
}

impl Fragment<'_> {
    /// A whole datagram that bears a Fragment header all the same: taken alone, never matched with
    /// parts of the same Identification (RFC 6946, T140).
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.fragment_offset == 0 && !self.more_fragments
    }

    /// The two lengths that no fragment may have (RFC 8200 4.5): one that is not the last and no
    /// multiple of 8 bytes, and one that ends beyond 65,535.
    ///
    /// # Errors
    ///
    /// The Parameter Problem to answer with.
    pub fn check(&self) -> Result<(), Rejected> {
        if self.more_fragments && self.payload.len() & 7 != 0 {
            return Err(Rejected::problem(0, PAYLOAD_LENGTH));
        }
        let end = usize::from(self.fragment_offset).saturating_add(self.payload.len());
        if end > usize::from(u16::MAX) {
            return Err(Rejected::problem(0, pointer(self.offset.saturating_add(2))));
        }
        Ok(())
    }
}

/// Why a packet with extension headers is not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Without a word.
    Silently,
    /// With an ICMPv6 Parameter Problem to its source (RFC 4443 3.4).
    ParameterProblem {
        /// 0 erroneous field, 1 unknown next header, 2 unknown option.
        code: u8,
        /// Where in the packet the trouble lies, in bytes.
        pointer: u32,
        /// To be sent even if the packet's destination was a multicast address.
        even_to_multicast: bool,
    },
}

impl Rejected {
    const fn problem(code: u8, pointer: u32) -> Rejected {
        Rejected::ParameterProblem {
            code,
            pointer,
            even_to_multicast: false,
        }
    }
}

/// A walk over the headers of one packet.
#[derive(Copy, Clone, Debug)]
pub struct Extensions<'a> {
    next_header: u8,
    named_at: usize,
    offset: usize,
    rest: &'a [u8],
    left: usize,
    ended: bool,
}

/// Walks the headers behind the fixed one: `next_header` and `payload` as [`parse`](super::parse)
/// gives them.
///
/// An `Err` item ends the walk and says what to do with the packet. The walk is bounded by
/// [`MAX_EXTENSION_HEADERS`], and each header's options by [`MAX_EXTENSION_OPTIONS`]
/// (RFC 8504 5.3 allows both).
#[must_use]
pub const fn extensions(next_header: u8, payload: &[u8]) -> Extensions<'_> {
    Extensions {
        next_header,
        named_at: FIRST_NEXT_HEADER,
        offset: super::HEADER_LEN,
        rest: payload,
        left: MAX_EXTENSION_HEADERS,
        ended: false,
    }
}

/// Continues such a walk inside a reassembled datagram, or an atomic fragment: `payload` is its
/// fragmentable part.
#[must_use]
pub const fn extensions_of<'a>(fragment: &Fragment<'a>) -> Extensions<'a> {
    Extensions {
        next_header: fragment.next_header,
        named_at: fragment.named_at,
        offset: fragment.offset.saturating_add(FRAGMENT_LEN),
        rest: fragment.payload,
        left: MAX_EXTENSION_HEADERS,
        ended: false,
    }
}

impl<'a> Extensions<'a> {
    /// Judges every header up to the upper layer, or up to a Fragment header, as a host does: unknown
    /// options by their action bits, Hop-by-Hop Options anywhere but first, Routing headers with
    /// segments left (T139).
    ///
    /// # Errors
    ///
    /// What to do instead of delivering the packet.
    pub fn judge(self) -> Result<Extension<'a>, Rejected> {
        for extension in self {
            match extension? {
                Extension::HopByHop(options) | Extension::DestinationOptions(options) => {
                    options.check()?;
                }
                // RFC 8200 4.4: none is known, so a type with segments left is unrecognised.
                Extension::Routing(routing) if routing.segments_left > 0 => {
                    return Err(Rejected::problem(
                        0,
                        pointer(routing.offset.saturating_add(2)),
                    ));
                }
                Extension::Routing(_) => {}
                last @ (Extension::Fragment(_) | Extension::Upper(_)) => return Ok(last),
            }
        }
        Err(Rejected::Silently)
    }

    fn step(&mut self) -> Result<Extension<'a>, Rejected> {
        let (offset, named_at) = (self.offset, self.named_at);
        match self.next_header {
            protocol::HOP_BY_HOP if named_at != FIRST_NEXT_HEADER => {
                Err(Rejected::problem(1, pointer(named_at)))
            }
            protocol::HOP_BY_HOP => {
                let (_, options) = self.take()?;
                Ok(Extension::HopByHop(Options::new(options, offset)))
            }
            protocol::DESTINATION_OPTIONS => {
                let (_, options) = self.take()?;
                Ok(Extension::DestinationOptions(Options::new(options, offset)))
            }
            protocol::ROUTING => {
                let (fixed, _) = self.take()?;
                Ok(Extension::Routing(Routing {
                    kind: fixed[2],
                    segments_left: fixed[3],
                    offset,
                }))
            }
            protocol::FRAGMENT => self.fragment(),
            protocol => {
                self.ended = true;
                Ok(Extension::Upper(Upper {
                    protocol,
                    offset,
                    named_at,
                    payload: self.rest,
                }))
            }
        }
    }

    /// One header of the common form: its first 8 bytes, and what stands behind the first two.
    fn take(&mut self) -> Result<(&'a [u8; 8], &'a [u8]), Rejected> {
        self.left = self.left.checked_sub(1).ok_or(Rejected::Silently)?;
        let fixed: &[u8; 8] = self.rest.first_chunk().ok_or(Rejected::Silently)?;
        let len = usize::from(fixed[1]).saturating_add(1) << 3;
        let (header, rest) = self.rest.split_at_checked(len).ok_or(Rejected::Silently)?;
        self.next_header = fixed[0];
        self.named_at = self.offset;
        self.offset = self.offset.saturating_add(len);
        self.rest = rest;
        Ok((fixed, header.get(2..).unwrap_or_default()))
    }

    fn fragment(&mut self) -> Result<Extension<'a>, Rejected> {
        self.ended = true;
        let (fixed, payload) = self
            .rest
            .split_first_chunk::<FRAGMENT_LEN>()
            .ok_or(Rejected::Silently)?;
        let place = u16::from_be_bytes([fixed[2], fixed[3]]);
        Ok(Extension::Fragment(Fragment {
            next_header: fixed[0],
            named_at: self.offset,
            fragment_offset: place & 0xfff8,
            more_fragments: place & 1 != 0,
            id: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            offset: self.offset,
            payload,
        }))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Rejected>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended |= step.is_err();
        Some(step)
    }
}

/// The whole way in one call: what the packet carries, every header in front of it judged.
///
/// # Errors
///
/// As [`Extensions::judge`].
#[inline]
pub fn upper(next_header: u8, payload: &[u8]) -> Result<Extension<'_>, Rejected> {
    extensions(next_header, payload).judge()
}

/// What to do about an option that is not known: the two highest bits of its type (RFC 8200 4.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OptionAction {
    /// Pass over it.
    Skip,
    /// Drop the packet.
    Discard,
    /// Drop it and tell its source, whatever its destination was.
    DiscardAndTell,
    /// Drop it and tell its source, unless its destination was a multicast address.
    DiscardAndTellUnlessMulticast,
}

/// An option of a Hop-by-Hop or Destination Options header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HeaderOption<'a> {
    /// The whole type byte, action bits among it.
    pub kind: u8,
    /// What stands behind type and length.
    pub data: &'a [u8],
    /// Where its type byte stands in the packet.
    pub offset: usize,
}

impl HeaderOption<'_> {
    /// Router Alert (RFC 2711).
    pub const ROUTER_ALERT: u8 = 5;

    /// What its type says is to be done by a node that does not know it.
    #[must_use]
    pub const fn action(&self) -> OptionAction {
        match self.kind >> 6 {
            0 => OptionAction::Skip,
            1 => OptionAction::Discard,
            2 => OptionAction::DiscardAndTell,
            _ => OptionAction::DiscardAndTellUnlessMulticast,
        }
    }
}

/// The options of one header, padding left out. Ends at one that runs past its header, with an `Err`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Options<'a> {
    /// `bytes` stand behind the first two of the header that begins at `header`.
    const fn new(bytes: &'a [u8], header: usize) -> Options<'a> {
        Options {
            rest: bytes,
            offset: header.saturating_add(2),
        }
    }

    /// Judges every option: none is known that a host must act upon, so the action bits decide.
    fn check(self) -> Result<(), Rejected> {
        for (count, option) in self.enumerate() {
            let option = option?;
            if count >= MAX_EXTENSION_OPTIONS {
                return Err(Rejected::Silently);
            }
            let even_to_multicast = match option.action() {
                OptionAction::Skip => continue,
                OptionAction::Discard => return Err(Rejected::Silently),
                OptionAction::DiscardAndTell => true,
                OptionAction::DiscardAndTellUnlessMulticast => false,
            };
            return Err(Rejected::ParameterProblem {
                code: 2,
                pointer: pointer(option.offset),
                even_to_multicast,
            });
        }
        Ok(())
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<HeaderOption<'a>, Rejected>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&kind, rest) = self.rest.split_first()?;
            let offset = self.offset;
            if kind == 0 {
                self.rest = rest;
                self.offset = offset.saturating_add(1);
                continue;
            }
            let Some((len, data, behind)) = rest.split_first().and_then(|(&len, rest)| {
                let (data, behind) = rest.split_at_checked(usize::from(len))?;
                Some((usize::from(len), data, behind))
            }) else {
                self.rest = &[];
                return Some(Err(Rejected::Silently));
            };
            self.rest = behind;
            self.offset = offset.saturating_add(len).saturating_add(2);
            if kind != 1 {
                return Some(Ok(HeaderOption { kind, data, offset }));
            }
        }
    }
}

/// Appends a Fragment header.
pub fn write_fragment(
    next_header: u8,
    fragment_offset: u16,
    more_fragments: bool,
    id: u32,
    out: &mut Vec<u8>,
) {
    let place = ((fragment_offset & 0xfff8) | u16::from(more_fragments)).to_be_bytes();
    out.extend_from_slice(&[next_header, 0, place[0], place[1]]);
    out.extend_from_slice(&id.to_be_bytes());
}

fn pointer(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
