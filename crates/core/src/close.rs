//! Why something ended, in one type for every engine.

use core::fmt;
use std::borrow::Cow;

use crate::limits::MAX_REASON_BYTES;

/// Who ended it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Initiator {
    /// This side decided to.
    Local,
    /// The peer said so.
    Peer,
    /// What is below broke: a socket error, an end of file, a path that is gone.
    Carrier,
    /// Nobody said anything for too long.
    Timer,
}

impl Initiator {
    /// The word used in traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Initiator::Local => "local",
            Initiator::Peer => "peer",
            Initiator::Carrier => "carrier",
            Initiator::Timer => "timer",
        }
    }
}

/// What gave the reason, and so what `code` means.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The socket or device below; `code` is the operating system's error number, or 0.
    Carrier,
    /// The security handshake or record layer; `code` is its alert number.
    Security,
    /// The transport protocol; `code` is one of its error codes.
    Transport,
    /// The application; `code` is its own.
    Application,
}

impl Layer {
    /// The word used in traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Carrier => "carrier",
            Layer::Security => "security",
            Layer::Transport => "transport",
            Layer::Application => "application",
        }
    }
}

/// The frame that a rule was broken with.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum FrameName {
    /// A type that has a name.
    Known(&'static str),
    /// A type that has none, by its number on the wire.
    Unknown(u64),
}

impl fmt::Display for FrameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameName::Known(name) => f.write_str(name),
            FrameName::Unknown(number) => write!(f, "type {number:#x}"),
        }
    }
}

impl From<&'static str> for FrameName {
    fn from(name: &'static str) -> FrameName {
        FrameName::Known(name)
    }
}

impl From<u64> for FrameName {
    fn from(number: u64) -> FrameName {
        FrameName::Unknown(number)
    }
}

/// Why a connection or session ended.
///
/// `Display` says it in words for a person. A peer's text is shown with its control characters
/// escaped and is kept to [`MAX_REASON_BYTES`], so it can neither rewrite a terminal nor fill a
/// log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloseReason {
    /// Who ended it.
    pub by: Initiator,
    /// Which layer's vocabulary `code` is from.
    pub layer: Layer,
    /// The code, in the layer's numbering. 0 is no error in every protocol spoken here.
    pub code: u64,
    /// The frame that broke a rule, when there was one.
    pub frame: Option<FrameName>,
    /// What happened, in words. May be empty.
    pub reason: Cow<'static, str>,
}

impl CloseReason {
    /// A reason without a frame. `reason` is cut to [`MAX_REASON_BYTES`] at a character boundary.
    #[must_use]
    pub fn new(
        by: Initiator,
        layer: Layer,
        code: u64,
        reason: impl Into<Cow<'static, str>>,
    ) -> CloseReason {
        CloseReason {
            by,
            layer,
            code,
            frame: None,
            reason: cut(reason.into()),
        }
    }

    /// This side or the peer ended it as an application does, with the application's own code.
    #[must_use]
    pub fn application(
        by: Initiator,
        code: u64,
        reason: impl Into<Cow<'static, str>>,
    ) -> CloseReason {
        CloseReason::new(by, Layer::Application, code, reason)
    }

    /// A rule of the transport protocol was broken (or its graceful end was announced).
    #[must_use]
    pub fn transport(
        by: Initiator,
        code: u64,
        reason: impl Into<Cow<'static, str>>,
    ) -> CloseReason {
        CloseReason::new(by, Layer::Transport, code, reason)
    }

    /// What is below broke.
    #[must_use]
    pub fn carrier(reason: impl Into<Cow<'static, str>>) -> CloseReason {
        CloseReason::new(Initiator::Carrier, Layer::Carrier, 0, reason)
    }

    /// A timer of the transport ran out.
    #[must_use]
    pub fn timed_out(reason: impl Into<Cow<'static, str>>) -> CloseReason {
        CloseReason::new(Initiator::Timer, Layer::Transport, 0, reason)
    }

    /// The same reason with the frame that it happened in.
    #[must_use]
    pub fn in_frame(mut self, frame: impl Into<FrameName>) -> CloseReason {
        self.frame = Some(frame.into());
        self
    }

    /// True when somebody closed on purpose and without an error (code 0 of the transport or the
    /// application, by this side or the peer).
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let deliberate = matches!(self.by, Initiator::Local | Initiator::Peer);
        let orderly = matches!(self.layer, Layer::Transport | Layer::Application);
        deliberate && orderly && self.code == 0 && self.frame.is_none()
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.by, self.layer) {
            (Initiator::Local, Layer::Application) => "closed by this side",
            (Initiator::Local, _) => "ended by this side",
            (Initiator::Peer, Layer::Application) => "closed by the peer",
            (Initiator::Peer, _) => "ended by the peer",
            (Initiator::Carrier, _) => "connection lost",
            (Initiator::Timer, _) => "timed out",
        })?;
        if self.code != 0 {
            write!(f, " with {} error {:#x}", self.layer.as_str(), self.code)?;
        }
        if let Some(frame) = &self.frame {
            write!(f, " in a {frame} frame")?;
        }
        if self.reason.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        write_printable(f, &self.reason)
    }
}

impl std::error::Error for CloseReason {}

/// Cuts a text to [`MAX_REASON_BYTES`] without cutting a character in two.
fn cut(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= MAX_REASON_BYTES {
        return text;
    }
    let mut end = MAX_REASON_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            text.shrink_to_fit();
            Cow::Owned(text)
        }
    }
}

/// Writes `text` with control characters escaped, for it may come from a peer and go to a terminal.
fn write_printable(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write as _;
    for character in text.chars() {
        if character.is_control() || is_bidi_control(character) {
            write!(f, "{}", character.escape_unicode())?;
        } else {
            f.write_char(character)?;
        }
    }
    Ok(())
}

/// Marks that reorder the text around them and so can make a log line read as something else.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_a_sentence() {
        let broken = CloseReason::transport(Initiator::Local, 1, "window exceeded by 3 bytes")
            .in_frame("Data");
        assert_eq!(
            broken.to_string(),
            "ended by this side with transport error 0x1 in a Data frame: window exceeded by 3 bytes"
        );
        let done = CloseReason::application(Initiator::Peer, 0, "");
        assert_eq!(done.to_string(), "closed by the peer");
        let silent = CloseReason::timed_out("no answer to a keepalive for 30s");
        assert_eq!(
            silent.to_string(),
            "timed out: no answer to a keepalive for 30s"
        );
        let odd = CloseReason::transport(Initiator::Local, 7, "").in_frame(0x1fu64);
        assert_eq!(
            odd.to_string(),
            "ended by this side with transport error 0x7 in a type 0x1f frame"
        );
        assert!(done.is_clean() && !broken.is_clean() && !silent.is_clean());
    }

    // threats C10: a peer's words must not act on our terminal.
    #[test]
    fn control_characters_of_a_peer_are_escaped() {
        let reason = CloseReason::application(Initiator::Peer, 0, "a\x1b[2Jb\n\u{202e}c");
        assert_eq!(
            reason.to_string(),
            "closed by the peer: a\\u{1b}[2Jb\\u{a}\\u{202e}c"
        );
    }

    // threats C4: a peer's words are kept only up to a limit.
    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let long = "ä".repeat(MAX_REASON_BYTES);
        let reason = CloseReason::application(Initiator::Peer, 0, long);
        assert_eq!(reason.reason.len(), MAX_REASON_BYTES);
        let shifted = format!("x{}", "ä".repeat(MAX_REASON_BYTES));
        let reason = CloseReason::application(Initiator::Peer, 0, shifted);
        assert_eq!(reason.reason.len(), MAX_REASON_BYTES - 1);
        let fixed: &'static str = "short";
        let reason = CloseReason::carrier(fixed);
        assert!(matches!(reason.reason, Cow::Borrowed("short")));
    }
}
