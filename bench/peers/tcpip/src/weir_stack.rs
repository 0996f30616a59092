//! weir's stack as its users have it: `weir::tcpip` on tokio, one thread.

use std::net::SocketAddr;
use std::time::Duration;

use bench_common::report::rss_bytes;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
                tokio::spawn(answer(stream));
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

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    // Its length is known only when it is there: what an idle connection holds is nothing.
    let mut first = take(&mut stream, usize::MAX).await?;
    let what = first.split_to(1)[0];
    match what {
        b'R' => messages(&mut stream, first).await,
        b'S' => {
            let mut count = first.len() as u64;
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

async fn take(stream: &mut TcpStream, most: usize) -> std::io::Result<Bytes> {
    let end = std::io::ErrorKind::UnexpectedEof;
    stream.read_chunk(most).await?.ok_or(end.into())
}

/// Every message is answered by itself.
async fn messages(stream: &mut TcpStream, mut message: Bytes) -> std::io::Result<()> {
    loop {
        if message.is_empty() {
            message = take(stream, MESSAGE).await?;
        }
        if message.len() < MESSAGE {
            let mut whole = BytesMut::zeroed(MESSAGE);
            whole[..message.len()].copy_from_slice(&message);
            stream.read_exact(&mut whole[message.len()..]).await?;
            message = whole.freeze();
        }
        stream.write_chunk(&mut message).await?;
    }
}
