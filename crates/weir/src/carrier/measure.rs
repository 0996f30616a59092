//! Throughput of the carriers beside plain rustls in the same run, over loopback TCP, each side a
//! thread:
//!
//!     cargo test --release -p weir --lib carrier::measure -- --ignored --nocapture
//!
//! Beside the rate on the clock stands what each side's processor time allows, which hardly depends
//! on what else the machine is doing.

use std::future::poll_fn;
use std::io::{BufReader, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::server::ServerConfig;
use rustls::{ClientConnection, ServerConnection};

use super::handshake::{accept_tls, connect_tls};
use super::testing::{End, configs};
use super::{Carrier, TcpCarrier};

const WARM_UP: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_millis(500);
const ROUNDS: usize = 7;
const CHUNK: usize = 256 * 1024;

/// Gbit/s on the clock, and as the processor time of either side would allow.
#[derive(Clone, Copy, Default)]
struct Rate {
    clock: f64,
    sender: f64,
    receiver: f64,
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn gbps(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8e-9 / time.as_secs_f64()
}

/// Runs `sender` on a thread of its own and calls `receive`, which says how much it got and `None`
/// at the end. The sender stops when it is told, and says its own figure.
fn run(
    sender: impl FnOnce(&AtomicBool) -> f64 + Send + 'static,
    mut receive: impl FnMut() -> Option<usize>,
) -> Rate {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let sender = thread::spawn(move || sender(&told));
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        receive().unwrap();
    }
    let (start, used, mut bytes) = (Instant::now(), cpu(), 0);
    while start.elapsed() < TIME {
        bytes += receive().unwrap();
    }
    let (clock, receiver) = (start.elapsed(), cpu() - used);
    stop.store(true, Relaxed);
    while receive().is_some() {}
    Rate {
        clock: gbps(bytes, clock),
        receiver: gbps(bytes, receiver),
        sender: sender.join().unwrap(),
    }
}

/// Calls `send`, which says how much it sent, until told to stop.
fn send_all(stop: &AtomicBool, mut send: impl FnMut() -> usize) -> f64 {
    let (used, mut bytes) = (cpu(), 0);
    while !stop.load(Relaxed) {
        bytes += send();
    }
    gbps(bytes, cpu() - used)
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
        // The default may be one that is slow on loopback.
        let _ = weir_os::socket::set_congestion(socket, "cubic");
    }
    (client, server)
}

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// rustls as it is usually driven: its buffers, a read and a write for what it has. Its reads are
/// of 4 KiB, so a buffer below it makes large ones of them.
fn bare_rustls(configs: Configs) -> Rate {
    let (mut client, mut server) = sockets();
    let name = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
    let mut sending = ClientConnection::new(configs.0, name).unwrap();
    sending.set_buffer_limit(None);
    let sender = move |stop: &AtomicBool| {
        let data = vec![7u8; CHUNK];
        while sending.is_handshaking() {
            sending.complete_io(&mut client).unwrap();
        }
        send_all(stop, || {
            sending.writer().write_all(&data).unwrap();
            while sending.wants_write() {
                sending.write_tls(&mut client).unwrap();
            }
            data.len()
        })
    };
    let mut receiving = ServerConnection::new(configs.1).unwrap();
    let mut reader = BufReader::with_capacity(CHUNK, server.try_clone().unwrap());
    let mut into = vec![0u8; CHUNK];
    let receive = || {
        while receiving.is_handshaking() {
            receiving.complete_io(&mut server).unwrap();
        }
        let read = receiving.read_tls(&mut reader).unwrap();
        receiving.process_new_packets().unwrap();
        let mut got = 0;
        while let Ok(n @ 1..) = receiving.reader().read(&mut into) {
            got += n;
        }
        (read > 0).then_some(got)
    };
    run(sender, receive)
}

fn raw_tcp() -> Rate {
    let (mut client, mut server) = sockets();
    let data = vec![7u8; CHUNK];
    let sender = move |stop: &AtomicBool| {
        send_all(stop, || {
            client.write_all(&data).map(|()| data.len()).unwrap()
        })
    };
    let mut into = vec![0u8; CHUNK];
    run(sender, || {
        Some(server.read(&mut into).unwrap()).filter(|n| *n > 0)
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn tokio_stream(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

/// Writes frames as a multiplexer does: a short header, then a payload, many to a call.
async fn send_frames<C: Carrier>(end: &mut End<C>, payload: &[u8]) -> usize {
    let header = [0u8; 12];
    let frames = (CHUNK / payload.len()).clamp(1, 256);
    let frame = [IoSlice::new(&header), IoSlice::new(payload)];
    let total = frames * (header.len() + payload.len());
    let mut bufs: Vec<_> = std::iter::repeat_n(frame, frames).flatten().collect();
    let (mut bufs, mut left) = (&mut bufs[..], total);
    while left > 0 {
        let taken = end.write(bufs).await.unwrap();
        IoSlice::advance_slices(&mut bufs, taken);
        left -= taken;
    }
    total
}

fn frames<C: Carrier, D: Carrier>(
    sender: impl Future<Output = C> + Send + 'static,
    receiver: impl Future<Output = D>,
    payload: usize,
) -> Rate {
    let sender = move |stop: &AtomicBool| {
        let (runtime, payload) = (runtime(), vec![7u8; payload]);
        let mut end = End::new(runtime.block_on(sender));
        let rate = send_all(stop, || runtime.block_on(send_frames(&mut end, &payload)));
        runtime.block_on(async {
            end.flush().await.unwrap();
            end.close().await.unwrap();
        });
        rate
    };
    let (runtime, mut out) = (runtime(), Vec::new());
    let (mut end, mut receiver) = (None, Some(receiver));
    run(sender, || {
        let mut carrier = || runtime.block_on(receiver.take().unwrap());
        let end = end.get_or_insert_with(|| End::new(carrier()));
        let read = poll_fn(|cx| end.carrier.poll_read(cx, &mut end.buf, &mut out));
        let more = runtime.block_on(read).unwrap();
        assert!(
            end.buf.allocations() < 8,
            "{} chunks",
            end.buf.allocations()
        );
        more.then(|| out.drain(..).map(|b| b.len()).sum())
    })
}

fn tls_carrier(configs: Configs, payload: usize) -> Rate {
    let (client, server) = sockets();
    let sender = async {
        connect_tls(tokio_stream(client), configs.0)
            .await
            .unwrap()
            .0
    };
    let receiver = async { accept_tls(tokio_stream(server), configs.1).await.unwrap().0 };
    frames(sender, receiver, payload)
}

fn tcp_carrier(payload: usize) -> Rate {
    let (client, server) = sockets();
    let sender = async { TcpCarrier::new(tokio_stream(client)) };
    let receiver = async { TcpCarrier::new(tokio_stream(server)) };
    frames(sender, receiver, payload)
}

#[test]
#[ignore = "a measurement, not a test"]
fn throughput() {
    type Work = (&'static str, fn() -> Rate);
    let works: [Work; 6] = [
        ("raw TCP, blocking", raw_tcp),
        ("rustls, blocking", || bare_rustls(configs())),
        ("tcp carrier, 64 KiB frames", || tcp_carrier(64 * 1024)),
        ("tls carrier, 64 KiB frames", || {
            tls_carrier(configs(), 64 * 1024)
        }),
        ("tls carrier, 16 KiB frames", || {
            tls_carrier(configs(), 16 * 1024)
        }),
        ("tls carrier, 1 KiB frames", || tls_carrier(configs(), 1024)),
    ];
    // One row alone, for a profiler.
    let only = std::env::var("WEIR_MEASURE").unwrap_or_default();
    let works: Vec<_> = works
        .into_iter()
        .filter(|(name, _)| name.contains(&only))
        .collect();
    let mut rows = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for (row, (_, work)) in rows.iter_mut().zip(&works) {
            row.push(work());
        }
    }
    println!(
        "{:<28} {:>8} {:>8} {:>8}  Gbit/s",
        "", "clock", "sender", "receiver"
    );
    for ((name, _), rates) in works.iter().zip(rows) {
        let median = |of: fn(&Rate) -> f64| {
            let mut sorted: Vec<_> = rates.iter().map(of).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        let (clock, sender, receiver) = (
            median(|r| r.clock),
            median(|r| r.sender),
            median(|r| r.receiver),
        );
        println!("{name:<28} {clock:8.1} {sender:8.1} {receiver:8.1}");
    }
}
