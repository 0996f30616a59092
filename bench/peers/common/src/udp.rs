//! A UDP socket with GSO and GRO on tokio, for the base lines.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What one receive call may fill for each of its buffers: the largest run that GRO makes.
const RUN: usize = 1 << 16;
/// Buffers of one receive call. A few stay in the processor's cache, 32 of 64 KiB do not.
const RUNS: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };
/// What one GSO call may carry, in bytes: the largest UDP payload over IPv4.
pub const LARGEST: usize = 65_507;
/// What one GSO call may carry, in segments.
pub const SEGMENTS: usize = 64;

/// The socket.
pub struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Room for what one receive call brings.
pub struct Incoming {
    buffers: Vec<Vec<u8>>,
    metas: [RecvMeta; RUNS],
}

impl Default for Incoming {
    fn default() -> Incoming {
        Incoming::new()
    }
}

impl Incoming {
    /// Empty.
    pub fn new() -> Incoming {
        Incoming {
            buffers: (0..RUNS).map(|_| vec![0; RUN]).collect(),
            metas: [RecvMeta::default(); RUNS],
        }
    }
}

impl Udp {
    /// Bound to the address.
    pub fn bind(addr: SocketAddr) -> io::Result<Udp> {
        let socket = crate::socket(addr)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Udp { socket, state })
    }

    /// Where it is bound.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Bytes of datagrams that may wait at the other end, when it has the same buffer: a half of it, and of that a half again,
    /// since the system counts its own structures in.
    pub fn window(&self) -> io::Result<usize> {
        Ok(self.state.recv_buffer_size((&self.socket).into())? / 4)
    }

    /// Sends datagrams of `segment` bytes, the last may be shorter.
    pub async fn send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: Some(segment),
            src_ip: None,
        };
        loop {
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                self.state.try_send((&self.socket).into(), &transmit)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                other => return other,
            }
        }
    }

    /// Hands over each datagram that is there, with where it came from; how many there were.
    pub fn try_receive(
        &self,
        incoming: &mut Incoming,
        mut take: impl FnMut(SocketAddr, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let received = self.socket.try_io(Interest::READABLE, || {
            let mut slices = incoming.buffers.iter_mut();
            let mut slices: [IoSliceMut<'_>; RUNS] =
                std::array::from_fn(|_| IoSliceMut::new(slices.next().map_or(&mut [], |b| b)));
            self.state
                .recv((&self.socket).into(), &mut slices, &mut incoming.metas)
        });
        let runs = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            other => other?,
        };
        let mut count = 0;
        for (buffer, meta) in incoming.buffers.iter_mut().zip(&incoming.metas).take(runs) {
            for datagram in buffer[..meta.len].chunks_mut(meta.stride.max(1)) {
                count += 1;
                take(meta.addr, datagram)?;
            }
        }
        Ok(count)
    }

    /// Waits until something may have arrived.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// The same as [`Udp::try_receive`], and waits until there is one.
    pub async fn receive(
        &self,
        incoming: &mut Incoming,
        mut take: impl FnMut(SocketAddr, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        loop {
            let count = self.try_receive(incoming, &mut take)?;
            if count > 0 {
                return Ok(count);
            }
            self.readable().await?;
        }
    }
}
