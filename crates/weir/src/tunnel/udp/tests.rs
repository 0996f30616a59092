//! Flows over a connection that carries datagrams: a real one whose datagrams are a double's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::timeout;
use weir_core::close::CloseReason;
use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_quic::Dir;

use super::*;
use crate::connection::Connection;
use crate::error::{ConnectionError, DatagramError, StreamError};
use crate::layer::{Piece, StreamLayer};
use crate::stats::Stats;
use crate::tunnel::client::ClientConfig;
use crate::tunnel::dial::{Dialler, SystemResolver};
use crate::tunnel::protocol::{Granted, Request};
use crate::tunnel::registry::Registry;
use crate::tunnel::rules::AllowTo;
use crate::tunnel::shared::{ClientCore, Current};
use crate::tunnel::status::{DatagramStatus, ForwardKind};
use crate::tunnel::streams::{answer, read_request};
use crate::tunnel::tasks::Tasks;
use crate::tunnel::units::UnitStream;
use crate::{Endpoint, Identity};

/// Datagrams on their way in one direction.
#[derive(Default)]
struct Path {
    queue: Mutex<VecDeque<Bytes>>,
    arrived: Notify,
}

/// A connection's streams, with datagrams beside them.
struct WithDatagrams {
    /// Held because its end ends the streams.
    streams: Connection,
    out: Arc<Path>,
    incoming: Arc<Path>,
    max: Arc<AtomicUsize>,
    /// Refuses every datagram as too long, whatever it said before.
    narrow: Arc<AtomicBool>,
}

impl StreamLayer for WithDatagrams {
    fn max_datagram_size(&self) -> Option<usize> {
        Some(self.max.load(Ordering::Relaxed))
    }
    fn send_datagram(&self, data: Bytes) -> Result<(), DatagramError> {
        let max = self.max.load(Ordering::Relaxed);
        if data.len() > max || self.narrow.load(Ordering::Relaxed) {
            return Err(DatagramError::TooLarge { max });
        }
        self.out.queue.lock().unwrap().push_back(data);
        self.out.arrived.notify_one();
        Ok(())
    }
    fn try_recv_datagram(&self) -> Result<Option<Bytes>, ConnectionError> {
        Ok(self.incoming.queue.lock().unwrap().pop_front())
    }
    fn datagram_arrived(&self) -> Option<&Notify> {
        Some(&self.incoming.arrived)
    }

    fn try_open(&self, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        self.streams.layer().try_open(dir)
    }
    fn try_accept(&self, dir: Dir) -> Result<Option<Key>, ConnectionError> {
        self.streams.layer().try_accept(dir)
    }
    fn openable(&self, dir: Dir) -> &Notify {
        self.streams.layer().openable(dir)
    }
    fn acceptable(&self, dir: Dir) -> &Notify {
        self.streams.layer().acceptable(dir)
    }
    fn stream_id(&self, key: Key) -> Option<u64> {
        self.streams.layer().stream_id(key)
    }
    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &mut Bytes,
    ) -> Poll<Result<usize, StreamError>> {
        self.streams.layer().poll_write(cx, key, data)
    }
    fn poll_write_slice(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        data: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        self.streams.layer().poll_write_slice(cx, key, data)
    }
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        max: usize,
    ) -> Poll<Result<Option<Piece>, StreamError>> {
        self.streams.layer().poll_read(cx, key, max)
    }
    fn poll_send_ended(&self, cx: &mut Context<'_>, key: Key) -> Poll<StreamError> {
        self.streams.layer().poll_send_ended(cx, key)
    }
    fn poll_flushed(&self, cx: &mut Context<'_>, key: Key) -> Poll<Result<(), StreamError>> {
        self.streams.layer().poll_flushed(cx, key)
    }
    fn finish(&self, key: Key) -> Result<(), StreamError> {
        self.streams.layer().finish(key)
    }
    fn reset(&self, key: Key, code: u64) {
        self.streams.layer().reset(key, code);
    }
    fn stop(&self, key: Key, code: u64) {
        self.streams.layer().stop(key, code);
    }
    fn set_priority(&self, key: Key, priority: Priority) {
        self.streams.layer().set_priority(key, priority);
    }
    fn release_send(&self, key: Key) {
        self.streams.layer().release_send(key);
    }
    fn release_receive(&self, key: Key) {
        self.streams.layer().release_receive(key);
    }
    fn open_streams(&self) -> usize {
        self.streams.layer().open_streams()
    }
    fn drain(&self) {
        self.streams.layer().drain();
    }
    fn close(&self, code: u64, reason: &str) {
        self.streams.layer().close(code, reason);
    }
    fn close_reason(&self) -> Option<CloseReason> {
        self.streams.layer().close_reason()
    }
    fn closed(&self) -> &Notify {
        self.streams.layer().closed()
    }
    fn stats(&self) -> Stats {
        self.streams.layer().stats()
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), future)
        .await
        .expect("within ten seconds")
}

/// Two ends of one connection that carries datagrams of `max` bytes, and a forward of the dialler's over it.
struct Pair {
    dialler: Connection,
    listener: Connection,
    core: Arc<ClientCore>,
    dialler_flows: Arc<Flows>,
    listener_flows: Arc<Flows>,
    max: Arc<AtomicUsize>,
    narrow: Arc<AtomicBool>,
    tasks: Tasks,
    _endpoints: [Endpoint; 2],
}

impl Pair {
    async fn new(max: usize) -> Self {
        let key = || Identity::generate().unwrap();
        let server = Endpoint::builder().identity(key()).bind("127.0.0.1:0");
        let server = server.await.unwrap();
        let target = format!("{}@{}", server.peer_id(), server.local_addr());
        let client = Endpoint::builder().identity(key()).client().await.unwrap();
        let (dialled, listened) = tokio::join!(client.connect(&target), server.accept());
        let max = Arc::new(AtomicUsize::new(max));
        let narrow = Arc::new(AtomicBool::new(false));
        let (there, back) = (Arc::new(Path::default()), Arc::new(Path::default()));
        let wrap = |connection: Connection, out: &Arc<Path>, incoming: &Arc<Path>| {
            connection.wrapped(|streams| {
                Arc::new(WithDatagrams {
                    streams,
                    out: Arc::clone(out),
                    incoming: Arc::clone(incoming),
                    max: Arc::clone(&max),
                    narrow: Arc::clone(&narrow),
                })
            })
        };
        let dialler = wrap(dialled.unwrap(), &there, &back);
        let listener = wrap(listened.unwrap(), &back, &there);
        let core = Arc::new(ClientCore::new(ClientConfig::new("test")));
        let dialler_flows = Flows::new(Parity::Even, &core.udp.budget);
        let listener_flows = Flows::new(Parity::Odd, &Budget::root("test", 1 << 20));
        let tasks = Tasks::default();
        tasks.spawn(Arc::clone(&dialler_flows).serve(dialler.clone()));
        tasks.spawn(Arc::clone(&listener_flows).serve(listener.clone()));
        core.publish(Some(Current {
            session: 1,
            connection: dialler.clone(),
            flows: Arc::clone(&dialler_flows),
        }));
        Self {
            dialler,
            listener,
            core,
            dialler_flows,
            listener_flows,
            max,
            narrow,
            tasks,
            _endpoints: [server, client],
        }
    }

    /// Forwards from a socket here to `to`; its address.
    async fn forward(&self, to: SocketAddr) -> SocketAddr {
        let socket = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let bound = socket.local_addr().unwrap();
        let to = to.try_into().unwrap();
        let entrance = Entrance::local(&self.core, &self.tasks, bound, to);
        self.tasks.spawn(entrance.serve(socket));
        bound
    }

    /// Answers one flow as the listening side does.
    fn answer_one(&self) -> Registry {
        let (connection, flows) = (self.listener.clone(), Arc::clone(&self.listener_flows));
        let registry = Registry::default();
        let shown = registry.clone();
        self.tasks.spawn(async move {
            let (send, recv) = connection.accept_bi().await.unwrap();
            let mut recv = UnitStream::new(recv);
            let request = read_request(&mut recv, Duration::from_secs(120)).await;
            let Ok(Request::Datagrams { flow, to }) = request else {
                panic!("{request:?}");
            };
            let asked = Answering {
                connection: &connection,
                session: 1,
                flows: &flows,
                udp: &Udp::new(10, IDLE),
                registry: &registry,
                dialler: &Dialler::new(Arc::new(SystemResolver), Duration::from_secs(120)),
                kind: ForwardKind::Local,
                from: connection.remote_addr(),
                to: &to,
                allow: &AllowTo::any(),
                flow,
                slot: None,
            };
            let _ = answer_flow(asked, send, recv).await;
        });
        shown
    }
}

/// A client and an echo, each with its socket.
async fn sockets() -> (UdpSocket, UdpSocket) {
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    (client, echo)
}

/// Sends `payload` through a forward to the echo and back.
async fn round(client: &UdpSocket, entrance: SocketAddr, echo: &UdpSocket, payload: &[u8]) {
    let mut buffer = vec![0; 70_000];
    client.send_to(payload, entrance).await.unwrap();
    let (length, from) = soon(echo.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], payload);
    echo.send_to(payload, from).await.unwrap();
    let length = soon(client.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], payload);
}

fn counted(registry: &Registry) -> DatagramStatus {
    registry.list()[0].datagrams().unwrap()
}

/// What fits goes as a datagram of the connection, what does not over the stream, to the byte; the first of all over
/// the stream, because the far side has not agreed to the flow's number yet.
#[tokio::test]
async fn what_fits_goes_as_a_datagram_and_the_rest_over_the_stream() {
    let pair = Pair::new(101).await;
    let (client, echo) = sockets().await;
    let entrance = pair.forward(echo.local_addr().unwrap()).await;
    let answering = pair.answer_one();
    let direct = |registry: &Registry| {
        let counts = counted(registry);
        (counts.sent, counts.sent_direct, counts.received_direct)
    };
    round(&client, entrance, &echo, b"first").await;
    assert_eq!(direct(&pair.core.registry), (1, 0, 1));
    // One byte is the flow's number.
    round(&client, entrance, &echo, &[1; 100]).await;
    assert_eq!(direct(&pair.core.registry), (2, 1, 2));
    round(&client, entrance, &echo, &[2; 101]).await;
    assert_eq!(direct(&pair.core.registry), (3, 1, 2));
    round(&client, entrance, &echo, &[3; 60_000]).await;
    round(&client, entrance, &echo, b"").await;
    assert_eq!(direct(&pair.core.registry), (5, 2, 3));
    assert_eq!(direct(&answering), (5, 3, 2));
    assert_eq!(counted(&pair.core.registry).dropped, 0);

    // The path's MTU changes while a flow runs (RFC 9221 section 5).
    pair.max.store(201, Ordering::Relaxed);
    round(&client, entrance, &echo, &[4; 200]).await;
    assert_eq!(direct(&pair.core.registry), (6, 3, 4));
}

/// RFC 9221 section 5: the size that was asked for a moment ago may be wrong by now.
#[tokio::test]
async fn what_the_connection_does_not_take_after_all_goes_over_the_stream() {
    let pair = Pair::new(1000).await;
    let (client, echo) = sockets().await;
    let entrance = pair.forward(echo.local_addr().unwrap()).await;
    pair.answer_one();
    pair.narrow.store(true, Ordering::Relaxed);
    for payload in [&b"one"[..], b"two", b""] {
        round(&client, entrance, &echo, payload).await;
    }
    let counts = counted(&pair.core.registry);
    assert_eq!((counts.sent, counts.sent_direct, counts.dropped), (3, 0, 0));
}

#[tokio::test]
async fn datagrams_of_unknown_flows_are_dropped_and_counted() {
    let pair = Pair::new(1000).await;
    let (client, echo) = sockets().await;
    let entrance = pair.forward(echo.local_addr().unwrap()).await;
    pair.answer_one();
    round(&client, entrance, &echo, b"first").await;
    for unknown in [
        &b"\x3fnobody's"[..],
        b"",
        b"\x40",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let sent = pair.dialler.send_datagram(Bytes::from_static(unknown));
        assert_eq!(sent, Ok(()));
    }
    let sent = pair.listener.send_datagram(Bytes::from_static(b"\x02late"));
    assert_eq!(sent, Ok(()));
    round(&client, entrance, &echo, b"and on it goes").await;
    assert_eq!(pair.listener_flows.unknown(), 4);
    assert_eq!(pair.dialler_flows.unknown(), 1);
    assert_eq!(pair.core.status().connection.unwrap().unknown_datagrams, 1);
}

/// A datagram may overtake the grant that it belongs to.
#[tokio::test]
async fn what_arrives_before_the_grant_is_kept() {
    let pair = Pair::new(1000).await;
    let (client, echo) = sockets().await;
    let entrance = pair.forward(echo.local_addr().unwrap()).await;
    client.send_to(b"hello", entrance).await.unwrap();
    let (mut send, recv) = soon(pair.listener.accept_bi()).await.unwrap();
    let mut recv = UnitStream::new(recv);
    let request = soon(read_request(&mut recv, Duration::from_secs(120))).await;
    assert!(
        matches!(request, Ok(Request::Datagrams { flow: 0, .. })),
        "{request:?}"
    );
    let early = Bytes::from_static(b"\x00early");
    assert_eq!(pair.listener.send_datagram(early), Ok(()));
    let mut buffer = [0; 10];
    let nothing = timeout(Duration::from_millis(30), client.recv(&mut buffer)).await;
    assert!(nothing.is_err(), "not before the grant");
    let granted = Ok(Granted::Datagrams(echo.local_addr().unwrap()));
    answer(&mut send, &granted).await.unwrap();
    let length = soon(client.recv(&mut buffer)).await.unwrap();
    assert_eq!(&buffer[..length], b"early");
}

/// C4: a peer that floods a flow before it is granted fills its queue and nothing else.
#[tokio::test]
async fn a_flood_is_bounded_by_the_queue() {
    let pair = Pair::new(2000).await;
    let (client, echo) = sockets().await;
    let entrance = pair.forward(echo.local_addr().unwrap()).await;
    client.send_to(b"hello", entrance).await.unwrap();
    let (_send, _recv) = soon(pair.listener.accept_bi()).await.unwrap();
    for _ in 0..1000 {
        let flood = Bytes::from(vec![0; 1001]);
        assert_eq!(pair.listener.send_datagram(flood), Ok(()));
    }
    let dropped = || counted(&pair.core.registry).dropped;
    let fits = limits::QUEUE / 1002;
    soon(async {
        while dropped() < 1000 - fits as u64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(dropped(), 1000 - fits as u64);
    assert!(pair.core.udp.budget.peak() <= limits::QUEUE as u64 + 1002);
}
