//! weir's stack as its users have it: `weir::tcpip` on tokio, one thread.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bench_common::report::rss_bytes;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt as _;
use weir::tcpip::{Cidr, Interface, ListenConfig, Stack, TcpConfig, TcpListener, TcpStream, Tun};

use crate::args::{Args, KERNEL, MESSAGE, PORT, STACK};

const CHUNK: usize = 256 * 1024;

/// Serves until told to stop.
pub fn serve(
    args: &Args,
    listening: impl FnOnce(),
    stopped: impl Fn() -> bool,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut tun = Tun::builder("bench0")
            .mtu(1500)
            .address(cidr(KERNEL.into()));
        if !args.offload {
            tun = tun.without_offload();
        }
        let tun = tun.open();
        let tun = tun.map_err(|error| error.to_string())?;
        let stack = Stack::builder()
            .device(tun, Interface::new().address(cidr(STACK.into())))
            .start();
        let stack = stack.map_err(|error| error.to_string())?;
        let config = ListenConfig {
            tcp: TcpConfig {
                nodelay: true,
                ..TcpConfig::default()
            },
            ..ListenConfig::default()
        };
        let listener = TcpListener::bind_with(&stack, SocketAddr::from((STACK, PORT)), config);
        let listener = listener.map_err(|error| error.to_string())?;
        listening();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Answer::new(stream));
            }
        });
        while !stopped() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
}

fn cidr(address: std::net::IpAddr) -> Cidr {
    Cidr::new(address, 24).expect("a prefix of an address")
}

/// One connection of whoever asks for messages: each is answered by itself. There may be very many of
/// these, so it is written by hand: between messages it holds the stream and no buffer.
struct Answer {
    /// Until another work takes it.
    stream: Option<TcpStream>,
    message: Bytes,
    /// The first byte has said what is wanted.
    is_known: bool,
    /// The message is whole, and goes back.
    is_whole: bool,
}

impl Answer {
    fn new(stream: TcpStream) -> Answer {
        Answer {
            stream: Some(stream),
            message: Bytes::new(),
            is_known: false,
            is_whole: false,
        }
    }

    /// Bytes arrived: the first byte of all says which work it is.
    fn take(&mut self, mut bytes: Bytes) {
        if !self.is_known {
            self.is_known = true;
            let what = bytes.split_to(1)[0];
            if what != b'R' {
                if let Some(stream) = self.stream.take() {
                    tokio::spawn(other(stream, what, bytes.len() as u64));
                }
                return;
            }
        }
        if self.message.is_empty() {
            self.message = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(MESSAGE);
            joined.extend_from_slice(&self.message);
            joined.extend_from_slice(&bytes);
            self.message = joined.freeze();
        }
        self.is_whole = self.message.len() == MESSAGE;
    }
}

impl Future for Answer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        while let Some(stream) = &mut this.stream {
            if this.is_whole {
                if ready!(stream.poll_write_chunk(cx, &mut this.message)).is_err() {
                    break;
                }
                this.is_whole = !this.message.is_empty();
                continue;
            }
            // What is wanted, and the first message.
            let most = MESSAGE - this.message.len() + usize::from(!this.is_known);
            match ready!(stream.poll_read_chunk(cx, most)) {
                Ok(Some(bytes)) => this.take(bytes),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// Any other work; `count` bytes came with the word for it.
async fn other(mut stream: TcpStream, what: u8, mut count: u64) -> std::io::Result<()> {
    match what {
        b'S' => {
            while let Some(bytes) = stream.read_chunk(usize::MAX).await? {
                count += bytes.len() as u64;
            }
            stream.write_u64(count).await?;
            stream.shutdown().await
        }
        b'G' => {
            let zeros = Bytes::from(vec![0; CHUNK]);
            loop {
                stream.write_chunk(&mut zeros.clone()).await?;
            }
        }
        b'M' => {
            stream.write_u64(rss_bytes()).await?;
            stream.shutdown().await
        }
        _ => Ok(()),
    }
}
