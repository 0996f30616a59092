//! A UDP socket with all that the system offers for it.

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, TransportErrorPayload, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// How often the queue of errors is looked into while an answer is waited for.
const TICK: Duration = Duration::from_millis(5);

/// Greatest run of datagrams that the kernel hands over as one.
const RUN: usize = 65_535;

/// The socket.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
    buffer: Vec<u8>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Arrived {
    /// One datagram, or several of one sender and size (`meta.stride`) in one piece.
    Datagrams(Vec<u8>, RecvMeta),
    /// Word that what was sent did not get through.
    Error(TransportErrorPayload),
    /// Nothing, in the time there was.
    Nothing,
}

impl Wire {
    /// Binds `address`; must be called within a tokio runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        let state = UdpSocketState::new((&socket).into())?;
        // Only Linux tells; elsewhere an answer that does not come has to do.
        let _ = state.enable_transport_errors((&socket).into());
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            buffer: vec![0; RUN],
        })
    }

    /// Sends once, whatever the system then says.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        contents: &[u8],
        ecn: Option<EcnCodepoint>,
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn,
            contents,
            segment_size,
            src_ip: None,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    /// Waits for what comes first until `deadline`.
    pub(super) async fn receive(&mut self, deadline: Instant) -> Arrived {
        loop {
            if let Some(arrived) = self.look() {
                return arrived;
            }
            let now = Instant::now();
            if now >= deadline {
                return Arrived::Nothing;
            }
            // A time-out means: look again.
            let _ = timeout_at(deadline.min(now + TICK), self.socket.readable()).await;
        }
    }

    fn look(&mut self) -> Option<Arrived> {
        // Errors first: one that waits is handed out by the next call of any kind.
        if let Ok(Some(error)) = self.state.recv_transport_error((&self.socket).into()) {
            return Some(Arrived::Error(error.payload));
        }
        let Self {
            socket,
            state,
            buffer,
        } = self;
        let mut metas = [RecvMeta::default()];
        let mut slices = [IoSliceMut::new(buffer)];
        let read = socket.try_io(Interest::READABLE, || {
            state.recv((&*socket).into(), &mut slices, &mut metas)
        });
        let [meta] = metas;
        match read {
            Ok(count) if count > 0 => {
                let bytes = buffer.get(..meta.len).unwrap_or_default().to_vec();
                Some(Arrived::Datagrams(bytes, meta))
            }
            _ => None,
        }
    }
}
