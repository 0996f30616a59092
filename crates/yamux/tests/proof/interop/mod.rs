//! A session over a TCP connection of this machine, and the `yamux` crate at the other end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test code"
)]

pub mod flows;
pub mod ours;
pub mod theirs;

use ours::{Driver, Outcome};
use std::future::Future;
use std::time::Duration;
use theirs::Theirs;
use tokio::net::{TcpListener, TcpStream};
use weir_yamux::Role;

/// Two ends of a connection over loopback: the first connected, the second accepted.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (connected, (accepted, _)) = (connected.unwrap(), accepted.unwrap());
    connected.set_nodelay(true).unwrap();
    accepted.set_nodelay(true).unwrap();
    (connected, accepted)
}

/// Runs `driver` against what `theirs` does with the crate's end, each on a thread of its own.
pub fn meet<T, F>(driver: Driver, theirs: impl FnOnce(Theirs) -> F + Send + 'static) -> (Outcome, T)
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let role = driver.role();
    let runtime = runtime();
    let (ours_end, theirs_end) = runtime.block_on(async {
        let (connected, accepted) = sockets().await;
        let swapped = role == Role::Server;
        let (ours, theirs) = if swapped {
            (accepted, connected)
        } else {
            (connected, accepted)
        };
        (ours.into_std().unwrap(), theirs.into_std().unwrap())
    });
    let other = std::thread::spawn(move || {
        self::runtime().block_on(async {
            let socket = TcpStream::from_std(theirs_end).unwrap();
            let client = role == Role::Server;
            let tasks = tokio::task::LocalSet::new();
            tasks
                .run_until(async { in_time(theirs(Theirs::start(socket, client))).await })
                .await
        })
    });
    let outcome = runtime.block_on(async {
        let socket = TcpStream::from_std(ours_end).unwrap();
        in_time(driver.run(socket)).await
    });
    (outcome, other.join().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// No exchange of these tests takes minutes; one that hangs is to fail.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work)
        .await
        .expect("the exchange hangs")
}
