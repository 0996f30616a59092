//! The client: fetches files.

use crate::Fault;
use crate::http::Http;
use crate::options::Options;
use crate::socket::{Heard, Socket};
use quiche::{Connection, ConnectionId, RecvInfo};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn run(options: &Options) -> Result<(), Fault> {
    let paths = &options.paths[..];
    if options.has("many") {
        for path in paths {
            Fetching::new(options, std::slice::from_ref(path), None)?.run(false)?;
        }
        return Ok(());
    }
    if !options.has("resume") && !options.has("early-data") {
        Fetching::new(options, paths, None)?.run(false)?;
        return Ok(());
    }
    let (first, rest) = paths.split_at(1);
    let session = Fetching::new(options, first, None)?.run(true)?;
    let session = session.ok_or("there was no ticket")?;
    Fetching::new(options, rest, Some(&session))?.run(false)?;
    Ok(())
}

struct Fetching<'a> {
    options: &'a Options,
    name: &'a str,
    out: PathBuf,
    socket: Socket,
    connection: Connection,
    http: Option<Http>,
    left: VecDeque<String>,
    asked: HashMap<u64, String>,
}

impl<'a> Fetching<'a> {
    fn new(options: &'a Options, paths: &[String], session: Option<&[u8]>) -> Result<Self, Fault> {
        let to: SocketAddr = options.value("connect")?.parse()?;
        let any: IpAddr = if to.is_ipv6() {
            "::1".parse()?
        } else {
            "127.0.0.1".parse()?
        };
        let socket = Socket::bind(SocketAddr::new(any, 0))?;
        let name = options.value("name")?;
        let id = ConnectionId::from_vec(unlikely_twice());
        let mut connection =
            quiche::connect(Some(name), &id, socket.local, to, &mut options.config()?)?;
        options.log_keys(&mut connection)?;
        if let Some(session) = session {
            connection.set_session(session)?;
        }
        Ok(Fetching {
            options,
            name,
            out: options.path("out")?,
            socket,
            connection,
            http: None,
            left: paths.iter().cloned().collect(),
            asked: HashMap::new(),
        })
    }

    /// Until all has come, and the ticket if one is wanted; the ticket.
    fn run(mut self, wants_ticket: bool) -> Result<Option<Vec<u8>>, Fault> {
        let mut buffer = vec![0; 64 << 10];
        self.socket.flush(&mut self.connection)?;
        loop {
            self.ask_and_take()?;
            self.socket.flush(&mut self.connection)?;
            let is_done = self.left.is_empty() && self.asked.is_empty();
            let has_ticket = !wants_ticket || self.connection.session().is_some();
            if is_done && has_ticket && !self.connection.is_closed() {
                let ticket = self.connection.session().map(<[u8]>::to_vec);
                let code = if self.options.is_http3() { 0x100 } else { 0 };
                self.connection.close(true, code, b"")?;
                self.socket.flush(&mut self.connection)?;
                return Ok(ticket);
            }
            if self.connection.is_closed() {
                let why = self
                    .connection
                    .peer_error()
                    .or(self.connection.local_error());
                return Err(format!("the connection ended: {why:?}").into());
            }
            match self.socket.hear(&mut buffer, self.connection.timeout())? {
                Heard::Nothing => self.connection.on_timeout(),
                Heard::Datagram(length, from) => {
                    let to = self.socket.local;
                    // What cannot be read is dropped.
                    let _ = self
                        .connection
                        .recv(&mut buffer[..length], RecvInfo { from, to });
                }
            }
        }
    }

    fn ask_and_take(&mut self) -> Result<(), Fault> {
        let connection = &mut self.connection;
        if !connection.is_established() && !connection.is_in_early_data() {
            return Ok(());
        }
        if self.http.is_none() {
            self.http = Some(Http::new(connection, self.options.is_http3())?);
        }
        let Some(http) = &mut self.http else {
            return Ok(());
        };
        while let Some(path) = self.left.front()
            && let Some(stream) = http.ask(connection, self.name, path)?
        {
            self.asked
                .extend(self.left.pop_front().map(|path| (stream, path)));
        }
        http.give(connection)?;
        http.take(connection)?;
        for (stream, path) in &self.asked {
            let Some(came) = http.came.get(stream) else {
                continue;
            };
            if came.is_wrong {
                return Err(format!("{path} did not come").into());
            }
            if came.is_whole {
                let name = path.trim_start_matches('/').replace('/', "_");
                std::fs::write(self.out.join(name), &came.data)?;
            }
        }
        self.asked
            .retain(|stream, _| !http.came.get(stream).is_some_and(|came| came.is_whole));
        Ok(())
    }
}

/// Bytes for a connection ID; a test needs them different, not secret.
fn unlikely_twice() -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (now.as_nanos() ^ u128::from(std::process::id()) << 96)
        .to_be_bytes()
        .to_vec()
}
