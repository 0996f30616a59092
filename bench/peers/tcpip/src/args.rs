//! The command line.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// The machine's end of the TUN device.
pub const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The stack's end.
pub const STACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Where the stack listens.
pub const PORT: u16 = 7000;
/// Request and answer.
pub const MESSAGE: usize = 1024;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Args {
    /// Server (the stack under test) or client (the kernel's TCP, or both ends in memory).
    pub server: bool,
    /// Whose code.
    pub name: String,
    /// Where to connect.
    pub addr: SocketAddrV4,
    /// What to measure.
    pub work: String,
    /// For how long.
    pub secs: Duration,
    /// Idle connections.
    pub count: usize,
    /// Whether the device offloads checksums and segmentation.
    pub offload: bool,
    /// Bytes of each buffer of a socket, where a stack wants to be told.
    pub buffer: usize,
}

impl Args {
    /// Reads the command line.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
        let server = match words.next().as_deref() {
            Some("server") => true,
            Some("client") => false,
            _ => return Err("server or client?".into()),
        };
        let mut args = Args {
            server,
            name: "smoltcp".into(),
            addr: SocketAddrV4::new(STACK, PORT),
            work: "receive".into(),
            secs: Duration::from_secs(1),
            count: 10_000,
            offload: false,
            buffer: 1 << 20,
        };
        while let Some(flag) = words.next() {
            match flag.as_str() {
                "--json" => continue,
                "--offload" => {
                    args.offload = true;
                    continue;
                }
                _ => {}
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            let wrong = |_| format!("{flag}: {value}?");
            match flag.as_str() {
                "--impl" => args.name = value,
                // Where the server would listen: it has an address of its own.
                "--addr" if server => {}
                "--addr" => {
                    args.addr = value
                        .parse()
                        .map_err(|_| format!("{value} is no IP:PORT"))?
                }
                "--work" => args.work = value,
                "--secs" => {
                    let secs: f64 = value.parse().map_err(|_| format!("{flag}: {value}?"))?;
                    args.secs = Duration::from_secs_f64(secs);
                }
                "--count" => args.count = value.parse().map_err(wrong)?,
                "--buffer" => args.buffer = value.parse().map_err(wrong)?,
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        Ok(args)
    }
}
