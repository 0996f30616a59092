//! The line for bulk works and `rr-100`: UDP with GSO and GRO, every datagram sealed and opened with AES-128-GCM in place, and
//! nothing else: no streams, no copy, no header protection, no retransmission. What it reaches a QUIC implementation may come near to.
//!
//! So that a slower receiver loses nothing, it tells now and then how many datagrams it has, and the sender keeps no more under way
//! than the receiver's socket holds. What is lost all the same is given up after some time and does not count.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bench_common::report::{Latencies, Outcome};
use bench_common::udp::{Incoming, LARGEST, SEGMENTS, Udp};
use bench_common::{Flags, MESSAGE, Work};

use crate::{broken, is_bulk, listening, no_line};

/// A short header: a byte, a connection ID of 8, a packet number of 4. The number is also the nonce.
const HEADER: usize = 13;
const TAG: usize = 16;
/// First bytes of datagrams.
const DATA: u8 = b'd';
const CREDIT: u8 = b'c';
const BEGIN: u8 = b'b';
const REQUEST: u8 = b'r';
/// How many datagrams may arrive between two words to the sender.
const CREDIT_EVERY: u64 = 64;
/// After so long without a word, what was under way is lost.
const LOST: Duration = Duration::from_millis(20);
/// `rr-100`: requests in one GSO call.
const BURST: usize = SEGMENTS * MESSAGE / (MESSAGE + HEADER + TAG) - 1;

struct Sealer {
    key: LessSafeKey,
    number: u32,
}

fn key() -> io::Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(broken)?;
    Ok(LessSafeKey::new(key))
}

fn nonce(number: &[u8]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(number);
    Nonce::assume_unique_for_key(nonce)
}

impl Sealer {
    fn new() -> io::Result<Sealer> {
        Ok(Sealer {
            key: key()?,
            number: 0,
        })
    }

    /// Makes the whole datagram: header, what is in it, tag.
    fn seal(&mut self, kind: u8, datagram: &mut [u8]) -> io::Result<()> {
        let (header, rest) = datagram.split_at_mut(HEADER);
        header[0] = kind;
        header[9..].copy_from_slice(&self.number.to_be_bytes());
        self.number = self.number.wrapping_add(1);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG);
        let sealed = self
            .key
            .seal_in_place_separate_tag(nonce(&header[9..]), Aad::from(&*header), payload)
            .map_err(broken)?;
        tag.copy_from_slice(sealed.as_ref());
        Ok(())
    }

    /// Opens a datagram; how many bytes it carried.
    fn open(&self, datagram: &mut [u8]) -> io::Result<usize> {
        let Some((header, rest)) = datagram.split_at_mut_checked(HEADER) else {
            return Err(io::Error::other("a datagram too short"));
        };
        let opened = self
            .key
            .open_in_place(nonce(&header[9..]), Aad::from(&*header), rest)
            .map_err(broken)?;
        Ok(opened.len())
    }
}

/// Sends as fast as credit allows until told to stop.
struct Sender {
    sealer: Sealer,
    burst: Vec<u8>,
    datagram: usize,
    window: u64,
    sent: u64,
    arrived: u64,
}

impl Sender {
    fn new(udp: &Udp, mtu: u16) -> io::Result<Sender> {
        let datagram = usize::from(mtu).min(LARGEST);
        let at_once = (LARGEST / datagram).clamp(1, SEGMENTS);
        Ok(Sender {
            sealer: Sealer::new()?,
            burst: vec![0x5a; datagram * at_once],
            datagram,
            window: (udp.window()? / datagram).max(2) as u64,
            sent: 0,
            arrived: 0,
        })
    }

    fn on_datagram(&mut self, bytes: &[u8]) {
        if let (Some(&CREDIT), Some(count)) = (bytes.first(), bytes.get(1..9)) {
            let count = count.try_into().map_or(0, u64::from_be_bytes);
            self.arrived = self.arrived.max(count);
        }
    }

    async fn run(
        mut self,
        udp: &Udp,
        to: SocketAddr,
        until: Option<Instant>,
    ) -> io::Result<Sender> {
        let mut incoming = Incoming::new();
        let burst = (self.burst.len() / self.datagram) as u64;
        // What was given up as lost, so that credit is reckoned without it.
        let mut lost = 0;
        while until.is_none_or(|until| Instant::now() < until) {
            let under_way = self.sent - lost - self.arrived.min(self.sent - lost);
            if under_way + burst > self.window.max(burst) {
                let news = udp.receive(&mut incoming, |_, bytes| {
                    self.on_datagram(bytes);
                    Ok(())
                });
                if tokio::time::timeout(LOST, news).await.is_err() {
                    lost = self.sent - self.arrived;
                }
                continue;
            }
            for datagram in self.burst.chunks_mut(self.datagram) {
                self.sealer.seal(DATA, datagram)?;
            }
            udp.send(to, &self.burst, self.datagram).await?;
            self.sent += burst;
        }
        Ok(self)
    }
}

/// Receives, opens, counts and tells the sender.
struct Receiver {
    sealer: Sealer,
    datagrams: u64,
    told: u64,
    bytes: u64,
}

impl Receiver {
    fn new() -> io::Result<Receiver> {
        Ok(Receiver {
            sealer: Sealer::new()?,
            datagrams: 0,
            told: 0,
            bytes: 0,
        })
    }

    fn on_datagram(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if bytes.first() == Some(&DATA) {
            self.bytes += self.sealer.open(bytes)? as u64;
            self.datagrams += 1;
        }
        Ok(())
    }

    async fn tell(&mut self, udp: &Udp, to: SocketAddr) -> io::Result<()> {
        // Large datagrams fill a window by a few.
        let large = self.bytes / self.datagrams.max(1) > 2000;
        if self.datagrams - self.told < CREDIT_EVERY && !large {
            return Ok(());
        }
        self.told = self.datagrams;
        let mut credit = [CREDIT; 9];
        credit[1..].copy_from_slice(&self.datagrams.to_be_bytes());
        udp.send(to, &credit, credit.len()).await
    }
}

/// Serves one client, until it is ended from outside.
pub async fn serve(flags: &Flags) -> io::Result<()> {
    let udp = Udp::bind(flags.addr)?;
    listening(udp.addr()?, flags);
    let (mut incoming, mut receiver) = (Incoming::new(), Receiver::new()?);
    let mut answers = Answers::new()?;
    let mut client = None;
    loop {
        let mut down = false;
        udp.receive(&mut incoming, |from, bytes| {
            client = Some(from);
            match bytes.first() {
                Some(&BEGIN) => down = true,
                Some(&REQUEST) => answers.on_request(bytes)?,
                _ => receiver.on_datagram(bytes)?,
            }
            Ok(())
        })
        .await?;
        let Some(client) = client else { continue };
        if down {
            Sender::new(&udp, flags.mtu)?
                .run(&udp, client, None)
                .await?;
        }
        answers.flush(&udp, client).await?;
        receiver.tell(&udp, client).await?;
    }
}

/// Answers of the server, as large as their requests, sealed and sent together.
struct Answers {
    sealer: Sealer,
    ready: Vec<u8>,
}

impl Answers {
    fn new() -> io::Result<Answers> {
        Ok(Answers {
            sealer: Sealer::new()?,
            ready: Vec::new(),
        })
    }

    fn on_request(&mut self, request: &mut [u8]) -> io::Result<()> {
        self.sealer.open(request)?;
        let begin = self.ready.len();
        self.ready.extend_from_slice(request);
        self.sealer.seal(REQUEST, &mut self.ready[begin..])
    }

    async fn flush(&mut self, udp: &Udp, to: SocketAddr) -> io::Result<()> {
        let datagram = MESSAGE + HEADER + TAG;
        for burst in self.ready.chunks(BURST * datagram) {
            udp.send(to, burst, datagram).await?;
        }
        self.ready.clear();
        Ok(())
    }
}

/// Runs the client's side of the work.
pub async fn measure(flags: &Flags) -> io::Result<Outcome> {
    let udp = Udp::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    match flags.work {
        Work::Up => upload(&udp, flags).await,
        work if is_bulk(work) => download(&udp, flags).await,
        Work::RequestResponse(at_once) if at_once > 1 => requests(&udp, flags, at_once).await,
        _ => Err(no_line(flags)),
    }
}

async fn download(udp: &Udp, flags: &Flags) -> io::Result<Outcome> {
    udp.send(flags.addr, &[BEGIN], 1).await?;
    let (mut incoming, mut receiver) = (Incoming::new(), Receiver::new()?);
    let start = Instant::now();
    while start.elapsed() < flags.secs {
        udp.receive(&mut incoming, |_, bytes| receiver.on_datagram(bytes))
            .await?;
        receiver.tell(udp, flags.addr).await?;
    }
    Ok(Outcome {
        bytes: receiver.bytes,
        secs: start.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    })
}

async fn upload(udp: &Udp, flags: &Flags) -> io::Result<Outcome> {
    let start = Instant::now();
    let sender = Sender::new(udp, flags.mtu)?
        .run(udp, flags.addr, Some(start + flags.secs))
        .await?;
    Ok(Outcome {
        bytes: sender.arrived * (sender.datagram - HEADER - TAG) as u64,
        secs: start.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    })
}

async fn requests(udp: &Udp, flags: &Flags, at_once: usize) -> io::Result<Outcome> {
    let datagram = MESSAGE + HEADER + TAG;
    let mut sealer = Sealer::new()?;
    let mut burst = vec![b'R'; BURST * datagram];
    let mut incoming = Incoming::new();
    let mut latencies = Latencies::new();
    let (mut wanted, mut under_way) = (at_once, 0);
    // All that is asked for in one go is timed by its going; answers come in that order.
    let mut begun = std::collections::VecDeque::new();
    let start = Instant::now();
    while start.elapsed() < flags.secs {
        while wanted > 0 {
            let now = wanted.min(BURST);
            for request in burst[..now * datagram].chunks_mut(datagram) {
                sealer.seal(REQUEST, request)?;
            }
            udp.send(flags.addr, &burst[..now * datagram], datagram)
                .await?;
            begun.push_back((Instant::now(), now));
            (wanted, under_way) = (wanted - now, under_way + now);
        }
        let answers = udp.receive(&mut incoming, |_, bytes| sealer.open(bytes).map(drop));
        let Ok(answers) = tokio::time::timeout(Duration::from_secs(1), answers).await else {
            return Err(io::Error::other("an answer was lost"));
        };
        let now = Instant::now();
        for _ in 0..answers? {
            if let Some((sent, left)) = begun.front_mut() {
                latencies.record(now.duration_since(*sent));
                *left -= 1;
                if *left == 0 {
                    begun.pop_front();
                }
            }
            (wanted, under_way) = (wanted + 1, under_way - 1);
        }
    }
    let (secs, done) = (start.elapsed().as_secs_f64(), latencies.count());
    Ok(Outcome {
        bytes: done * 2 * MESSAGE as u64,
        secs,
        done,
        latencies: Some(latencies),
        ..Outcome::default()
    })
}
