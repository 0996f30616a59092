//! The line for `rr-1`: a datagram of 1 KiB there and back with blocking calls, nothing sealed.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench_common::report::{Latencies, Outcome};
use bench_common::{Flags, MESSAGE, Work};

use crate::{listening, no_line};

/// Sends back what comes, until it is ended from outside.
pub async fn serve(flags: &Flags) -> io::Result<()> {
    let socket = bench_common::socket(flags.addr)?;
    listening(socket.local_addr()?, flags);
    // A thread of its own: the runtime's waits for the signal.
    let answers = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut buffer = [0; 2 * MESSAGE];
        loop {
            let (length, from) = socket.recv_from(&mut buffer)?;
            socket.send_to(&buffer[..length], from)?;
        }
    });
    answers.await?
}

/// Runs the client's side.
pub fn measure(flags: &Flags) -> io::Result<Outcome> {
    if flags.work != Work::RequestResponse(1) {
        return Err(no_line(flags));
    }
    let socket = bench_common::socket(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.connect(flags.addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [b'R'; MESSAGE];
    let mut latencies = Latencies::new();
    let start = Instant::now();
    let mut begun = start;
    while begun.duration_since(start) < flags.secs {
        socket.send(&buffer)?;
        socket.recv(&mut buffer)?;
        let ended = Instant::now();
        latencies.record(ended.duration_since(begun));
        begun = ended;
    }
    let done = latencies.count();
    Ok(Outcome {
        bytes: done * 2 * MESSAGE as u64,
        secs: start.elapsed().as_secs_f64(),
        done,
        latencies: Some(latencies),
        ..Outcome::default()
    })
}
