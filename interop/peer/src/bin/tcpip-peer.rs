//! weir-tcpip over a TUN device of its own, as a server and as a client, with no kernel socket: what gVisor's netstack is
//! tested against. `interop/gvisor` is its twin, with the same services and the same cases.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir::tcpip::{Cidr, Interface, Stack, TcpListener, TcpStream, Tun};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// The machine's end of the device, ours, and where we listen.
const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
const PORT: u16 = 7000;
/// How long one case may take.
const PATIENCE: Duration = Duration::from_secs(100);
const MESSAGE: usize = 1024;
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
struct Args {
    server: bool,
    connect: Option<SocketAddr>,
    case: String,
    bytes: usize,
    mtu: u16,
    offload: bool,
}

fn args() -> Outcome<Args> {
    let mut words = std::env::args().skip(1);
    let role = words.next().unwrap_or_default();
    let mut args = Args {
        server: role == "server",
        connect: None,
        case: "echo".into(),
        bytes: 1 << 20,
        mtu: 1500,
        offload: false,
    };
    if !args.server && role != "client" {
        return Err("tcpip-peer server [--offload] [--mtu N], or tcpip-peer client --connect IP:PORT --case NAME [--bytes N]".into());
    }
    while let Some(flag) = words.next() {
        if flag == "--offload" {
            args.offload = true;
            continue;
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--connect" => args.connect = Some(value.parse()?),
            "--case" => args.case = value,
            "--bytes" => args.bytes = value.parse()?,
            "--mtu" => args.mtu = value.parse()?,
            _ => return Err(format!("unknown option {flag}").into()),
        }
    }
    Ok(args)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let args = args()?;
    let mut tun = Tun::builder("weir0")
        .mtu(args.mtu)
        .address(Cidr::new(MACHINE.into(), 24)?);
    if !args.offload {
        tun = tun.without_offload();
    }
    let tun = tun.open()?;
    let interface = Interface::new()
        .address(Cidr::new(OURS.into(), 24)?)
        .route(Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0)?, None);
    let stack = Stack::builder().device(tun, interface).start()?;
    if !args.server {
        let to = args.connect.ok_or("--connect IP:PORT is missing")?;
        return timeout(PATIENCE, run(&stack, to, &args)).await?;
    }
    let listener = TcpListener::bind(&stack, SocketAddr::from((OURS, PORT)))?;
    println!("{{\"listening\":\"{OURS}:{PORT}\"}}");
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> Outcome {
    let what = stream.read_u8().await?;
    let mut chunk = vec![0; CHUNK];
    match what {
        b'R' => loop {
            stream.read_exact(&mut chunk[..MESSAGE]).await?;
            stream.write_all(&chunk[..MESSAGE]).await?;
        },
        b'S' => {
            let mut count = 0;
            while let Some(bytes) = stream.read_chunk(usize::MAX).await? {
                count += bytes.len() as u64;
            }
            stream.write_u64(count).await?;
        }
        b'G' => loop {
            stream.write_all(&chunk).await?;
        },
        b'E' => {
            while let Some(mut bytes) = stream.read_chunk(CHUNK).await? {
                while !bytes.is_empty() {
                    stream.write_chunk(&mut bytes).await?;
                }
            }
        }
        other => return Err(format!("nothing is known by {other}").into()),
    }
    stream.shutdown().await?;
    Ok(())
}

/// What lies at an offset in the stream that everybody expects.
fn pattern(into: &mut [u8], offset: u64) {
    for (at, byte) in (offset..).zip(into) {
        *byte = (at ^ at >> 8 ^ at >> 16) as u8;
    }
}

async fn run(stack: &Stack, to: SocketAddr, args: &Args) -> Outcome {
    match args.case.as_str() {
        "echo" => echo(stack, to, args.bytes, Duration::ZERO).await,
        "slow-reader" => echo(stack, to, args.bytes, Duration::from_secs(3)).await,
        "upload" => upload(stack, to, args.bytes).await,
        "connections" => many(stack, to, args.bytes).await,
        "reset" => reset(stack, to).await,
        "refused" => refused(stack, to).await,
        case => Err(format!("no case is called {case}").into()),
    }
}

async fn dial(stack: &Stack, to: SocketAddr, what: u8) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(stack, to).await?;
    stream.write_u8(what).await?;
    Ok(stream)
}

/// Sends the pattern, ends its direction and reads all of it back; when it waits first, windows close.
async fn echo(stack: &Stack, to: SocketAddr, size: usize, wait: Duration) -> Outcome {
    let (mut reader, mut writer) = dial(stack, to, b'E').await?.into_split();
    let sender = tokio::spawn(async move {
        let mut chunk = vec![0; CHUNK];
        let mut sent = 0;
        while sent < size {
            let part = &mut chunk[..CHUNK.min(size - sent)];
            pattern(part, sent as u64);
            writer.write_all(part).await?;
            sent += part.len();
        }
        writer.shutdown().await
    });
    tokio::time::sleep(wait).await;
    let mut expected = vec![0; CHUNK];
    let mut got = 0;
    while let Some(bytes) = reader.read_chunk(CHUNK).await? {
        let part = &mut expected[..bytes.len()];
        pattern(part, got as u64);
        if *part != bytes[..] {
            return Err(format!("wrong bytes behind {got}").into());
        }
        got += bytes.len();
    }
    if got != size {
        return Err(format!("{got} of {size} bytes came back").into());
    }
    Ok(sender.await??)
}

async fn upload(stack: &Stack, to: SocketAddr, size: usize) -> Outcome {
    let mut stream = dial(stack, to, b'S').await?;
    let chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < size {
        stream.write_all(&chunk).await?;
        sent += CHUNK;
    }
    stream.shutdown().await?;
    let counted = stream.read_u64().await?;
    match counted == sent as u64 {
        true => Ok(()),
        false => Err(format!("{counted} of {sent} bytes arrived").into()),
    }
}

/// Echoes a little on each of so many connections, up to 128 of them open at once.
async fn many(stack: &Stack, to: SocketAddr, count: usize) -> Outcome {
    let mut running = JoinSet::new();
    for _ in 0..count {
        while running.len() >= 128 {
            running.join_next().await.ok_or("nobody runs")???;
        }
        let stack = stack.clone();
        running.spawn(async move { echo(&stack, to, 3000, Duration::ZERO).await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Aborts in the middle; the server must serve the next.
async fn reset(stack: &Stack, to: SocketAddr) -> Outcome {
    let mut stream = dial(stack, to, b'G').await?;
    stream.read_chunk(CHUNK).await?.ok_or("nothing came")?;
    stream.abort();
    echo(stack, to, 10_000, Duration::ZERO).await
}

async fn refused(stack: &Stack, mut to: SocketAddr) -> Outcome {
    to.set_port(to.port() + 1);
    match timeout(Duration::from_secs(10), TcpStream::connect(stack, to)).await {
        Err(_) => Err("nobody listens there, and nothing was said".into()),
        Ok(Ok(_)) => Err("nobody listens there, and it was connected".into()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) => Err(format!("nobody listens there, and that became: {error}").into()),
    }
}
