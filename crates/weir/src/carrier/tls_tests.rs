//! What goes in on one side comes out on the other, whatever happens to the bytes in between; and
//! each direction ends as it should.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_core::rng::{below, fill, rng_from_seed};

use super::super::TcpCarrier;
use super::super::testing::{Digest, End, tcp_sockets, tls_pair};
use rustls::ContentType;

use super::*;

pub(super) type Ends<S> = (End<TlsCarrier<S>>, End<TlsCarrier<S>>);

async fn secured<S>(streams: (S, S)) -> Ends<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, server) = tls_pair(streams).await;
    (End::new(client), End::new(server))
}

pub(super) async fn in_memory(buffer: usize) -> Ends<DuplexStream> {
    secured(duplex(buffer)).await
}

/// Sends `total` random bytes in random pieces, as a few slices each, and ends its direction.
async fn send<C: Carrier>(end: &mut End<C>, total: usize, seed: u64) -> Vec<u8> {
    let mut rng = rng_from_seed(seed);
    let (mut sent, mut digest) = (0, Digest::new());
    let mut data = vec![0; 200_000];
    while sent < total {
        fill(&mut rng, &mut data);
        let magnitude = 1 + below(&mut rng, 17);
        let len = 1 + below(&mut rng, 1 << magnitude) as usize;
        let data = &data[..len.min(total - sent).min(data.len())];
        let (first, rest) = data.split_at(below(&mut rng, data.len() as u64 + 1) as usize);
        let (second, third) = rest.split_at(rest.len() / 2);
        let mut slices = [first, &[], second, third].map(IoSlice::new);
        let (mut slices, mut left) = (&mut slices[..], data.len());
        while left > 0 {
            let taken = end.write(slices).await.unwrap();
            assert!(taken > 0 && taken <= left);
            IoSlice::advance_slices(&mut slices, taken);
            left -= taken;
        }
        digest.add(data);
        sent += data.len();
        if below(&mut rng, 4) == 0 {
            end.flush().await.unwrap();
        }
    }
    end.close().await.unwrap();
    digest.finish()
}

async fn receive<C: Carrier>(end: &mut End<C>) -> (usize, Vec<u8>) {
    let (mut got, mut digest) = (0, Digest::new());
    while let Some(slices) = end.read().await.unwrap() {
        for slice in slices {
            digest.add(&slice);
            got += slice.len();
        }
    }
    (got, digest.finish())
}

/// Drives both directions of both ends at once; each end reads and writes from one task, as its
/// owner does.
async fn both_ways<C: Carrier, D: Carrier>(ends: (End<C>, End<D>), total: usize, seed: u64) {
    let (one, two) = (
        Both::new(ends.0, total, seed),
        Both::new(ends.1, total, seed + 1),
    );
    let (one, two) = tokio::join!(one.run(), two.run());
    assert_eq!(one.0, two.1, "seed {seed}: one way");
    assert_eq!(two.0, one.1, "seed {seed}: the other way");
}

/// One task that reads and writes, never waiting for either while the other can go on.
struct Both<C> {
    end: End<C>,
    rng: weir_core::rng::Rng,
    to_send: usize,
    pending: Vec<u8>,
    closed: bool,
    ended: bool,
    sent: Option<Digest>,
    received: Option<Digest>,
}

impl<C: Carrier> Both<C> {
    fn new(end: End<C>, total: usize, seed: u64) -> Self {
        Both {
            end,
            rng: rng_from_seed(seed),
            to_send: total,
            pending: Vec::new(),
            closed: false,
            ended: false,
            sent: Some(Digest::new()),
            received: Some(Digest::new()),
        }
    }

    async fn run(mut self) -> (Vec<u8>, Vec<u8>) {
        std::future::poll_fn(|cx| self.turn(cx)).await;
        (
            self.sent.take().unwrap().finish(),
            self.received.take().unwrap().finish(),
        )
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended && self.read(cx) {}
        while !self.closed && self.write(cx) {}
        if self.ended && self.closed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut out = Vec::new();
        match self.end.carrier.poll_read(cx, &mut self.end.buf, &mut out) {
            Poll::Pending => return false,
            Poll::Ready(more) => self.ended = !more.unwrap(),
        }
        let digest = self.received.as_mut().unwrap();
        out.iter().for_each(|slice| digest.add(slice));
        true
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.pending.is_empty() && self.to_send > 0 {
            let len = 1 + below(&mut self.rng, 100_000) as usize;
            self.pending = vec![0; len.min(self.to_send)];
            self.to_send -= self.pending.len();
            fill(&mut self.rng, &mut self.pending);
            self.sent.as_mut().unwrap().add(&self.pending);
        }
        if self.pending.is_empty() {
            self.closed = self
                .end
                .carrier
                .poll_close(cx)
                .map(Result::unwrap)
                .is_ready();
            return self.closed;
        }
        match self
            .end
            .carrier
            .poll_write(cx, &[IoSlice::new(&self.pending)])
        {
            Poll::Pending => false,
            Poll::Ready(taken) => {
                self.pending.drain(..taken.unwrap());
                true
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sizes_in_any_pieces_arrive(
        seed in any::<u32>(),
        total in 0..600_000usize,
        buffer in prop_oneof![1..64usize, 64..20_000usize, 20_000..400_000usize],
    ) {
        // A byte at a time is slow going: less of it.
        let total = total.min(buffer * 4000);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            both_ways(in_memory(buffer).await, total, u64::from(seed)).await;
        });
    }
}

#[tokio::test]
async fn much_arrives_over_tcp_both_ways_at_once() {
    let ends = secured(tcp_sockets().await).await;
    both_ways(ends, 24 << 20, 1).await;
    let (client, server) = tcp_sockets().await;
    let ends = (
        End::new(TcpCarrier::new(client)),
        End::new(TcpCarrier::new(server)),
    );
    both_ways(ends, 24 << 20, 2).await;
}

#[tokio::test]
async fn received_data_is_slices_of_chunks_that_are_used_again() {
    let (mut client, mut server) = secured(tcp_sockets().await).await;
    let sender = tokio::spawn(async move { send(&mut client, 32 << 20, 3).await });
    let (got, received) = receive(&mut server).await;
    assert_eq!(got, 32 << 20);
    assert_eq!(sender.await.unwrap(), received);
    // 32 MiB went through two chunks of 256 KiB at most: one in use, one while half a record moves
    // over.
    assert!(
        server.buf.allocations() <= 2,
        "{}",
        server.buf.allocations()
    );
}

#[tokio::test]
async fn slices_kept_by_a_reader_are_not_overwritten() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    let sender = tokio::spawn(async move { send(&mut client, 4 << 20, 4).await });
    let mut kept = Vec::new();
    while let Some(slices) = server.read().await.unwrap() {
        kept.extend(slices);
    }
    let mut digest = Digest::new();
    kept.iter().for_each(|slice| digest.add(slice));
    assert_eq!(sender.await.unwrap(), digest.finish());
}

#[tokio::test]
async fn small_slices_share_records() {
    let (mut client, mut server) = in_memory(1 << 20).await;
    let frames: Vec<[u8; 40]> = (0..100).map(|i| [i; 40]).collect();
    let slices: Vec<_> = frames.iter().map(|f| IoSlice::new(f)).collect();
    assert_eq!(client.write(&slices).await.unwrap(), 4000);
    client.flush().await.unwrap();
    let got = server.read().await.unwrap().unwrap();
    assert_eq!(got.len(), 1, "one record");
    assert_eq!(got[0], frames.concat());
}

/// Back-pressure: with a peer that does not read, no more than one batch is taken beyond what the
/// pipe holds, and nothing of it is lost or sent twice.
#[tokio::test]
async fn a_slow_reader_holds_the_writer_back() {
    const PIPE: usize = 10_000;
    let (mut client, mut server) = in_memory(PIPE).await;
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    let mut taken = 0;
    while let Ok(more) = timeout(
        Duration::from_millis(20),
        client.write(&[IoSlice::new(&data[taken..])]),
    )
    .await
    {
        taken += more.unwrap();
    }
    assert!((1..=BATCH).contains(&taken), "{taken} bytes taken");
    assert!(
        timeout(Duration::from_millis(20), client.flush())
            .await
            .is_err()
    );

    let rest = &data[taken..];
    let writer = async {
        client.write_all(rest).await.unwrap();
        client.close().await.unwrap();
    };
    let reader = async {
        let mut got = Vec::new();
        while let Some(slices) = server.read().await.unwrap() {
            got.extend(slices.concat());
            tokio::task::yield_now().await;
        }
        got
    };
    let ((), got) = tokio::join!(writer, reader);
    assert!(got == data, "the bytes differ");
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let (mut client, mut server) = secured(tcp_sockets().await).await;
    client.write_all(b"question").await.unwrap();
    client.close().await.unwrap();
    assert_eq!(server.read_exact(8).await.unwrap(), b"question");
    assert!(server.read().await.unwrap().is_none());
    assert!(server.read().await.unwrap().is_none());
    // RFC 8446 6.1: the other direction goes on.
    server.write_all(b"answer").await.unwrap();
    server.close().await.unwrap();
    assert_eq!(client.read_exact(6).await.unwrap(), b"answer");
    assert!(client.read().await.unwrap().is_none());
    let late = client.write(&[IoSlice::new(b"more")]).await.unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    client.close().await.unwrap();
}

#[tokio::test]
async fn an_end_without_close_notify_is_a_truncation() {
    let (mut client, mut server) = secured(tcp_sockets().await).await;
    client.write_all(b"half of it").await.unwrap();
    client.carrier.stream.shutdown().await.unwrap();
    assert_eq!(server.read_exact(10).await.unwrap(), b"half of it");
    let error = server.read().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(
        error.to_string().contains("bytes may be missing"),
        "{error}"
    );
    let again = server.read().await.unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_record_is_a_truncation() {
    let (mut client, mut server) = in_memory(1 << 16).await;
    let mut record = client
        .carrier
        .records
        .sealed(ContentType::ApplicationData, &[&[7; 5000]])
        .unwrap();
    record.truncate(3000);
    client.carrier.stream.write_all(&record).await.unwrap();
    drop(client);
    let error = server.read().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_reset_shows_on_both_directions() {
    let (client, mut server) = secured(tcp_sockets().await).await;
    let stream: &TcpStream = &client.carrier.stream;
    weir_os::socket::reset_on_close(stream).unwrap();
    drop(client);
    let error = server.read().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let error = server.write_all(&[7; 1 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
