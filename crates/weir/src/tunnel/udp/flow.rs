//! One flow, between a socket and its stream, from the request to the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::exit::Exit;
use super::flows::{Claim, datagram, prefix};
use super::frame::{FrameReader, Frames, TooLong, append};
use super::limits::BATCH;
use super::queue::DropQueue;
use super::table::Activity;
use crate::connection::Connection;
use crate::error::{DatagramError, StreamError};
use crate::stream::{RecvStream, SendStream};
use crate::tunnel::protocol::{Granted, Refusal, Request, read_answer};
use crate::tunnel::registry::Registered;
use crate::tunnel::units::{READ_MAX, UnitError, UnitStream};

/// How a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It carried nothing for its time.
    Idle,
    /// This side wants it no more.
    Closed,
    /// The far side wants it no more.
    Peer,
}

/// Why a flow broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlowError {
    /// The stream, or the connection that carries it, failed.
    #[error("{0}")]
    Stream(#[from] StreamError),
    /// The far side did not grant the request.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The far side's answer was none.
    #[error("the answer of the far side: {0}")]
    Answer(#[from] UnitError),
    #[error("{0}")]
    TooLong(#[from] TooLong),
}

/// What belongs to a flow while it runs.
pub(crate) struct Flow<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) send: SendStream,
    pub(crate) recv: UnitStream<RecvStream>,
    pub(crate) claim: Claim,
    /// What is to go into the tunnel; closing it ends the flow.
    pub(crate) queue: Arc<DropQueue>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) exit: Exit,
    /// The request whose answer comes before all else, and how long it may take; `None` for the side that grants.
    pub(crate) awaits: Option<(&'a Request, Duration)>,
    pub(crate) registered: &'a Registered,
    pub(crate) idle: Duration,
}

/// What the parts of a running flow share.
struct Running<'a> {
    connection: &'a Connection,
    claim: &'a Claim,
    queue: &'a DropQueue,
    activity: &'a Activity,
    exit: &'a Exit,
    registered: &'a Registered,
    /// Datagrams of the connection may be used only when the far side has agreed to the flow's number.
    granted: watch::Sender<bool>,
}

impl Flow<'_> {
    /// Carries datagrams both ways until the flow ends. An ordered end is passed on as the stream's, any other as
    /// its reset; UDP itself knows neither.
    pub(crate) async fn run(self) -> Result<End, FlowError> {
        let Self {
            mut send, mut recv, ..
        } = self;
        let running = Running {
            connection: self.connection,
            claim: &self.claim,
            queue: &self.queue,
            activity: &self.activity,
            exit: &self.exit,
            registered: self.registered,
            granted: watch::Sender::new(self.awaits.is_none()),
        };
        let result = tokio::select! {
            result = running.send_queued(&mut send) => result,
            result = running.read_stream(&mut recv, self.awaits) => result,
            end = running.read_datagrams() => end,
            () = self.exit.fetch(&self.queue) => Ok(End::Closed),
            () = self.activity.idle(self.idle) => Ok(End::Idle),
        };
        match &result {
            Ok(_) => {
                let _ = send.finish();
            }
            Err(_) => send.reset(0),
        }
        recv.source_mut().stop(0);
        result
    }
}

impl Running<'_> {
    /// From the queue into the tunnel, until the queue is closed.
    async fn send_queued(&self, send: &mut SendStream) -> Result<End, FlowError> {
        let prefix = prefix(self.claim.id);
        let mut buffer = BytesMut::new();
        while let Some(frames) = self.queue.take(BATCH).await {
            self.activity.touch();
            self.registered.count_datagrams_sent(&frames);
            let direct = if *self.granted.borrow() {
                self.connection.max_datagram_size()
            } else {
                None
            };
            let mut rest = match direct {
                Some(max) => self.send_direct(frames, max, &prefix, &mut buffer),
                None => frames,
            };
            if !rest.is_empty() {
                send.write_chunk(&mut rest).await?;
            }
            tokio::task::consume_budget().await;
        }
        Ok(End::Closed)
    }

    /// Sends what fits as datagrams of the connection; the rest is given back for the stream.
    fn send_direct(
        &self,
        frames: Bytes,
        max: usize,
        prefix: &[u8],
        buffer: &mut BytesMut,
    ) -> Bytes {
        let mut rest = BytesMut::new();
        let mut direct = 0u64;
        for payload in Frames(frames) {
            let fits = payload.len().saturating_add(prefix.len()) <= max;
            let sent = match fits {
                true => self
                    .connection
                    .send_datagram(datagram(buffer, prefix, &payload)),
                false => Err(DatagramError::TooLarge { max }),
            };
            match sent {
                Ok(()) => direct = direct.saturating_add(1),
                // The path may have become narrower a moment ago.
                Err(_) => {
                    append(&mut rest, &payload);
                }
            }
        }
        let counts = self.registered.datagrams();
        counts.sent_direct.fetch_add(direct, Relaxed);
        rest.freeze()
    }

    /// From the stream to the socket, up to the stream's end.
    async fn read_stream(
        &self,
        recv: &mut UnitStream<RecvStream>,
        awaits: Option<(&Request, Duration)>,
    ) -> Result<End, FlowError> {
        if let Some((request, limit)) = awaits {
            let unit = recv.next_within(limit).await?;
            match read_answer(request, &unit).map_err(UnitError::from)?? {
                Granted::Datagrams(source) => self.exit.set_source(source),
                _ => return Err(UnitError::Ended.into()),
            }
            self.granted.send_replace(true);
        }
        self.registered.open();
        let mut reader = FrameReader::default();
        let mut scratch = Vec::new();
        let mut chunk = recv.take_rest().unwrap_or_default();
        loop {
            while let Some(payload) = reader.next(&mut chunk)? {
                self.deliver(&mut scratch, &payload).await;
            }
            self.activity.touch();
            chunk = match recv.source_mut().read_chunk(READ_MAX).await? {
                Some(chunk) => chunk,
                None => return Ok(End::Peer),
            };
            tokio::task::consume_budget().await;
        }
    }

    /// From the connection's datagrams to the socket.
    async fn read_datagrams(&self) -> Result<End, FlowError> {
        let _ = self.granted.subscribe().wait_for(|granted| *granted).await;
        let mut scratch = Vec::new();
        while let Some(frames) = self.claim.inbox.take(BATCH).await {
            self.activity.touch();
            for payload in Frames(frames) {
                let counts = self.registered.datagrams();
                counts.received_direct.fetch_add(1, Relaxed);
                self.deliver(&mut scratch, &payload).await;
            }
        }
        Ok(End::Closed)
    }

    async fn deliver(&self, scratch: &mut Vec<u8>, payload: &[u8]) {
        let counts = self.registered.datagrams();
        match self.exit.deliver(scratch, payload).await {
            Ok(()) => {
                counts.received.fetch_add(1, Relaxed);
                let received = &self.registered.traffic().received;
                received.fetch_add(payload.len() as u64, Relaxed);
            }
            // Too long for IPv4, no route, refused by a firewall: lost, as on any network.
            Err(_) => {
                counts.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

/// The address in words: an IPv4 client of a socket for both families is shown as what it is.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
