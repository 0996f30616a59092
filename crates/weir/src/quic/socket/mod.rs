//! One UDP socket: batches in, batches out. Of the system's, or of a stack of one's own.

mod batch;
mod own;
mod system;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::debug;
use weir_core::time::Instant;
use weir_quic::{ConnectionHandle, Transmit};

pub(super) use batch::Batch;

use super::routes::Routes;
use super::table::Table;
use super::watch::Watch;
use crate::observe::DatagramTap;
use crate::tcpip::Stack;
use own::Own;
use system::System;

/// A bound socket.
pub(crate) struct Socket {
    io: Io,
    watch: Option<Box<Watch>>,
}

/// Whose it is.
enum Io {
    System(Box<System>),
    Own(Own),
}

/// How a batch fared.
#[derive(PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, or was refused for good: then it counts as lost.
    Done,
    /// There is no room: it is to be sent again when there is.
    Blocked,
}

impl Socket {
    /// Binds `address` of the system; `[::]` takes IPv4 as well where the system allows both.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Socket> {
        let system = System::bind(address)?;
        Ok(Socket {
            io: Io::System(Box::new(system)),
            watch: None,
        })
    }

    /// Binds `address` of a stack.
    pub(crate) fn bind_over(stack: &Stack, address: SocketAddr) -> io::Result<Socket> {
        Ok(Socket {
            io: Io::Own(Own::bind(stack, address)?),
            watch: None,
        })
    }

    /// Shows `tap` every datagram from now on.
    pub(super) fn watch(&mut self, tap: Box<dyn DatagramTap>, routes: &Arc<Routes>) {
        self.watch = Some(Box::new(Watch::new(tap, self.local(), routes)));
    }

    /// Takes over from `old`, on which dials may be under way.
    pub(super) fn succeed(&mut self, old: &mut Socket) {
        match (&mut self.io, &mut old.io) {
            (Io::System(new), Io::System(old)) => new.succeed(old),
            (Io::Own(new), Io::Own(old)) => new.succeed(old),
            // An endpoint is over the system or over a stack for as long as it lives.
            _ => {}
        }
    }

    /// A dial from here begins: word that it is in vain is waited for.
    pub(super) fn expect(&mut self, now: Instant, dial: ConnectionHandle) {
        match &mut self.io {
            Io::System(system) => system.expect(now, dial),
            Io::Own(own) => own.expect(dial),
        }
    }

    /// When to look for such word, where nothing wakes for it.
    pub(super) fn next_look(&self) -> Option<Instant> {
        match &self.io {
            Io::System(system) => system.next_look(),
            Io::Own(own) => own.next_look(),
        }
    }

    /// Tells dials what is reported of them, where it is time or something was heard.
    pub(super) fn look(&mut self, now: Instant, table: &mut Table, due: &mut VecDeque<usize>) {
        match &mut self.io {
            Io::System(system) => system.look(now, table, due),
            Io::Own(own) => own.look(now, table, due),
        }
    }

    /// Where it is bound.
    pub(crate) fn local(&self) -> SocketAddr {
        match &self.io {
            Io::System(system) => system.local(),
            Io::Own(own) => own.local(),
        }
    }

    /// Most datagrams that one call sends.
    pub(super) fn max_segments(&self) -> usize {
        match &self.io {
            Io::System(system) => system.max_segments(),
            Io::Own(_) => own::MAX_SEGMENTS,
        }
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::System(system) => system.poll_readable(cx),
            Io::Own(own) => own.poll_readable(cx),
        }
    }

    /// Ready when there may be room to write.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::System(system) => system.poll_writable(cx),
            Io::Own(own) => own.poll_writable(cx),
        }
    }

    /// Fills the batch; [`io::ErrorKind::WouldBlock`] when there is nothing to read.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        match &mut self.io {
            Io::System(system) => system.receive(batch)?,
            Io::Own(own) => own.receive(batch)?,
        }
        self.show(batch);
        Ok(())
    }

    /// The same before the runtime has said that there is something to read.
    pub(super) fn receive_unasked(&mut self, batch: &mut Batch) -> io::Result<()> {
        match &mut self.io {
            Io::System(system) => system.receive_unasked(batch)?,
            Io::Own(own) => own.receive(batch)?,
        }
        self.show(batch);
        Ok(())
    }

    fn show(&mut self, batch: &Batch) {
        if let Some(watch) = &mut self.watch {
            batch.show(watch);
        }
    }

    /// Sends one batch of datagrams.
    pub(super) fn send(&mut self, transmit: &Transmit, data: &[u8]) -> Sent {
        let data = data.get(..transmit.len).unwrap_or(data);
        match self.try_send(transmit, data) {
            Ok(()) => Sent::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Blocked,
            // A probe that is too long for this machine's own interface is a lost one.
            Err(error) if quinn_udp::is_msg_size_err(&error) => Sent::Done,
            Err(error) if data.len() > transmit.segment_size => {
                debug!("a batch to {} did not go: {error}", transmit.path.remote);
                self.send_singly(transmit, data)
            }
            Err(error) => self.did_not_go(transmit, error, data),
        }
    }

    /// For interfaces that refuse batches: the datagrams one by one, and what does not go is lost.
    fn send_singly(&mut self, transmit: &Transmit, data: &[u8]) -> Sent {
        for datagram in data.chunks(transmit.segment_size.max(1)) {
            let single = Transmit {
                len: datagram.len(),
                ..*transmit
            };
            if let Err(error) = self.try_send(&single, datagram) {
                return self.did_not_go(transmit, error, datagram);
            }
        }
        Sent::Done
    }

    fn did_not_go(&mut self, transmit: &Transmit, error: io::Error, datagram: &[u8]) -> Sent {
        let to = transmit.path.remote;
        debug!("a datagram to {to} did not go: {error}");
        match &mut self.io {
            Io::System(system) => system.hear(to, error, datagram),
            Io::Own(own) => own.hear(to, error, datagram),
        }
        Sent::Done
    }

    fn try_send(&mut self, transmit: &Transmit, data: &[u8]) -> io::Result<()> {
        match &mut self.io {
            Io::System(system) => system.send(transmit, data)?,
            Io::Own(own) => own.send(transmit, data)?,
        }
        if let Some(watch) = &mut self.watch {
            watch.sent(transmit, data);
        }
        Ok(())
    }
}

/// The unspecified address of both families, port chosen by the system.
pub(super) fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use weir_quic::{Ecn, PathAddr};

    use super::*;

    async fn receive(socket: &mut Socket, batch: &mut Batch) {
        loop {
            std::future::poll_fn(|cx| socket.poll_readable(cx))
                .await
                .unwrap();
            match socket.receive(batch) {
                Ok(()) => return,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn a_batch_arrives_as_the_datagrams_that_it_was() {
        let v4 = "127.0.0.1:0".parse().unwrap();
        passes(Socket::bind(v4).unwrap()).await;
        passes(Socket::bind(anywhere()).unwrap()).await;
    }

    async fn passes(mut from: Socket) {
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let data: Vec<u8> = (0..2500_u32).map(|n| (n / 1000) as u8).collect();
        let transmit = Transmit {
            path: PathAddr::to(to.local()),
            ecn: Some(Ecn::Ect0),
            segment_size: 1000,
            len: 2500,
            release_at: None,
        };
        while from.send(&transmit, &data) == Sent::Blocked {
            std::future::poll_fn(|cx| from.poll_writable(cx))
                .await
                .unwrap();
        }
        let mut batch = Batch::default();
        let mut sizes = Vec::new();
        while sizes.len() < 3 {
            receive(&mut to, &mut batch).await;
            for (path, mark, datagram) in batch.datagrams() {
                assert_eq!(path.local, Some(to.local().ip()));
                // Mapped addresses are not seen above.
                assert_eq!(path.remote.ip(), "127.0.0.1".parse::<IpAddr>().unwrap());
                assert_eq!(path.remote.port(), from.local().port());
                assert_eq!(mark, Some(Ecn::Ect0));
                assert!(datagram.iter().all(|byte| *byte as usize == sizes.len()));
                sizes.push(datagram.len());
            }
        }
        assert_eq!(sizes, [1000, 1000, 500]);
    }
}
