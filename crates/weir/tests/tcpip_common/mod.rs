//! Two stacks on a cable in memory, and what tests do over and over.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests; each uses a part of this"
)]

#[cfg(target_os = "linux")]
pub(crate) mod impaired;
pub(crate) mod obstacle;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use weir::tcpip::{
    Capabilities, Device, Frame, Interface, Medium, Memory, ReceiveBuf, Segmentation, Stack,
    StackStats, TcpListener, TcpStream,
};

/// A device that carries frames and does nothing else.
pub(crate) fn plain(mtu: u16) -> Capabilities {
    Capabilities::plain(Medium::Ip, mtu)
}

/// A device that completes checksums and cuts super-segments, as TUN with `IFF_VNET_HDR`.
pub(crate) fn offloading(mtu: u16) -> Capabilities {
    Capabilities {
        checksum_offload: true,
        segmentation: Segmentation {
            tcp4: true,
            tcp6: true,
            udp: true,
            max_bytes: 65_535,
        },
        ..plain(mtu)
    }
}

/// An interface of the test network with host number `host`.
pub(crate) fn host(host: u8) -> Interface {
    Interface::new()
        .address(format!("10.9.0.{host}/24").parse().unwrap())
        .address(format!("fd09::{host}/64").parse().unwrap())
        .without_duplicate_detection()
}

/// An address of a host of the test network.
pub(crate) fn v4(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 0, host], port))
}

/// An address of a host of the test network.
pub(crate) fn v6(host: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([0xfd09, 0, 0, 0, 0, 0, 0, host], port))
}

/// A stack with one device.
pub(crate) fn stack(device: impl Device, number: u8) -> Stack {
    Stack::builder()
        .device(device, host(number))
        .name(format!("host {number}"))
        .start()
        .unwrap()
}

/// Hosts 1 and 2 on one cable.
pub(crate) fn pair(capabilities: Capabilities) -> (Stack, Stack) {
    let (ours, theirs) = Memory::pair(capabilities);
    (stack(ours, 1), stack(theirs, 2))
}

/// A connection from host 1 to host 2.
pub(crate) async fn connection(one: &Stack, two: &Stack) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(two, v4(2, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(one, remote), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// Bytes in which every place is told from its neighbours.
pub(crate) fn pattern(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

/// Everything up to the end.
pub(crate) async fn read_all(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(all)
}

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Waits for `future`, and fails the test when it hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it never came")
}

/// Waits until the stack is as wanted, and fails the test when that never comes.
pub(crate) async fn until(stack: &Stack, wanted: impl Fn(&StackStats) -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !wanted(&stack.stats()) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "still {:?}",
            stack.stats()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A device whose cable can be pulled: from then on nothing goes out and nothing comes in.
pub(crate) struct Cable<D> {
    device: D,
    is_pulled: Arc<AtomicBool>,
    is_broken: Arc<AtomicBool>,
}

/// Pulls the cable of a [`Cable`].
#[derive(Clone)]
pub(crate) struct Pull(Arc<AtomicBool>, Arc<AtomicBool>);

impl Pull {
    /// Frames are lost from now on, both ways.
    pub(crate) fn pull(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The device fails with the next frame that comes in.
    pub(crate) fn break_it(&self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

/// A device with a cable that can be pulled, and what pulls it.
pub(crate) fn cable<D: Device>(device: D) -> (Cable<D>, Pull) {
    let (is_pulled, is_broken) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
    let pull = Pull(Arc::clone(&is_pulled), Arc::clone(&is_broken));
    let cable = Cable {
        device,
        is_pulled,
        is_broken,
    };
    (cable, pull)
}

impl<D: Device> Device for Cable<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        loop {
            let received = self.device.poll_recv(cx, batch);
            if received.is_ready() && self.is_broken.load(Ordering::SeqCst) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if received.is_pending() || !self.is_pulled.load(Ordering::SeqCst) {
                return received;
            }
            batch.clear();
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        if self.is_pulled.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(frames.len()));
        }
        self.device.poll_send(cx, frames)
    }
}

/// Whether a future is still pending after it was polled once.
pub(crate) async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let mut future = std::pin::Pin::new(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
