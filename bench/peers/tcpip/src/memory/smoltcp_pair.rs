//! smoltcp at both ends. Checksums are off, as between processes of one machine.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address};

use super::{Ends, Pair};
use crate::args::PORT;

/// Packets that a side may have under way: what the other has not taken yet.
const UNDER_WAY: usize = 1024;

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

struct Link {
    mtu: usize,
    inward: Queue,
    outward: Queue,
    /// Buffers to be used again.
    spare: Queue,
}

struct Rx(Vec<u8>, Queue);
struct Tx(Queue, Queue);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.0);
        self.1.borrow_mut().push_back(self.0);
        result
    }
}

impl TxToken for Tx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = self.1.borrow_mut().pop_back().unwrap_or_default();
        packet.resize(len, 0);
        let result = f(&mut packet);
        self.0.borrow_mut().push_back(packet);
        result
    }
}

impl Device for Link {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx)> {
        let packet = self.inward.borrow_mut().pop_front()?;
        Some((
            Rx(packet, self.spare.clone()),
            Tx(self.outward.clone(), self.spare.clone()),
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx> {
        (self.outward.borrow().len() < UNDER_WAY)
            .then(|| Tx(self.outward.clone(), self.spare.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.checksum.ipv4 = Checksum::None;
        capabilities
    }
}

struct Side {
    link: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
}

pub struct SmolPair {
    sides: [Side; 2],
    begun: time::Instant,
    buffer: usize,
    port: u16,
    /// What opened and closed is used again: its memory is not what is measured.
    idle: Vec<Ends<SmolPair>>,
}

fn address(side: usize) -> Ipv4Address {
    Ipv4Address::new(10, 0, 0, side as u8 + 1)
}

impl SmolPair {
    pub fn new(mtu: usize, buffer: usize) -> SmolPair {
        let (to, back, spare) = (Queue::default(), Queue::default(), Queue::default());
        let links = [
            Link {
                mtu,
                inward: back.clone(),
                outward: to.clone(),
                spare: spare.clone(),
            },
            Link {
                mtu,
                inward: to,
                outward: back,
                spare,
            },
        ];
        let mut at = 0;
        let sides = links.map(|mut link| {
            let mut config = Config::new(HardwareAddress::Ip);
            config.random_seed = at as u64;
            let mut interface = Interface::new(config, &mut link, Instant::ZERO);
            interface.update_ip_addrs(|all| {
                let _ = all.push(IpCidr::new(address(at).into(), 24));
            });
            at += 1;
            Side {
                link,
                interface,
                sockets: SocketSet::new(Vec::new()),
            }
        });
        SmolPair {
            sides,
            begun: time::Instant::now(),
            buffer,
            port: 10_000,
            idle: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.begun.elapsed().as_micros() as i64)
    }

    fn socket(&mut self) -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; self.buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket
    }
}

impl Pair for SmolPair {
    type Id = SocketHandle;

    fn open(&mut self) -> Ends<SmolPair> {
        let ends = self.idle.pop().unwrap_or_else(|| {
            let (client, server) = (self.socket(), self.socket());
            (
                self.sides[0].sockets.add(client),
                self.sides[1].sockets.add(server),
            )
        });
        self.port = if self.port >= 65_000 {
            10_000
        } else {
            self.port + 1
        };
        let _ = self.sides[1]
            .sockets
            .get_mut::<tcp::Socket>(ends.1)
            .listen(PORT);
        let client = &mut self.sides[0];
        let socket = client.sockets.get_mut::<tcp::Socket>(ends.0);
        socket
            .connect(client.interface.context(), (address(1), PORT), self.port)
            .expect("a free port");
        self.settle();
        ends
    }

    fn write(&mut self, side: usize, id: SocketHandle, bytes: &[u8]) -> usize {
        self.sides[side]
            .sockets
            .get_mut::<tcp::Socket>(id)
            .send_slice(bytes)
            .unwrap_or(0)
    }

    fn read(&mut self, side: usize, id: SocketHandle, max: usize) -> usize {
        let socket = self.sides[side].sockets.get_mut::<tcp::Socket>(id);
        socket
            .recv(|data| {
                let count = data.len().min(max);
                (count, count)
            })
            .unwrap_or(0)
    }

    fn close(&mut self, ends: Ends<SmolPair>) {
        self.sides[0].sockets.get_mut::<tcp::Socket>(ends.0).close();
        self.settle();
        self.sides[1].sockets.get_mut::<tcp::Socket>(ends.1).close();
        self.settle();
        // Out of TIME-WAIT at once, so that the socket can be used again.
        self.sides[0].sockets.get_mut::<tcp::Socket>(ends.0).abort();
        self.idle.push(ends);
    }

    fn settle(&mut self) {
        loop {
            self.turn(0);
            self.turn(1);
            let quiet = self
                .sides
                .iter()
                .all(|side| side.link.inward.borrow().is_empty());
            if quiet {
                return;
            }
        }
    }

    fn turn(&mut self, side: usize) {
        let now = self.now();
        let Side {
            link,
            interface,
            sockets,
        } = &mut self.sides[side];
        interface.poll(now, link, sockets);
        let Side {
            link,
            interface,
            sockets,
        } = &mut self.sides[1 - side];
        interface.poll(now, link, sockets);
    }
}
