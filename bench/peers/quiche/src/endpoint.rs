//! One socket and the connections on it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench_common::udp::{Incoming, LARGEST, SEGMENTS, Udp};
use bench_common::{Flags, NAME};
use quiche::{Connection, ConnectionId, RecvInfo};

use crate::broken;
use crate::config::config;

/// What is done with connections on which something happened.
pub trait App {
    /// Reads and writes streams.
    fn progress(&mut self, index: usize, connection: &mut Connection) -> io::Result<()>;
}

struct Entry {
    connection: Connection,
    /// What it is found by.
    keys: Vec<u64>,
    touched: bool,
}

/// A socket and the connections on it.
pub struct Endpoint {
    udp: Udp,
    table: Table,
    outgoing: Vec<u8>,
}

/// The connections, and what is due.
struct Table {
    local: SocketAddr,
    config: quiche::Config,
    is_server: bool,
    connections: Vec<Option<Entry>>,
    free: Vec<usize>,
    by_key: HashMap<u64, usize>,
    touched: Vec<usize>,
    next_id: u64,
    wake: Option<Instant>,
}

/// All connection IDs of this program have 8 bytes; of a client's first one, which is longer, the first 8 will do.
fn key(datagram: &[u8]) -> Option<u64> {
    let at = if datagram.first()? & 0x80 == 0 { 1 } else { 6 };
    let id = datagram.get(at..at + 8)?;
    Some(u64::from_be_bytes(id.try_into().ok()?))
}

impl Endpoint {
    /// Bound where the flags say.
    pub fn new(flags: &Flags) -> io::Result<Endpoint> {
        let addr = if flags.server {
            flags.addr
        } else {
            SocketAddr::from(([127, 0, 0, 1], 0))
        };
        let udp = Udp::bind(addr)?;
        let table = Table {
            local: udp.addr()?,
            config: config(flags)?,
            is_server: flags.server,
            connections: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            touched: Vec::new(),
            next_id: 1 << 56,
            wake: None,
        };
        Ok(Endpoint {
            udp,
            table,
            outgoing: vec![0; 2 * (1 << 16)],
        })
    }

    /// Where it is bound.
    pub fn addr(&self) -> SocketAddr {
        self.table.local
    }

    /// Begins a connection.
    pub fn connect(&mut self, to: SocketAddr) -> io::Result<usize> {
        self.table.connect(to)
    }

    /// The connection at this index.
    pub fn get(&mut self, index: usize) -> Option<&mut Connection> {
        self.table.get(index)
    }

    /// Has the connection looked at in the next turn.
    pub fn touch(&mut self, index: usize) {
        self.table.touch(index);
    }

    /// One turn: waits until something arrives, a timer is due or the time is over, unless there is something to do already; then
    /// has it done, and sends.
    pub async fn turn(
        &mut self,
        app: &mut impl App,
        incoming: &mut Incoming,
        over: Option<Instant>,
    ) -> io::Result<()> {
        if self.table.touched.is_empty() {
            let until = [self.table.wake, over].into_iter().flatten().min();
            if self.receive(incoming)? == 0 && !self.wait(until).await? {
                self.table.on_timers();
            }
            // All that is there, within a bound, so that the answers go together.
            for _ in 0..8 {
                if self.receive(incoming)? == 0 {
                    break;
                }
            }
        }
        self.work(app).await
    }

    fn receive(&mut self, incoming: &mut Incoming) -> io::Result<usize> {
        let table = &mut self.table;
        self.udp
            .try_receive(incoming, |from, datagram| table.on_datagram(from, datagram))
    }

    /// False: the time was over first.
    async fn wait(&self, until: Option<Instant>) -> io::Result<bool> {
        match until {
            None => self.udp.readable().await.map(|()| true),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                // The runtime's timers count whole milliseconds, and late rather than early.
                match tokio::time::timeout(left.max(Duration::from_millis(1)), self.udp.readable())
                    .await
                {
                    Ok(readable) => readable.map(|()| true),
                    Err(_) => Ok(false),
                }
            }
        }
    }

    async fn work(&mut self, app: &mut impl App) -> io::Result<()> {
        let table = &mut self.table;
        for index in std::mem::take(&mut table.touched) {
            let Some(Some(entry)) = table.connections.get_mut(index) else {
                continue;
            };
            entry.touched = false;
            app.progress(index, &mut entry.connection)?;
            send(&self.udp, &mut self.outgoing, &mut entry.connection).await?;
            if entry.connection.is_closed() {
                for key in std::mem::take(&mut entry.keys) {
                    table.by_key.remove(&key);
                }
                table.connections[index] = None;
                table.free.push(index);
            } else {
                let due = entry.connection.timeout_instant();
                table.wake = [table.wake, due].into_iter().flatten().min();
            }
        }
        Ok(())
    }
}

impl Table {
    fn insert(&mut self, connection: Connection, keys: Vec<u64>) -> usize {
        let index = self.free.pop().unwrap_or(self.connections.len());
        if index == self.connections.len() {
            self.connections.push(None);
        }
        for &key in &keys {
            self.by_key.insert(key, index);
        }
        self.connections[index] = Some(Entry {
            connection,
            keys,
            touched: false,
        });
        self.touch(index);
        index
    }

    fn new_id(&mut self) -> (u64, ConnectionId<'static>) {
        self.next_id += 1;
        let bytes = self.next_id.to_be_bytes().to_vec();
        (self.next_id, ConnectionId::from_vec(bytes))
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<usize> {
        let (key, id) = self.new_id();
        let new = quiche::connect(Some(NAME), &id, self.local, to, &mut self.config);
        Ok(self.insert(new.map_err(broken)?, vec![key]))
    }

    fn get(&mut self, index: usize) -> Option<&mut Connection> {
        self.connections
            .get_mut(index)?
            .as_mut()
            .map(|entry| &mut entry.connection)
    }

    fn touch(&mut self, index: usize) {
        if let Some(Some(entry)) = self.connections.get_mut(index)
            && !entry.touched
        {
            entry.touched = true;
            self.touched.push(index);
        }
    }

    fn on_datagram(&mut self, from: SocketAddr, datagram: &mut [u8]) -> io::Result<()> {
        let Some(key) = key(datagram) else {
            return Ok(());
        };
        let index = match self.by_key.get(&key) {
            Some(&index) => index,
            None if self.is_server && datagram[0] & 0x80 != 0 => {
                let (own, id) = self.new_id();
                let new = quiche::accept(&id, None, self.local, from, &mut self.config);
                self.insert(new.map_err(broken)?, vec![own, key])
            }
            None => return Ok(()),
        };
        let info = RecvInfo {
            from,
            to: self.local,
        };
        if let Some(connection) = self.get(index) {
            // What cannot be read is dropped; what ends the connection is found at its next look.
            let _ = connection.recv(datagram, info);
        }
        self.touch(index);
        Ok(())
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        self.wake = None;
        for index in 0..self.connections.len() {
            let Some(connection) = self.get(index) else {
                continue;
            };
            match connection.timeout_instant() {
                Some(due) if due <= now => {
                    connection.on_timeout();
                    self.touch(index);
                }
                due => self.wake = [self.wake, due].into_iter().flatten().min(),
            }
        }
    }
}

/// Sends all that the connection has, packets of one size together.
async fn send(udp: &Udp, outgoing: &mut [u8], connection: &mut Connection) -> io::Result<()> {
    let (mut begin, mut end, mut segment) = (0, 0, 0);
    let mut to = None;
    loop {
        let largest = connection.max_send_udp_payload_size();
        let room = outgoing.get_mut(end..end + largest).unwrap_or_default();
        let (length, info) = match connection.send(room) {
            Ok(sent) => sent,
            Err(quiche::Error::Done) => break,
            Err(error) => return Err(broken(error)),
        };
        let grown = end - begin + length;
        if segment != 0 && (length > segment || grown > LARGEST || to != Some(info.to)) {
            // It does not fit to those before it: they go first.
            flush(udp, to, &outgoing[begin..end], segment).await?;
            (begin, segment) = (end, 0);
        }
        end += length;
        to = Some(info.to);
        if segment == 0 {
            segment = length;
        }
        let full = (end - begin) / segment >= SEGMENTS || end - begin + largest > LARGEST;
        if length < segment || full {
            flush(udp, to, &outgoing[begin..end], segment).await?;
            (begin, end, segment) = (0, 0, 0);
        } else if begin > 0 {
            outgoing.copy_within(begin..end, 0);
            (begin, end) = (0, end - begin);
        }
    }
    flush(udp, to, &outgoing[begin..end], segment).await
}

async fn flush(
    udp: &Udp,
    to: Option<SocketAddr>,
    packets: &[u8],
    segment: usize,
) -> io::Result<()> {
    match to {
        Some(to) if !packets.is_empty() => udp.send(to, packets, segment).await,
        _ => Ok(()),
    }
}
