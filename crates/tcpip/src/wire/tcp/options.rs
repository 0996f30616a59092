//! TCP options (RFC 9293 3.2, RFC 2018, RFC 7323, RFC 7413).

/// Bytes that options have at most: a header is 60 at most.
const MAX_LEN: usize = 40;
/// The largest window shift; more is taken as this (RFC 7323 2.3, T113).
pub const MAX_WINDOW_SHIFT: u8 = 14;
/// Blocks that fit into one option.
const MAX_BLOCKS: usize = 4;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const FAST_OPEN: u8 = 34;

/// What the options of a segment say.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum Segment Size (SYN only).
    pub mss: Option<u16>,
    /// Window Scale shift, at most 14 (SYN only).
    pub window_scale: Option<u8>,
    /// SACK-permitted (SYN only).
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks.
    pub sack: SackBlocks,
    /// TCP Fast Open cookie, or the request for one (SYN only).
    pub fast_open: Option<FastOpen>,
}

/// The Timestamps option (RFC 7323 3).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub value: u32,
    /// TSecr: the receiver's clock as the sender last saw it; means something with ACK only.
    pub echo: u32,
}

/// SACK blocks: sequence numbers of the first byte and of the one behind the last (RFC 2018 3).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    len: u8,
    blocks: [(u32, u32); MAX_BLOCKS],
}

impl SackBlocks {
    /// No block.
    pub const NONE: SackBlocks = SackBlocks {
        len: 0,
        blocks: [(0, 0); MAX_BLOCKS],
    };

    /// Appends one. False when there are four already.
    pub fn push(&mut self, left: u32, right: u32) -> bool {
        let Some(place) = self.blocks.get_mut(usize::from(self.len)) else {
            return false;
        };
        *place = (left, right);
        self.len = self.len.saturating_add(1);
        true
    }

    /// The blocks as they stand in the option, unchecked.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        self.blocks.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// How many.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// True when there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The Fast Open option (RFC 7413 4.1.1).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct FastOpen {
    len: u8,
    bytes: [u8; FastOpen::MAX_LEN],
}

impl FastOpen {
    /// Bytes of the longest cookie.
    pub const MAX_LEN: usize = 16;
    /// The empty option: the request for a cookie.
    pub const REQUEST: FastOpen = FastOpen {
        len: 0,
        bytes: [0; FastOpen::MAX_LEN],
    };

    /// A cookie of 4 to 16 bytes, an even number, or the request when empty.
    #[must_use]
    pub fn new(cookie: &[u8]) -> Option<FastOpen> {
        if !matches!(cookie.len(), 0 | 4 | 6 | 8 | 10 | 12 | 14 | 16) {
            return None;
        }
        let mut bytes = [0; FastOpen::MAX_LEN];
        bytes.get_mut(..cookie.len())?.copy_from_slice(cookie);
        Some(FastOpen {
            len: u8::try_from(cookie.len()).ok()?,
            bytes,
        })
    }

    /// The cookie; empty when this is the request for one.
    #[must_use]
    pub fn cookie(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// True when this asks for a cookie.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }
}

impl Options {
    /// Reads the bytes behind the first 20 of a header. Options of a SYN that stand elsewhere are
    /// passed over (T96, T113), as are those with a length that is not theirs; the list ends at kind
    /// 0 and at the first length that cannot be, and what was read before counts (T5).
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8], syn: bool) -> Options {
        // What nearly every segment of a connection has (RFC 7323 A).
        if let [NOP, NOP, TIMESTAMPS, 10, data @ ..] = bytes
            && let Ok(data) = <&[u8; 8]>::try_from(data)
        {
            return Options {
                timestamps: Some(Timestamps::parse(data)),
                ..Options::default()
            };
        }
        if bytes.is_empty() {
            return Options::default();
        }
        Options::parse_any(bytes, syn)
    }

    fn parse_any(mut bytes: &[u8], syn: bool) -> Options {
        let mut options = Options::default();
        loop {
            match bytes {
                [] | [END, ..] => return options,
                [NOP, rest @ ..] => bytes = rest,
                [kind, len, ..] => {
                    let Some((option, rest)) = bytes.split_at_checked(usize::from(*len)) else {
                        return options;
                    };
                    let Some(data) = option.get(2..) else {
                        return options;
                    };
                    options.take(*kind, data, syn);
                    bytes = rest;
                }
                [_] => return options,
            }
        }
    }

    fn take(&mut self, kind: u8, data: &[u8], syn: bool) {
        match (kind, data) {
            (MSS, [high, low]) if syn => self.mss = Some(u16::from_be_bytes([*high, *low])),
            (WINDOW_SCALE, [shift]) if syn => {
                self.window_scale = Some((*shift).min(MAX_WINDOW_SHIFT));
            }
            (SACK_PERMITTED, []) if syn => self.sack_permitted = true,
            (FAST_OPEN, cookie) if syn => {
                self.fast_open = FastOpen::new(cookie).or(self.fast_open);
            }
            (TIMESTAMPS, data) => {
                if let Ok(data) = <&[u8; 8]>::try_from(data) {
                    self.timestamps = Some(Timestamps::parse(data));
                }
            }
            (SACK, data) => {
                let (blocks, rest) = data.as_chunks::<8>();
                if rest.is_empty() {
                    self.sack = SackBlocks::NONE;
                    for [a, b, c, d, e, f, g, h] in blocks {
                        let left = u32::from_be_bytes([*a, *b, *c, *d]);
                        self.sack.push(left, u32::from_be_bytes([*e, *f, *g, *h]));
                    }
                }
            }
            _ => {}
        }
    }

    /// The timestamps, if they are all there is to write.
    #[inline]
    pub(super) fn only_timestamps(&self) -> Option<Timestamps> {
        let others = self.mss.is_some()
            | self.window_scale.is_some()
            | self.sack_permitted
            | self.fast_open.is_some()
            | (self.sack.len != 0);
        self.timestamps.filter(|_| !others)
    }

    /// Bytes of the options as [`write`](Options::write) puts them, padding included: 0..=40.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        let mut len = self.fixed_len();
        let blocks = self.written_blocks(len);
        if blocks > 0 {
            len = len.saturating_add(4).saturating_add(blocks << 3);
        }
        len.min(MAX_LEN)
    }

    /// True when there are none to write.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many SACK blocks are written beside the other options.
    #[inline]
    #[must_use]
    pub fn sack_room(&self) -> usize {
        let room = MAX_LEN.saturating_sub(self.fixed_len()).saturating_sub(4);
        (room >> 3).min(MAX_BLOCKS)
    }

    #[inline]
    fn written_blocks(&self, fixed: usize) -> usize {
        let room = MAX_LEN.saturating_sub(fixed).saturating_sub(4) >> 3;
        self.sack.len().min(room)
    }

    /// Bytes of everything but SACK blocks.
    #[inline]
    fn fixed_len(&self) -> usize {
        let mut len = 0_usize;
        if self.mss.is_some() {
            len = len.saturating_add(4);
        }
        if self.timestamps.is_some() {
            len = len.saturating_add(12);
        } else if self.sack_permitted {
            len = len.saturating_add(4);
        }
        if self.window_scale.is_some() {
            len = len.saturating_add(4);
        }
        if let Some(fast_open) = &self.fast_open {
            len = len.saturating_add(usize::from(fast_open.len).saturating_add(5) & !3);
        }
        len
    }

    /// Appends the options in the order that middleboxes are used to (T7): MSS, SACK-permitted,
    /// Timestamps, NOP, Window Scale, Fast Open; without SYN, NOP, NOP, Timestamps, NOP, NOP, SACK.
    /// SACK blocks that do not fit are left out from the end.
    pub fn write(&self, out: &mut Vec<u8>) {
        if let Some(mss) = self.mss {
            let mss = mss.to_be_bytes();
            out.extend_from_slice(&[MSS, 4, mss[0], mss[1]]);
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            let lead = if self.sack_permitted {
                [SACK_PERMITTED, 2]
            } else {
                [NOP, NOP]
            };
            let (value, echo) = (value.to_be_bytes(), echo.to_be_bytes());
            out.extend_from_slice(&[
                lead[0], lead[1], TIMESTAMPS, 10, value[0], value[1], value[2], value[3], echo[0],
                echo[1], echo[2], echo[3],
            ]);
        } else if self.sack_permitted {
            out.extend_from_slice(&[NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            out.extend_from_slice(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        self.write_long(out);
    }

    /// The options of few segments: Fast Open and SACK.
    fn write_long(&self, out: &mut Vec<u8>) {
        if let Some(fast_open) = &self.fast_open {
            let cookie = fast_open.cookie();
            out.extend_from_slice(&[FAST_OPEN, fast_open.len.saturating_add(2)]);
            out.extend_from_slice(cookie);
            if cookie.len() & 2 == 0 {
                out.extend_from_slice(&[NOP, NOP]);
            }
        }
        let blocks = self.written_blocks(self.fixed_len());
        if blocks > 0 {
            let len = u8::try_from(blocks << 3).unwrap_or(0).saturating_add(2);
            out.extend_from_slice(&[NOP, NOP, SACK, len]);
            for (left, right) in self.sack.as_slice().iter().take(blocks) {
                out.extend_from_slice(&left.to_be_bytes());
                out.extend_from_slice(&right.to_be_bytes());
            }
        }
    }
}

impl Timestamps {
    /// What the option begins with where there is no other (RFC 7323 appendix A).
    pub(super) const ALONE: [u8; 4] = [NOP, NOP, TIMESTAMPS, 10];

    /// Bytes of the option with its padding.
    pub(super) const LEN: usize = 12;

    /// As it stands on the wire where it is alone.
    #[inline]
    pub(super) const fn padded(self) -> [u8; Timestamps::LEN] {
        let ([a, b, c, d], [e, f, g, h]) = (self.value.to_be_bytes(), self.echo.to_be_bytes());
        let [i, j, k, l] = Timestamps::ALONE;
        [i, j, k, l, a, b, c, d, e, f, g, h]
    }

    #[inline]
    fn parse(data: &[u8; 8]) -> Timestamps {
        Timestamps {
            value: u32::from_be_bytes([data[0], data[1], data[2], data[3]]),
            echo: u32::from_be_bytes([data[4], data[5], data[6], data[7]]),
        }
    }
}
