//! A segment in one line, for people.

use core::fmt;

use super::{Flags, Options};

/// A segment with numbers relative to the initial ones, printed as
/// `TCP SYN,ACK seq 0 ack 1 win 65535 <mss 1460,sackOK,ts,ws 7>`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The control bits.
    pub flags: Flags,
    /// Stream offset of the first byte.
    pub seq: u64,
    /// Stream offset that is awaited next; printed with ACK only.
    pub ack: u64,
    /// The window in bytes, scaled.
    pub window: u32,
    /// Bytes of data; printed when there are any.
    pub len: u32,
    /// The options.
    pub options: Options,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TCP {} seq {}", self.flags, self.seq)?;
        if self.flags.contains(Flags::ACK) {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.window)?;
        if self.len > 0 {
            write!(f, " len {}", self.len)?;
        }
        write_options(&self.options, f)
    }
}

/// `` when there are none, ` <mss 1460,sackOK,ts,ws 7>` with some.
fn write_options(options: &Options, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut lead = " <";
    let mut next = || core::mem::replace(&mut lead, ",");
    if let Some(mss) = options.mss {
        write!(f, "{}mss {mss}", next())?;
    }
    if options.sack_permitted {
        write!(f, "{}sackOK", next())?;
    }
    if options.timestamps.is_some() {
        write!(f, "{}ts", next())?;
    }
    if let Some(shift) = options.window_scale {
        write!(f, "{}ws {shift}", next())?;
    }
    match &options.fast_open {
        Some(option) if option.is_request() => write!(f, "{}tfo request", next())?,
        Some(_) => write!(f, "{}tfo cookie", next())?,
        None => {}
    }
    if !options.sack.is_empty() {
        write!(f, "{}sack {}", next(), options.sack.len())?;
    }
    if lead == "," {
        f.write_str(">")?;
    }
    Ok(())
}
