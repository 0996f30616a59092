use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many streams at once, server to client.
    Down(usize),
    /// One stream, client to server.
    Up,
    /// 1 KiB request and 1 KiB answer on a new stream, this many at a time.
    RequestResponse(usize),
    /// Connections made, used for one byte and closed, [`Flags::parallel`] at a time.
    Handshakes,
    /// Connections that are open and do nothing: what each costs in memory.
    IdleConns,
}

impl Work {
    fn parse(name: &str) -> Option<Work> {
        Some(match name {
            "bulk-down" => Work::Down(1),
            "bulk-up" => Work::Up,
            "streams-100" => Work::Down(100),
            "rr-1" => Work::RequestResponse(1),
            "rr-100" => Work::RequestResponse(100),
            "handshakes" => Work::Handshakes,
            "idle-conns" => Work::IdleConns,
            _ => return None,
        })
    }
}

/// The command line of a QUIC peer: the flags of `weir perf`, and `--impl` for whose code runs.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Server or client.
    pub server: bool,
    /// Whose code.
    pub name: String,
    /// Where to listen or to connect.
    pub addr: SocketAddr,
    /// What to measure (client).
    pub work: Work,
    /// Its name.
    pub work_name: String,
    /// How long to measure.
    pub secs: Duration,
    /// How many connections in `idle-conns`.
    pub count: usize,
    /// How many handshakes at a time.
    pub parallel: usize,
    /// Largest UDP payload, in bytes.
    pub mtu: u16,
    /// Threads of the runtime; 0: the one that there is anyway.
    pub threads: usize,
    /// Streams that the peer may have open at once.
    pub streams: u32,
    /// Where the server writes its certificate and the client reads whom to trust, for TLS stacks that insist.
    pub certificate: Option<PathBuf>,
}

impl Flags {
    /// Reads the command line.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Flags, String> {
        let server = match words.next().as_deref() {
            Some("server") => true,
            Some("client") => false,
            _ => return Err("server or client?".into()),
        };
        let mut flags = Flags {
            server,
            name: String::new(),
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            work: Work::Down(1),
            work_name: "bulk-down".into(),
            secs: Duration::from_secs(2),
            count: 500,
            parallel: 1,
            mtu: 1452,
            threads: 0,
            streams: 256,
            certificate: None,
        };
        while let Some(flag) = words.next() {
            if flag == "--json" {
                continue; // the only form there is; taken so that scripts can treat all peers alike
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            flags.take(&flag, value)?;
        }
        Ok(flags)
    }

    fn take(&mut self, flag: &str, value: String) -> Result<(), String> {
        let number = || {
            value
                .parse::<f64>()
                .map_err(|_| format!("{flag}: {value} is no number"))
        };
        match flag {
            "--impl" => self.name = value,
            "--addr" => {
                self.addr = value
                    .parse()
                    .map_err(|_| format!("{value} is no IP:PORT"))?;
            }
            "--work" => {
                self.work = Work::parse(&value).ok_or_else(|| format!("unknown --work {value}"))?;
                self.work_name = value;
            }
            "--secs" => self.secs = Duration::from_secs_f64(number()?),
            "--count" => self.count = number()? as usize,
            "--parallel" => self.parallel = (number()? as usize).max(1),
            "--mtu" => self.mtu = number()? as u16,
            "--threads" => self.threads = number()? as usize,
            "--streams" => self.streams = number()? as u32,
            "--certificate" => self.certificate = Some(value.into()),
            _ => return Err(format!("unknown option {flag}")),
        }
        Ok(())
    }
}
