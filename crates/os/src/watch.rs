//! Files of this crate under the watch of a tokio runtime.

use std::io;
use std::ops::Deref;

use tokio::io::unix::AsyncFd;

use crate::signals::Signals;
use crate::tun::Tun;

/// What can be watched: it owns one open file for as long as it lives.
pub trait Watchable: std::os::fd::AsRawFd + private::Sealed {}

impl Watchable for Tun {}
impl Watchable for Signals {}

mod private {
    /// Others cannot promise what [`watch`](super::watch) relies on.
    pub trait Sealed {}

    impl Sealed for crate::tun::Tun {}
    impl Sealed for crate::signals::Signals {}
}

/// A watched file, by reference only: it must stay the same file while it is watched.
#[derive(Debug)]
pub struct Watched<T: Watchable>(AsyncFd<T>);

/// Has the current runtime watch a file for being readable and writable.
///
/// # Errors
/// The system refuses.
///
/// # Panics
/// Outside a tokio runtime.
pub fn watch<T: Watchable>(file: T) -> io::Result<Watched<T>> {
    #[allow(
        unsafe_code,
        reason = "tokio asks for a promise that no trait of the library makes"
    )]
    // SAFETY: both types own their file privately, open it before they exist, close it when they are
    // dropped, and give the same number whenever asked. `Watched` hands out shared references only, so
    // none can be swapped for another.
    let watched = unsafe { AsyncFd::register(file) };
    watched.map(Watched).map_err(io::Error::from)
}

impl<T: Watchable> Deref for Watched<T> {
    type Target = AsyncFd<T>;

    fn deref(&self) -> &AsyncFd<T> {
        &self.0
    }
}
