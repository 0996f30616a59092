//! Both ends in one process on one core, joined in memory: no system call, what the stack itself costs.

mod smoltcp_pair;
mod weir_pair;

use std::time::Instant;

use bench_common::report::Outcome;

use crate::args::{Args, MESSAGE};

/// One connection of a pair: what the stack calls it at either end.
pub type Ends<P> = (<P as Pair>::Id, <P as Pair>::Id);

/// Two stacks and the link between them. The client is side 0.
pub trait Pair {
    /// A connection at one side.
    type Id: Copy;
    /// Opens a connection; returns when both sides have it.
    fn open(&mut self) -> Ends<Self>;
    /// Takes bytes to send; how many.
    fn write(&mut self, side: usize, id: Self::Id, bytes: &[u8]) -> usize;
    /// Takes what was received, at most `max`, the way that costs the stack least; how many bytes.
    fn read(&mut self, side: usize, id: Self::Id, max: usize) -> usize;
    /// Ends both directions in order and lets go of it.
    fn close(&mut self, ends: Ends<Self>);
    /// Moves packets until none is under way.
    fn settle(&mut self);
    /// Lets one side do what it can and hands its packets to the other.
    fn turn(&mut self, side: usize);
}

/// Runs a work by its name: `memory-bulk`, `memory-bulk-65535`, `memory-rr`, `memory-rr-1000`, `memory-rr-10000`, `memory-open-close`.
pub fn run(args: &Args, work: &str) -> Result<Outcome, String> {
    let Some(work) = work.strip_prefix("memory-") else {
        return Err(format!("no work is called {work}"));
    };
    let mtu = if work == "bulk-65535" { 65_535 } else { 1500 };
    match args.name.as_str() {
        "smoltcp" => {
            let idle = work.strip_prefix("rr-").is_some();
            works(
                smoltcp_pair::SmolPair::new(mtu, if idle { 4096 } else { args.buffer }),
                args,
                work,
            )
        }
        "weir" => works(weir_pair::WeirPair::new(mtu), args, work),
        name => Err(format!("{name} has no ends in memory")),
    }
}

fn works<P: Pair>(mut pair: P, args: &Args, work: &str) -> Result<Outcome, String> {
    match work {
        "bulk" | "bulk-65535" => Ok(bulk(&mut pair, args)),
        "rr" => Ok(rr(&mut pair, args, 0)),
        "rr-1000" => Ok(rr(&mut pair, args, 1000)),
        "rr-10000" => Ok(rr(&mut pair, args, 10_000)),
        "open-close" => Ok(open_close(&mut pair, args)),
        _ => Err(format!("no work is called memory-{work}")),
    }
}

fn bulk<P: Pair>(pair: &mut P, args: &Args) -> Outcome {
    let (client, server) = pair.open();
    let chunk = vec![7; 256 * 1024];
    let mut bytes = 0;
    let moved = |pair: &mut P, bytes: &mut u64| {
        while pair.write(0, client, &chunk) > 0 {}
        pair.turn(0);
        loop {
            match pair.read(1, server, chunk.len()) {
                0 => break,
                count => *bytes += count as u64,
            }
        }
        pair.turn(1);
    };
    // Slow start is over then.
    let mut warm = 0;
    while warm < 64 << 20 {
        moved(pair, &mut warm);
    }
    let begun = Instant::now();
    while begun.elapsed() < args.secs {
        for _ in 0..16 {
            moved(pair, &mut bytes);
        }
    }
    Outcome {
        bytes,
        secs: begun.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    }
}

fn rr<P: Pair>(pair: &mut P, args: &Args, idle: usize) -> Outcome {
    let message = [7; MESSAGE];
    let mut kept = Vec::with_capacity(idle);
    for _ in 0..idle {
        let ends = pair.open();
        exchange(pair, ends, &message);
        kept.push(ends);
    }
    let ends = pair.open();
    let begun = Instant::now();
    let mut done = 0_u64;
    while begun.elapsed() < args.secs {
        for _ in 0..16 {
            exchange(pair, ends, &message);
        }
        done += 16;
    }
    each(begun, done)
}

fn exchange<P: Pair>(pair: &mut P, (client, server): Ends<P>, message: &[u8; MESSAGE]) {
    pass(pair, 0, client, server, message);
    pass(pair, 1, server, client, message);
}

fn pass<P: Pair>(pair: &mut P, from: usize, at: P::Id, to: P::Id, message: &[u8; MESSAGE]) {
    pair.write(from, at, message);
    pair.turn(from);
    let mut got = pair.read(1 - from, to, MESSAGE);
    while got < MESSAGE {
        pair.settle();
        got += pair.read(1 - from, to, MESSAGE - got);
    }
}

fn open_close<P: Pair>(pair: &mut P, args: &Args) -> Outcome {
    let begun = Instant::now();
    let mut done = 0;
    while begun.elapsed() < args.secs {
        for _ in 0..16 {
            let ends = pair.open();
            pair.close(ends);
        }
        done += 16;
    }
    each(begun, done)
}

/// So many one after the other: the mean is the figure.
fn each(begun: Instant, done: u64) -> Outcome {
    let secs = begun.elapsed().as_secs_f64();
    let mut outcome = Outcome {
        secs,
        done,
        ..Outcome::default()
    };
    outcome.more = vec![("mean_us", secs * 1e6 / done as f64)];
    outcome
}
