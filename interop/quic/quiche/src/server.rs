//! The server: files of a directory.

use crate::Fault;
use crate::http::Http;
use crate::options::Options;
use crate::socket::{Heard, Socket};
use quiche::{Config, Connection, ConnectionId, Header, RecvInfo, Type};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

/// Length of our connection IDs, in bytes.
const ID: usize = 16;

pub fn run(options: &Options) -> Result<(), Fault> {
    let mut server = Server {
        options,
        www: options.path("www")?,
        socket: Socket::bind(options.value("addr")?.parse()?)?,
        config: options.config()?,
        connections: Vec::new(),
        by_id: HashMap::new(),
        next_id: 1,
    };
    println!("{{\"listening\":\"{}\"}}", server.socket.local);
    let mut buffer = vec![0; 64 << 10];
    loop {
        server.turn(&mut buffer)?;
    }
}

struct Served {
    connection: Connection,
    http: Option<Http>,
}

struct Server<'a> {
    options: &'a Options,
    www: PathBuf,
    socket: Socket,
    config: Config,
    /// None: it ended.
    connections: Vec<Option<Served>>,
    by_id: HashMap<Vec<u8>, usize>,
    next_id: u128,
}

impl Server<'_> {
    fn turn(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        let live = self.connections.iter().flatten();
        let wait = live.filter_map(|served| served.connection.timeout()).min();
        match self.socket.hear(buffer, wait)? {
            Heard::Datagram(length, from) => {
                if let Some(datagram) = buffer.get_mut(..length) {
                    self.on_datagram(datagram, from)?;
                }
            }
            Heard::Nothing => {
                // Before its time this does nothing.
                self.connections
                    .iter_mut()
                    .flatten()
                    .for_each(|served| served.connection.on_timeout());
            }
        }
        for index in 0..self.connections.len() {
            self.serve(index)?;
        }
        Ok(())
    }

    fn on_datagram(&mut self, datagram: &mut [u8], from: SocketAddr) -> Result<(), Fault> {
        let Ok(header) = Header::from_slice(datagram, ID) else {
            return Ok(());
        };
        let index = match self.by_id.get(header.dcid.as_ref()) {
            Some(&index) => index,
            None => match self.greet(&header, from)? {
                Some(index) => index,
                None => return Ok(()),
            },
        };
        let to = self.socket.local;
        if let Some(served) = &mut self.connections[index] {
            // What cannot be read is dropped.
            let _ = served.connection.recv(datagram, RecvInfo { from, to });
            if served.connection.stats().recv == 0 {
                // Nothing of its first datagram was the client's: what its header said may be wrong too.
                self.connections[index] = None;
                self.by_id.retain(|_, known| *known != index);
            }
        }
        Ok(())
    }

    /// A packet of no connection: begins one, or says what is wanted first.
    fn greet(&mut self, header: &Header, from: SocketAddr) -> Result<Option<usize>, Fault> {
        let mut out = [0; 1500];
        if header.ty == Type::Short {
            return Ok(None);
        }
        if !quiche::version_is_supported(header.version) {
            let length = quiche::negotiate_version(&header.scid, &header.dcid, &mut out)?;
            self.socket.send(&out[..length], from)?;
            return Ok(None);
        }
        if header.ty != Type::Initial {
            return Ok(None);
        }
        let token = header.token.as_deref().unwrap_or_default();
        if self.options.has("retry") && token.is_empty() {
            let (id, token) = (self.new_id(), token_for(from, &header.dcid));
            let length = quiche::retry(
                &header.scid,
                &header.dcid,
                &id,
                &token,
                header.version,
                &mut out,
            )?;
            self.socket.send(&out[..length], from)?;
            return Ok(None);
        }
        let shown = token.strip_prefix(from.to_string().as_bytes());
        let original = shown.map(|rest| ConnectionId::from_vec(rest.to_vec()));
        if self.options.has("retry") && original.is_none() {
            return Ok(None);
        }
        let id = match &original {
            Some(_) => header.dcid.clone().into_owned(),
            None => self.new_id(),
        };
        let mut connection = quiche::accept(
            &id,
            original.as_ref(),
            self.socket.local,
            from,
            &mut self.config,
        )?;
        self.options.log_keys(&mut connection)?;
        let index = self.connections.len();
        self.connections.push(Some(Served {
            connection,
            http: None,
        }));
        self.by_id.insert(id.to_vec(), index);
        self.by_id.insert(header.dcid.to_vec(), index);
        Ok(Some(index))
    }

    fn new_id(&mut self) -> ConnectionId<'static> {
        self.next_id = self
            .next_id
            .wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645)
            .wrapping_add(1);
        ConnectionId::from_vec(self.next_id.to_be_bytes().to_vec())
    }

    fn serve(&mut self, index: usize) -> Result<(), Fault> {
        let Some(mut served) = self.connections[index].take() else {
            return Ok(());
        };
        let connection = &mut served.connection;
        if connection.is_established() || connection.is_in_early_data() {
            if served.http.is_none() {
                served.http = Some(Http::new(connection, self.options.is_http3())?);
            }
            if let Some(http) = &mut served.http {
                // A connection that breaks a rule is closed by it already.
                let _ = answer(http, connection, &self.www);
            }
        }
        while connection.is_established() && connection.scids_left() > 0 {
            let id = self.new_id();
            connection.new_scid(&id, self.next_id, false)?;
            self.by_id.insert(id.to_vec(), index);
        }
        self.socket.flush(connection)?;
        if !connection.is_closed() {
            self.connections[index] = Some(served);
        }
        Ok(())
    }
}

fn answer(http: &mut Http, connection: &mut Connection, www: &Path) -> Result<(), Fault> {
    http.take(connection)?;
    for (stream, path) in http.requests() {
        let inside = Path::new(path.trim_start_matches('/'));
        let is_plain = inside
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let file = is_plain
            .then(|| std::fs::read(www.join(inside)).ok())
            .flatten();
        http.answer(stream, file);
    }
    http.give(connection)
}

/// What shows that a client got a Retry: its address, and the connection ID that it began with. A test needs no more.
fn token_for(from: SocketAddr, original: &[u8]) -> Vec<u8> {
    [from.to_string().as_bytes(), original].concat()
}
