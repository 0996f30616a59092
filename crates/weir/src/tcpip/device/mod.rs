//! Where a stack's frames come from and go to.

mod buf;
mod memory;
#[cfg(target_os = "linux")]
mod tun;

use std::io;
use std::task::{Context, Poll};

use weir_tcpip::{Capabilities, Frame};

pub use buf::{Frames, ReceiveBuf};
pub use memory::Memory;
#[cfg(target_os = "linux")]
pub use tun::{DeviceError, Tap, Tun, TunBuilder};

/// A source and sink of packets: a TUN or TAP device, a pair in memory, a WireGuard session, a
/// virtual machine's network card.
///
/// # How it is driven
/// One task, the stack's shard, owns its devices and makes all calls, in batches: what one
/// [`poll_recv`](Device::poll_recv) brought goes through the engine before anything is sent or read
/// again. The stack's lock is held in none of these calls, so they may make system calls, but must
/// not block. Neither direction is to allocate in the steady state.
pub trait Device: Send + 'static {
    /// What people call it: `tun0`.
    fn name(&self) -> &str;

    /// What it can do. Asked once, when it is given to a stack.
    fn capabilities(&self) -> Capabilities;

    /// The address of a device whose frames are Ethernet's ([`Medium::Ethernet`]); `None` has the
    /// stack make one up (locally administered, IEEE 802 section 8.4).
    ///
    /// [`Medium::Ethernet`]: weir_tcpip::Medium::Ethernet
    fn hardware_address(&self) -> Option<[u8; 6]> {
        None
    }

    /// Reads what is there, as much as `batch` takes, and says so with at least one frame in it.
    /// `batch` comes in empty. Pending: there is nothing, and the task is woken when there is.
    ///
    /// # Errors
    /// The device is gone: the stack stops using it. What is only wrong with one frame is no error,
    /// the frame is skipped.
    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>>;

    /// Sends frames from the front of `frames`; how many, at least one. Pending: it takes none now,
    /// and the task is woken when it does. A stack's only device holds its senders back by that; where
    /// there are others, a few frames wait for it and what follows is lost, as at a network card whose
    /// queue is full.
    ///
    /// # Errors
    /// The first frame cannot be sent, and counts as lost. The next call begins behind it.
    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>>;
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn hardware_address(&self) -> Option<[u8; 6]> {
        (**self).hardware_address()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        (**self).poll_recv(cx, batch)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        (**self).poll_send(cx, frames)
    }
}
