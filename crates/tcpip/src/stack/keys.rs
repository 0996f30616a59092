//! The names by which an application knows what a stack holds for it.

use weir_core::slab::Key;

/// A TCP connection, from [`tcp_connect`](crate::Stack::tcp_connect),
/// [`tcp_accept`](crate::Stack::tcp_accept) or [`tcp_confirm`](crate::Stack::tcp_confirm) until
/// [`tcp_close`](crate::Stack::tcp_close) or [`tcp_abort`](crate::Stack::tcp_abort). A key that was
/// let go finds nothing, also when its place was taken again.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpKey(pub(crate) Key);

/// A listener, until [`tcp_unlisten`](crate::Stack::tcp_unlisten).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerKey(pub(crate) Key);

/// An attempt that a deferring listener was told of, until it is confirmed, refused or too old.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingKey(pub(crate) Key);

/// A UDP socket, until [`udp_close`](crate::Stack::udp_close).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpKey(pub(crate) Key);

macro_rules! index {
    ($($key:ident)*) => { $(
        impl $key {
            /// Its place: dense from 0, so that a table in parallel can be a plain list. The place
            /// of one that was let go is used again.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0.index()
            }
        }
    )* };
}

index! { TcpKey ListenerKey IncomingKey UdpKey }
