//! The line for `handshakes`: the TLS of a QUIC handshake and nothing else. The handshake messages go over one TCP connection for
//! all, batch by batch, as frames: handshake (4 bytes), length (4 bytes), bytes; an empty one from the server says that it is done.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bench_common::report::{Latencies, Outcome};
use bench_common::{Flags, NAME, Work};
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{broken, is_mutual, listening, no_line, tls};

const HEAD: usize = 8;
/// As many bytes as transport parameters have.
const PARAMETERS: [u8; 80] = [0; 80];

/// Frames on TCP.
struct Frames {
    tcp: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Frames {
    fn new(tcp: TcpStream) -> io::Result<Frames> {
        tcp.set_nodelay(true)?;
        let (incoming, outgoing) = (Vec::with_capacity(1 << 18), Vec::new());
        Ok(Frames {
            tcp,
            incoming,
            outgoing,
        })
    }

    fn put(&mut self, id: u32, bytes: &[u8]) {
        self.outgoing.extend_from_slice(&id.to_be_bytes());
        let length = bytes.len() as u32;
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(bytes);
    }

    /// Sends what was put, waits for frames and takes them all; nothing more comes: `None`.
    async fn turn(&mut self) -> io::Result<Option<Vec<(u32, Vec<u8>)>>> {
        self.tcp.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        if self.tcp.read_buf(&mut self.incoming).await? == 0 {
            return Ok(None);
        }
        let (mut frames, mut rest) = (Vec::new(), self.incoming.as_slice());
        while let Some((head, more)) = rest.split_at_checked(HEAD) {
            let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| head[at + i]));
            let Some((bytes, after)) = more.split_at_checked(word(4) as usize) else {
                break;
            };
            frames.push((word(0), bytes.to_vec()));
            rest = after;
        }
        let used = self.incoming.len() - rest.len();
        self.incoming.drain(..used);
        Ok(Some(frames))
    }
}

/// Puts what TLS wants to say now: a frame for each level of keys, since TLS takes bytes in only under the keys that they were
/// sent under.
fn speak(tls: &mut Connection, id: u32, frames: &mut Frames) {
    loop {
        let mut bytes = Vec::new();
        // The keys are made, as QUIC would have them made, and dropped.
        let keys = tls.write_hs(&mut bytes);
        if !bytes.is_empty() {
            frames.put(id, &bytes);
        } else if keys.is_none() {
            return;
        }
    }
}

/// Serves until it is ended from outside.
pub async fn serve(flags: &Flags) -> io::Result<()> {
    let listener = TcpListener::bind(flags.addr).await?;
    listening(listener.local_addr()?, flags);
    let config = Arc::new(tls::server_config(is_mutual(flags))?);
    loop {
        let (tcp, _) = listener.accept().await?;
        serve_client(tcp, &config).await?;
    }
}

async fn serve_client(tcp: TcpStream, config: &Arc<ServerConfig>) -> io::Result<()> {
    let mut frames = Frames::new(tcp)?;
    let mut open = HashMap::new();
    while let Some(arrived) = frames.turn().await? {
        for (id, bytes) in arrived {
            let mut tls = match open.remove(&id) {
                Some(tls) => tls,
                None => {
                    let parameters = PARAMETERS.to_vec();
                    let new = ServerConnection::new(config.clone(), Version::V1, parameters);
                    Connection::Server(new.map_err(broken)?)
                }
            };
            tls.read_hs(&bytes).map_err(broken)?;
            speak(&mut tls, id, &mut frames);
            if tls.is_handshaking() {
                open.insert(id, tls);
            } else {
                frames.put(id, &[]);
            }
        }
    }
    Ok(())
}

fn begin(config: &Arc<ClientConfig>) -> io::Result<(Connection, Instant)> {
    let begun = Instant::now();
    let name = ServerName::try_from(NAME).map_err(broken)?;
    let new = ClientConnection::new(config.clone(), Version::V1, name, PARAMETERS.to_vec());
    Ok((Connection::Client(new.map_err(broken)?), begun))
}

/// Runs the client's side.
pub async fn measure(flags: &Flags) -> io::Result<Outcome> {
    if flags.work != Work::Handshakes {
        return Err(no_line(flags));
    }
    let config = Arc::new(tls::client_config(is_mutual(flags))?);
    let mut frames = Frames::new(TcpStream::connect(flags.addr).await?)?;
    let mut open = HashMap::new();
    let mut latencies = Latencies::new();
    let mut next = 0;
    let start = Instant::now();
    while start.elapsed() < flags.secs {
        while open.len() < flags.parallel {
            let (mut tls, begun) = begin(&config)?;
            speak(&mut tls, next, &mut frames);
            open.insert(next, (tls, begun));
            next += 1;
        }
        let arrived = frames.turn().await?;
        for (id, bytes) in arrived.ok_or(io::ErrorKind::UnexpectedEof)? {
            if bytes.is_empty() {
                if let Some((_, begun)) = open.remove(&id) {
                    latencies.record(begun.elapsed());
                }
                continue;
            }
            let Some((tls, _)) = open.get_mut(&id) else {
                return Err(io::Error::other("words to a handshake that is over"));
            };
            tls.read_hs(&bytes).map_err(broken)?;
            speak(tls, id, &mut frames);
        }
    }
    Ok(Outcome {
        secs: start.elapsed().as_secs_f64(),
        done: latencies.count(),
        latencies: Some(latencies),
        ..Outcome::default()
    })
}
