//! smoltcp behind an adapter that does what smoltcp needs for its best: one packet a call, an MSS of 64 KiB where the
//! device cuts and joins segments, checksums left to the device there.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address};

use crate::args::{Args, PORT, STACK};
use crate::service::{Pipe, Service};
use crate::tun::{LARGEST, Tun, VNET};

/// Sockets that wait for a connection: smoltcp has no backlog.
const LISTENING: usize = 64;
/// Payload of a segment on a link of 1500 bytes, with timestamps off as smoltcp has them.
const SEGMENT: u16 = 1460;

struct Link {
    tun: Tun,
    inward: Vec<u8>,
    outward: Vec<u8>,
}

struct Rx<'a>(&'a mut [u8]);
struct Tx<'a>(&'a Tun, &'a mut Vec<u8>);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Tx(tun, buffer) = self;
        let front = if tun.offload { VNET } else { 0 };
        let result = f(&mut buffer[front..front + len]);
        if tun.offload {
            let header = vnet(&buffer[VNET..VNET + len]);
            buffer[..VNET].copy_from_slice(&header);
        }
        tun.write(&buffer[..front + len]);
        result
    }
}

/// What the device must know of a TCP packet without a checksum: where it goes, and how large its segments are.
fn vnet(packet: &[u8]) -> [u8; VNET] {
    let mut header = [0; VNET];
    let ip = usize::from(packet[0] & 15) * 4;
    if packet[9] != 6 {
        return header;
    }
    let all = ip + usize::from(packet[ip + 12] >> 4) * 4;
    header[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
    if packet.len() > 1500 {
        header[1] = 1; // VIRTIO_NET_HDR_GSO_TCPV4
        header[4..6].copy_from_slice(&SEGMENT.to_ne_bytes());
    }
    header[2..4].copy_from_slice(&(all as u16).to_ne_bytes());
    header[6..8].copy_from_slice(&(ip as u16).to_ne_bytes());
    header[8..10].copy_from_slice(&16_u16.to_ne_bytes());
    header
}

/// The device completes a sum that already has the pseudo-header's.
fn begin_sum(packet: &mut [u8]) {
    let ip = usize::from(packet[0] & 15) * 4;
    let length = packet.len() - ip;
    let words = packet[12..20]
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum = words.sum::<u32>() + 6 + length as u32;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[ip + 16..ip + 18].copy_from_slice(&(sum as u16).to_be_bytes());
}

/// So that smoltcp makes super-segments, the peer's MSS is said to be 64 KiB.
fn raise_mss(packet: &mut [u8]) {
    let ip = usize::from(packet[0] & 15) * 4;
    if packet[9] == 6 && packet[ip + 13] & 2 != 0 && packet[ip + 20] == 2 {
        packet[ip + 22..ip + 24].copy_from_slice(&65_495_u16.to_be_bytes());
    }
}

struct Summed<'a>(Tx<'a>);

impl TxToken for Summed<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let partial = self.0.0.offload;
        self.0.consume(len, |packet| {
            let result = f(packet);
            if partial && packet[9] == 6 {
                begin_sum(packet);
            }
            result
        })
    }
}

impl Device for Link {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Summed<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Summed<'_>)> {
        let count = self.tun.read(&mut self.inward)?;
        let front = if self.tun.offload { VNET } else { 0 };
        let packet = self.inward.get_mut(front..count)?;
        if self.tun.offload {
            raise_mss(packet);
        }
        Some((Rx(packet), Summed(Tx(&self.tun, &mut self.outward))))
    }

    fn transmit(&mut self, _: Instant) -> Option<Summed<'_>> {
        Some(Summed(Tx(&self.tun, &mut self.outward)))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        if self.tun.offload {
            capabilities.max_transmission_unit = 65_535;
            capabilities.checksum.tcp = Checksum::None;
            capabilities.checksum.ipv4 = Checksum::Tx;
        }
        capabilities
    }
}

struct Socket<'a, 'b>(&'b mut tcp::Socket<'a>);

impl Pipe for Socket<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        if !self.0.can_recv() && !self.0.may_recv() {
            return None;
        }
        Some(self.0.recv_slice(into).unwrap_or(0))
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.send_slice(bytes).unwrap_or(0)
    }

    fn close(&mut self) {
        self.0.close();
    }
}

fn listening<'a>(bytes: usize) -> tcp::Socket<'a> {
    let buffer = || tcp::SocketBuffer::new(vec![0; bytes]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    let _ = socket.listen(PORT);
    socket
}

pub fn serve(args: &Args, tun: Tun, stopped: impl Fn() -> bool) {
    let mut link = Link {
        tun,
        inward: vec![0; LARGEST],
        outward: vec![0; LARGEST],
    };
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = 7;
    let mut interface = Interface::new(config, &mut link, Instant::now());
    interface.update_ip_addrs(|addresses| {
        let _ = addresses.push(IpCidr::new(Ipv4Address::from(STACK).into(), 24));
    });
    let mut sockets = SocketSet::new(Vec::new());
    let mut served: Vec<(SocketHandle, Service)> = Vec::new();
    let mut waiting: Vec<SocketHandle> = Vec::new();
    let mut scratch = vec![0; 256 * 1024];
    while !stopped() {
        while waiting.len() < LISTENING {
            waiting.push(sockets.add(listening(args.buffer)));
        }
        let now = Instant::now();
        interface.poll(now, &mut link, &mut sockets);
        waiting.retain(|&handle| {
            let taken = sockets.get::<tcp::Socket>(handle).state() != tcp::State::Listen;
            if taken {
                served.push((handle, Service::Unknown));
            }
            !taken
        });
        served.retain_mut(|(handle, service)| {
            let socket = sockets.get_mut::<tcp::Socket>(*handle);
            if socket.may_recv() || socket.can_recv() || socket.may_send() {
                service.go_on(&mut Socket(socket), &mut scratch);
            }
            let over = matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait);
            if over {
                sockets.remove(*handle);
            }
            !over
        });
        interface.poll(Instant::now(), &mut link, &mut sockets);
        let delay = interface.poll_delay(Instant::now(), &sockets);
        let millis = delay.map_or(100, |delay| delay.total_millis().min(100) as i32);
        if millis > 0 {
            link.tun.wait(millis);
        }
    }
}
