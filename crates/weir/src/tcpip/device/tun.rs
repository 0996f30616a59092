//! TUN and TAP devices of Linux.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use weir_os::Watched;
use weir_os::netlink::{Netlink, RouteSpec};
use weir_os::tun::{Layer, Offloads, Tun as Queue, TunOptions, VNET_HEADER_LEN};
use weir_tcpip::wire::vnet;
use weir_tcpip::{Capabilities, Cidr, Frame, Medium, Segmentation};

use super::{Device, ReceiveBuf};

pub use weir_os::SystemError as DeviceError;

/// Slices behind a frame's first bytes that one write gathers. A frame of more is put together first.
const GATHERED: usize = 30;
/// Frames that are read before the stack deals with them. The more answers are then written in one go, the
/// more seldom the readers at the kernel's end run dry and have to be woken.
const BATCH: usize = 128;
/// So many are read in any case; further ones while the batch has fewer than [`BATCH_BYTES`].
const FEW: usize = 64;
/// A larger batch of full packets would leave the processor's cache.
const BATCH_BYTES: usize = FEW * 1500;
/// The largest IP packet, which is the largest super-segment.
const LARGEST: usize = 65_535;

/// One queue of a TUN device: the stack at its end takes the packets that the machine routes to the
/// interface. With all of the kernel's offloads, 64 KiB pass in one system call.
///
/// The interface goes when its last queue is dropped.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use weir::tcpip::{Interface, Stack, Tun};
/// // The machine is 10.7.0.2 on it, the stack 10.7.0.1. Takes CAP_NET_ADMIN.
/// let device = Tun::builder("weir0").address("10.7.0.2/24".parse()?).open()?;
/// let stack = Stack::builder()
///     .device(device, Interface::new().address("10.7.0.1/24".parse()?))
///     .start()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Tun(Port);

/// One queue of a TAP device: as [`Tun`], with Ethernet frames.
#[derive(Debug)]
pub struct Tap(Port);

/// Which interface to make, and how it is set up.
#[derive(Clone, Debug)]
pub struct TunBuilder {
    name: String,
    mtu: u16,
    addresses: Vec<Cidr>,
    routes: Vec<Cidr>,
    offload: bool,
}

impl Tun {
    /// Begins a new interface. Of `weir%d` the system makes `weir0`, or the next that is free.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> TunBuilder {
        TunBuilder {
            name: name.into(),
            mtu: 1500,
            addresses: Vec::new(),
            routes: Vec::new(),
            offload: true,
        }
    }

    /// Uses an open device, which may be in another network namespace. `mtu` is that of the interface,
    /// in bytes.
    ///
    /// # Errors
    /// The device refuses its offloads, or the runtime takes no more files; it is a TAP device.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_queue(queue: Queue, mtu: u16) -> Result<Tun, DeviceError> {
        Port::new(queue, mtu, Layer::Ip, true).map(Tun)
    }
}

impl Tap {
    /// [`Tun::from_queue`] for a TAP device.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_queue(queue: Queue, mtu: u16) -> Result<Tap, DeviceError> {
        Port::new(queue, mtu, Layer::Ethernet, true).map(Tap)
    }
}

impl TunBuilder {
    /// The largest IP packet of the interface, in bytes. 1500.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> TunBuilder {
        self.mtu = mtu;
        self
    }

    /// An address that the machine gets on the interface, with its network.
    #[must_use]
    pub fn address(mut self, address: Cidr) -> TunBuilder {
        self.addresses.push(address);
        self
    }

    /// Addresses that the machine then reaches by the interface.
    #[must_use]
    pub fn route(mut self, to: Cidr) -> TunBuilder {
        self.routes.push(to);
        self
    }

    /// Neither half-done checksums nor super-segments, both ways: packet for packet, as on a wire.
    #[must_use]
    pub fn without_offload(mut self) -> TunBuilder {
        self.offload = false;
        self
    }

    /// Makes the interface as a TUN device and brings it up.
    ///
    /// # Errors
    /// Says what the system refuses, on what, and what to do about it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(self) -> Result<Tun, DeviceError> {
        let queue = self.make(Layer::Ip, false)?;
        Port::new(queue, self.mtu, Layer::Ip, self.offload).map(Tun)
    }

    /// Makes the interface with so many queues, at least one: the kernel keeps each flow on one of them,
    /// so that each can have a stack, and a thread, of its own.
    ///
    /// # Errors
    /// As [`open`](TunBuilder::open).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_queues(self, count: usize) -> Result<Vec<Tun>, DeviceError> {
        let first = self.make(Layer::Ip, true)?;
        let further = (1..count).map(|_| first.queue());
        let further: Vec<Queue> = further.collect::<Result<_, _>>()?;
        let all = std::iter::once(first).chain(further);
        all.map(|queue| Port::new(queue, self.mtu, Layer::Ip, self.offload).map(Tun))
            .collect()
    }

    /// Makes the interface as a TAP device and brings it up.
    ///
    /// # Errors
    /// As [`open`](TunBuilder::open).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open_tap(self) -> Result<Tap, DeviceError> {
        let queue = self.make(Layer::Ethernet, false)?;
        Port::new(queue, self.mtu, Layer::Ethernet, self.offload).map(Tap)
    }

    fn make(&self, layer: Layer, multi_queue: bool) -> Result<Queue, DeviceError> {
        let queue = Queue::open(&TunOptions {
            name: self.name.clone(),
            layer,
            vnet_header: self.offload,
            multi_queue,
        })?;
        let mut netlink = Netlink::open()?;
        let index = netlink.link(queue.name())?.index;
        netlink.set_mtu(index, self.mtu.into())?;
        for address in &self.addresses {
            netlink.add_address(index, block(*address))?;
        }
        netlink.set_up(index, true)?;
        for to in &self.routes {
            netlink.add_route(&RouteSpec {
                to: block(*to),
                via: None,
                interface: Some(index),
                metric: None,
            })?;
        }
        Ok(queue)
    }
}

fn block(cidr: Cidr) -> weir_os::Cidr {
    weir_os::Cidr {
        address: cidr.address(),
        bits: cidr.prefix(),
    }
}

/// What TUN and TAP have in common: all but the header before the IP packet.
#[derive(Debug)]
struct Port {
    queue: Watched<Queue>,
    capabilities: Capabilities,
    has_header: bool,
    /// Frames of more slices than one write gathers, put together.
    whole: Vec<u8>,
}

impl Port {
    fn new(mut queue: Queue, mtu: u16, layer: Layer, offload: bool) -> Result<Port, DeviceError> {
        if queue.layer() != layer {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            let doing = format!("use `{}` as a device of {layer:?}", queue.name());
            return Err(DeviceError::new(doing, error));
        }
        let wanted = if offload {
            Offloads::ALL
        } else {
            Offloads::NONE
        };
        let agreed = queue.set_offloads(wanted)?;
        let medium = match layer {
            Layer::Ip => Medium::Ip,
            Layer::Ethernet => Medium::Ethernet,
        };
        let mut capabilities = Capabilities::plain(medium, mtu);
        capabilities.checksum_offload = agreed.checksum;
        capabilities.segmentation = Segmentation {
            tcp4: agreed.tso4,
            tcp6: agreed.tso6,
            udp: agreed.uso,
            max_bytes: if agreed.tso4 || agreed.tso6 || agreed.uso {
                LARGEST
            } else {
                0
            },
        };
        let (name, has_header) = (queue.name().to_owned(), queue.has_vnet_header());
        let queue = weir_os::watch(queue)
            .map_err(|error| DeviceError::new(format!("watch the device `{name}`"), error))?;
        Ok(Port {
            queue,
            capabilities,
            has_header,
            whole: Vec::new(),
        })
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.queue.poll_read_ready(cx))?;
            while batch.len() < FEW || batch.len() < BATCH && batch.bytes() < BATCH_BYTES {
                let Some(room) = batch.room() else {
                    return Poll::Ready(Ok(()));
                };
                match self.queue.get_ref().recv_whole(room) {
                    Ok(read) => take_in(batch, read, self.has_header),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        guard.clear_ready();
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What was read before comes first; the error comes again.
                    Err(_) if !batch.is_empty() => break,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if !batch.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        loop {
            match self.send(frames) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.queue.poll_write_ready(cx))?.clear_ready();
                }
                result => return Poll::Ready(result),
            }
        }
    }

    /// Sends frames from the front of `frames` until one is not taken; its error when it is the first.
    fn send(&mut self, frames: &[Frame<'_>]) -> io::Result<usize> {
        let mut taken: usize = 0;
        while let Some(frame) = frames.get(taken) {
            match self.send_one(frame) {
                Ok(()) => taken = taken.saturating_add(1),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if taken == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    fn send_one(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let queue = self.queue.get_ref();
        if !self.has_header && frame.rest.is_empty() {
            return queue.send(&[IoSlice::new(frame.head)]);
        }
        let header: [u8; VNET_HEADER_LEN] = vnet::header(&frame.offload);
        let header = if self.has_header { &header[..] } else { &[] };
        if frame.rest.is_empty() {
            return queue.send(&[IoSlice::new(header), IoSlice::new(frame.head)]);
        }
        let mut parts = [IoSlice::new(&[]); GATHERED + 2];
        if frame.rest.len() > GATHERED {
            self.whole.clear();
            self.whole.extend_from_slice(frame.head);
            for slice in frame.rest {
                self.whole.extend_from_slice(slice);
            }
            return queue.send(&[IoSlice::new(header), IoSlice::new(&self.whole)]);
        }
        let first = [header, frame.head].into_iter();
        let all = first.chain(frame.rest.iter().map(|slice| &slice[..]));
        let count = parts
            .iter_mut()
            .zip(all)
            .map(|(part, bytes)| *part = IoSlice::new(bytes))
            .count();
        queue.send(parts.get(..count).unwrap_or_default())
    }
}

/// Adds what one read brought. Frames with a header that makes no sense are passed over.
fn take_in(batch: &mut ReceiveBuf, read: usize, has_header: bool) {
    if !has_header {
        return batch.push(0..read, weir_tcpip::Offload::default());
    }
    let Some(room) = batch.room() else {
        return;
    };
    let bytes = room.get(..read).unwrap_or_default();
    if let Ok((offload, _)) = vnet::parse(bytes, VNET_HEADER_LEN) {
        batch.push(VNET_HEADER_LEN..read, offload);
    }
}

impl Device for Tun {
    fn name(&self) -> &str {
        self.0.queue.get_ref().name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        self.0.poll_recv(cx, batch)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, frames)
    }
}

impl Device for Tap {
    fn name(&self) -> &str {
        self.0.queue.get_ref().name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        self.0.poll_recv(cx, batch)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, frames)
    }
}
