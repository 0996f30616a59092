//! The socket between the one who asks for a namespace and the helper that makes it: messages of one
//! byte of kind and some text, with at most one open file.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    recvmsg, sendmsg, socketpair,
};

/// The longest message; a plan with a few hundred routes fits.
const LONGEST: usize = 64 * 1024;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// To the helper: what to make, as text.
    Plan = b'P',
    /// From the helper: it is in its new namespaces and waits for its user IDs.
    Entered = b'N',
    /// To the helper: they are set.
    Mapped = b'M',
    /// From the helper: all is made. The text has a warning a line; the file is the device.
    Ready = b'T',
    /// To the helper: become the command.
    Go = b'G',
    /// From the helper: it could not; the text says what.
    Failed = b'E',
    /// From the helper: the command cannot be run; the text is the errno.
    NoCommand = b'X',
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Plan,
        Kind::Entered,
        Kind::Mapped,
        Kind::Ready,
        Kind::Go,
        Kind::Failed,
        Kind::NoCommand,
    ];
}

/// A message that arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) file: Option<OwnedFd>,
}

/// One end of the socket.
#[derive(Debug)]
pub(super) struct Control(OwnedFd);

impl Control {
    /// Both ends. They are not inherited by programs that are started.
    pub(super) fn pair() -> io::Result<(Control, Control)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Control(ours), Control(theirs)))
    }

    /// Hands this end to the program that `command` will start; returns the number that it has there.
    /// No other program that is started meanwhile gets it: its end would then not be seen.
    pub(super) fn hand_to(&self, command: &mut Command) -> RawFd {
        let number = self.0.as_raw_fd();
        let inherit = move || {
            #[allow(
                unsafe_code,
                reason = "only between fork and exec is this the child's alone"
            )]
            // SAFETY: the number is that of `self`, which the caller keeps until the program is started,
            // and which fork copied.
            let end = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl(end, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        };
        #[allow(
            unsafe_code,
            reason = "only between fork and exec is this the child's alone"
        )]
        // SAFETY: between fork and exec of a program with threads only async-signal-safe calls are
        // allowed; the closure makes one, fcntl, and neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(inherit);
        }
        number
    }

    /// The end that this program inherited under `number`; it goes no further.
    pub(super) fn inherited(number: RawFd) -> io::Result<Control> {
        // A number that somebody made up is found out before it is taken for ours.
        if number <= 2 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        #[allow(unsafe_code, reason = "a number in the arguments becomes a file")]
        // SAFETY: only borrowed to ask whether it is an open file at all; nothing else runs yet.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        #[allow(unsafe_code, reason = "a number in the arguments becomes a file")]
        // SAFETY: it is open, was passed to this program for this purpose, and is taken once: the helper
        // calls this at its start, before anything else opens or owns files.
        let owned = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Control(owned))
    }

    /// Sends a message, and with it a file.
    pub(super) fn send(&self, kind: Kind, text: &str, file: Option<RawFd>) -> io::Result<()> {
        let head = [kind as u8];
        let parts = [IoSlice::new(&head), IoSlice::new(text.as_bytes())];
        let files: Vec<RawFd> = file.into_iter().collect();
        let rights = [ControlMessage::ScmRights(&files)];
        let rights: &[ControlMessage<'_>] = if files.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<UnixAddr>(self.0.as_raw_fd(), &parts, rights, flags, None)?;
        Ok(())
    }

    /// Waits for a message; `None` when the other end is closed.
    pub(super) fn receive(&self) -> io::Result<Option<Received>> {
        let mut bytes = vec![0; LONGEST];
        let mut space = nix::cmsg_space!(RawFd);
        let (read, numbers) = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Ok(message) => break (message.bytes, numbers(message.cmsgs()?)),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut files = numbers.into_iter().map(|number| {
            #[allow(unsafe_code, reason = "received files are numbers")]
            // SAFETY: the kernel opened this file for us in the call above and nobody else knows its
            // number; each is taken once.
            unsafe {
                OwnedFd::from_raw_fd(number)
            }
        });
        let file = files.next();
        files.for_each(drop);
        let bytes = bytes.get(..read).unwrap_or_default();
        let Some((kind, text)) = bytes.split_first() else {
            return Ok(None);
        };
        let kind = Kind::ALL.into_iter().find(|k| *k as u8 == *kind);
        Ok(Some(Received {
            kind: kind.ok_or(io::ErrorKind::InvalidData)?,
            text: String::from_utf8_lossy(text).into_owned(),
            file,
        }))
    }
}

fn numbers(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<RawFd> {
    let rights = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    rights.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn a_message_brings_its_text_and_its_file() {
        let (a, b) = Control::pair().unwrap();
        let path = std::env::temp_dir().join(format!("weir-control-{}", std::process::id()));
        let mut file = std::fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .read(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"same file").unwrap();
        a.send(Kind::Ready, "two\nlines", Some(file.as_raw_fd()))
            .unwrap();
        let received = b.receive().unwrap().unwrap();
        assert_eq!(
            (received.kind, received.text.as_str()),
            (Kind::Ready, "two\nlines")
        );
        let mut other = std::fs::File::from(received.file.unwrap());
        other.rewind().unwrap();
        let mut text = String::new();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "same file");
    }

    #[test]
    fn the_end_of_the_other_end_is_told_from_a_message() {
        let (a, b) = Control::pair().unwrap();
        a.send(Kind::Go, "", None).unwrap();
        drop(a);
        let received = b.receive().unwrap().unwrap();
        assert_eq!(received.kind, Kind::Go);
        assert!(received.file.is_none());
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn a_number_that_is_no_open_file_is_refused() {
        for number in [-1, 0, 2, 1 << 20] {
            assert!(Control::inherited(number).is_err(), "{number}");
        }
    }
}
