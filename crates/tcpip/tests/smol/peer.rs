//! The other host: a smoltcp interface, whose device is two queues.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use weir_core::time::Instant;

use super::Setup;

/// Bytes of each buffer of a TCP socket.
pub const BUFFER: usize = 64 << 10;

type Outward = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// Checksums are made and checked by smoltcp itself, as its capabilities are by default.
pub struct Queues {
    medium: Medium,
    /// Of frames: with the Ethernet header where there is one.
    mtu: usize,
    pub inward: VecDeque<Vec<u8>>,
    pub outward: Outward,
}

pub struct Rx(Vec<u8>);
pub struct Tx(Outward);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.borrow_mut().push_back(packet);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx;

    fn receive(&mut self, _: SmolInstant) -> Option<(Rx, Tx)> {
        let packet = self.inward.pop_front()?;
        Some((Rx(packet), Tx(self.outward.clone())))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Tx> {
        Some(Tx(self.outward.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub struct Smol {
    pub device: Queues,
    pub interface: Interface,
    pub sockets: SocketSet<'static>,
    timestamps: bool,
    port: u16,
}

/// The clock of the test, as smoltcp counts it; rounded up, so that what is due is done.
fn clock(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_nanos().div_ceil(1000)).unwrap())
}

impl Smol {
    pub fn new(address: IpAddr, setup: &Setup) -> Smol {
        let mtu = usize::from(setup.smol_mtu);
        let (medium, mtu, hardware) = if setup.ethernet {
            let hardware = EthernetAddress([2, 0, 0, 0, 0, 2]);
            (Medium::Ethernet, mtu + 14, hardware.into())
        } else {
            (Medium::Ip, mtu, HardwareAddress::Ip)
        };
        let mut device = Queues {
            medium,
            mtu,
            inward: VecDeque::new(),
            outward: Outward::default(),
        };
        let mut config = Config::new(hardware);
        config.random_seed = setup.seed;
        let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
        let prefix = if address.is_ipv6() { 64 } else { 24 };
        interface.update_ip_addrs(|all| all.push(IpCidr::new(address.into(), prefix)).unwrap());
        Smol {
            device,
            interface,
            sockets: SocketSet::new(Vec::new()),
            timestamps: setup.timestamps,
            port: 10_000,
        }
    }

    pub fn poll(&mut self, now: Instant) {
        self.interface
            .poll(clock(now), &mut self.device, &mut self.sockets);
    }

    /// When it wants to be polled again, which is after `now`.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(clock(now), &self.sockets)?;
        let at = Instant::from_nanos(u64::try_from(at.total_micros()).unwrap() * 1000);
        Some(at.max(now + super::MILLI / 10))
    }

    pub fn tcp_socket(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(Some(SmolDuration::from_millis(10)));
        if self.timestamps {
            // Any number will do: only this side looks at what is echoed.
            socket.set_tsval_generator(Some(|| 0x0102_0304));
        }
        self.sockets.add(socket)
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn state(&self, handle: SocketHandle) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(handle).state()
    }

    /// Begins a connection, each from a port of its own.
    pub fn connect(&mut self, to: std::net::SocketAddr) -> SocketHandle {
        self.port += 1;
        let (handle, port) = (self.tcp_socket(), self.port);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), to, port).unwrap();
        handle
    }

    pub fn udp_socket(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 16], vec![0; 1 << 15]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub fn icmp_socket(&mut self, endpoint: icmp::Endpoint) -> SocketHandle {
        let buffer =
            || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 16], vec![0; 1 << 15]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(endpoint).unwrap();
        self.sockets.add(socket)
    }
}
