//! Throughput of the carriers beside plain rustls in the same run, over loopback TCP, each side a thread:
//!
//!     cargo test --release -p weir --lib carrier::measure -- --ignored --nocapture

use std::future::poll_fn;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::server::ServerConfig;
use rustls::{ClientConnection, ServerConnection};

use super::handshake::{accept_tls, connect_tls};
use super::testing::{End, configs};
use super::{Carrier, TcpCarrier};

const WARM_UP: Duration = Duration::from_millis(200);
const TIME: Duration = Duration::from_millis(1000);
const ROUNDS: usize = 5;

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

/// Gbit/s between the end of the warm-up and the end, by what `receive` says it got each time.
fn gbps(mut receive: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        receive();
    }
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        bytes += receive();
    }
    bytes as f64 * 8e-9 / start.elapsed().as_secs_f64()
}

/// rustls as it is usually driven: its buffers, a read and a write for what it has.
fn bare_rustls(configs: (Arc<ClientConfig>, Arc<ServerConfig>)) -> f64 {
    let (mut client, mut server) = sockets();
    let sender = thread::spawn(move || {
        let name = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
        let mut tls = ClientConnection::new(configs.0, name).unwrap();
        tls.set_buffer_limit(Some(512 * 1024));
        let data = vec![7u8; 256 * 1024];
        while tls.is_handshaking() {
            tls.complete_io(&mut client).unwrap();
        }
        loop {
            tls.writer().write_all(&data).unwrap();
            while tls.wants_write() {
                if tls.write_tls(&mut client).is_err() {
                    return;
                }
            }
        }
    });
    let mut tls = ServerConnection::new(configs.1).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut server).unwrap();
    }
    let mut into = vec![0u8; 256 * 1024];
    let rate = gbps(|| {
        tls.read_tls(&mut server).unwrap();
        tls.process_new_packets().unwrap();
        let mut got = 0;
        while let Ok(n) = tls.reader().read(&mut into) {
            got += n;
        }
        got
    });
    drop(server);
    sender.join().unwrap();
    rate
}

fn raw_tcp() -> f64 {
    let (mut client, mut server) = sockets();
    let sender = thread::spawn(move || {
        let data = vec![7u8; 256 * 1024];
        while client.write_all(&data).is_ok() {}
    });
    let mut into = vec![0u8; 256 * 1024];
    let rate = gbps(|| server.read(&mut into).unwrap());
    drop(server);
    sender.join().unwrap();
    rate
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
async fn send_frames<C: Carrier>(carrier: C, payload: usize) {
    let mut end = End::new(carrier);
    let (header, payload) = ([0u8; 12], vec![7u8; payload]);
    let frames = (256 * 1024 / payload.len()).clamp(1, 16);
    let frame = [IoSlice::new(&header), IoSlice::new(&payload)];
    let total = frames * (header.len() + payload.len());
    loop {
        let mut bufs: Vec<_> = std::iter::repeat_n(frame, frames).flatten().collect();
        let (mut bufs, mut left) = (&mut bufs[..], total);
        while left > 0 {
            let Ok(taken) = end.write(bufs).await else {
                return;
            };
            IoSlice::advance_slices(&mut bufs, taken);
            left -= taken;
        }
    }
}

fn receive_all<C: Carrier>(carrier: C, runtime: &tokio::runtime::Runtime) -> f64 {
    let mut end = End::new(carrier);
    let mut out = Vec::new();
    let rate = gbps(|| {
        runtime
            .block_on(poll_fn(|cx| {
                end.carrier.poll_read(cx, &mut end.buf, &mut out)
            }))
            .unwrap();
        out.drain(..).map(|b| b.len()).sum()
    });
    assert!(
        end.buf.allocations() < 8,
        "{} chunks",
        end.buf.allocations()
    );
    rate
}

fn tls_carrier(configs: (Arc<ClientConfig>, Arc<ServerConfig>), payload: usize) -> f64 {
    let (client, server) = sockets();
    let sender = thread::spawn(move || {
        runtime().block_on(async {
            let tls = connect_tls(tokio_stream(client), configs.0).await.unwrap();
            send_frames(tls.0, payload).await;
        });
    });
    let runtime = runtime();
    let server = runtime.block_on(async { accept_tls(tokio_stream(server), configs.1).await });
    let rate = receive_all(server.unwrap().0, &runtime);
    sender.join().unwrap();
    rate
}

fn tcp_carrier(payload: usize) -> f64 {
    let (client, server) = sockets();
    let sender = thread::spawn(move || {
        runtime().block_on(async {
            send_frames(TcpCarrier::new(tokio_stream(client)), payload).await;
        });
    });
    let runtime = runtime();
    let server = runtime.block_on(async { TcpCarrier::new(tokio_stream(server)) });
    let rate = receive_all(server, &runtime);
    sender.join().unwrap();
    rate
}

#[test]
#[ignore = "a measurement, not a test"]
fn throughput() {
    let suite = |mut config: Arc<ClientConfig>, n: usize| {
        let mut provider = (**config.crypto_provider()).clone();
        provider.cipher_suites = vec![provider.cipher_suites[n]];
        let _ = &mut config;
        provider
    };
    let _ = suite;
    let mut rows: Vec<(&str, Vec<f64>)> = vec![
        ("raw TCP, blocking", vec![]),
        ("rustls, blocking", vec![]),
        ("tcp carrier, 64 KiB frames", vec![]),
        ("tls carrier, 64 KiB frames", vec![]),
        ("tls carrier, 16 KiB frames", vec![]),
        ("tls carrier, 1 KiB frames", vec![]),
    ];
    for _ in 0..ROUNDS {
        let mut row = rows.iter_mut().map(|(_, rates)| rates);
        let mut put = |rate| row.next().unwrap().push(rate);
        put(raw_tcp());
        put(bare_rustls(configs()));
        put(tcp_carrier(64 * 1024));
        put(tls_carrier(configs(), 64 * 1024));
        put(tls_carrier(configs(), 16 * 1024));
        put(tls_carrier(configs(), 1024));
    }
    for (name, mut rates) in rows {
        rates.sort_by(f64::total_cmp);
        println!("{name:<28} {:6.1} Gbit/s", rates[rates.len() / 2]);
    }
}
