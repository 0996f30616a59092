//! `-D`: a SOCKS proxy here whose connections are made there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use super::listener::accept_loop;
use super::local::{CarryError, log_end};
use super::protocol::{Request, Status, read_answer};
use super::registry::Registered;
use super::relay::{Relay, RelayError};
use super::shared::ClientCore;
use super::socks_wire::{Command, Dialect, Handshake, MAX_HANDSHAKE, Step, reply};
use super::status::ForwardKind;
use super::streams::ask;
use super::tasks::Tasks;
use super::udp::{Association, associate};
use super::units::{UnitError, UnitStream};

/// How long a client may take to say what it wants.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long a client that was refused may take to read the refusal.
const LINGER: Duration = Duration::from_secs(2);

/// Serves SOCKS clients of `listener`, for ever.
pub(crate) async fn serve(
    core: Arc<ClientCore>,
    tasks: Tasks,
    listener: TcpListener,
    bound: SocketAddr,
) {
    let slots = Arc::clone(&core.slots);
    let name = format!("-D {bound}");
    accept_loop(listener, &name, &slots, |mut tcp, from, slot| {
        let (core, flows) = (Arc::clone(&core), tasks.clone());
        tasks.spawn(async move {
            match greet(&mut tcp).await {
                Ok(wanted) => serve_one(&core, flows, tcp, (from, bound), wanted).await,
                Err(why) => debug!("-D {bound}: {from}: {why}"),
            }
            drop(slot);
        });
    })
    .await;
}

/// What a client wants, and what it has sent behind that.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    dialect: Dialect,
    command: Command,
    first: Vec<u8>,
}

/// Speaks with a client up to its request. A client that cannot be served has been told when this fails.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S) -> Result<Wanted, String> {
    match timeout(HANDSHAKE_LIMIT, handshake(client)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "no SOCKS request within {} s",
            HANDSHAKE_LIMIT.as_secs()
        )),
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S) -> Result<Wanted, String> {
    let gone = |error: io::Error| format!("gone before its request: {error}");
    let mut handshake = Handshake::default();
    let mut input = Vec::new();
    let mut buffer = [0; MAX_HANDSHAKE];
    loop {
        match handshake.step(&input) {
            Step::More => match client.read(&mut buffer).await.map_err(gone)? {
                0 => return Err("gone before its request".to_owned()),
                read => input.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            },
            Step::Send(bytes) => client.write_all(&bytes).await.map_err(gone)?,
            Step::Request {
                dialect,
                command,
                used,
            } => {
                let first = input.split_off(used.min(input.len()));
                return Ok(Wanted {
                    dialect,
                    command,
                    first,
                });
            }
            Step::Refuse { reply, why } => {
                dismiss(client, &reply).await;
                return Err(why);
            }
        }
    }
}

/// Sends a refusal and lets the client read it: closing with unread input would reset the connection, and the
/// refusal with it.
async fn dismiss<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S, refusal: &[u8]) {
    let farewell = async {
        client.write_all(refusal).await?;
        client.shutdown().await?;
        let mut rest = client.take(64 * 1024);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let _ = timeout(LINGER, farewell).await;
}

async fn serve_one(
    core: &Arc<ClientCore>,
    tasks: Tasks,
    mut tcp: TcpStream,
    (from, bound): (SocketAddr, SocketAddr),
    wanted: Wanted,
) {
    let Wanted {
        dialect,
        command,
        first,
    } = wanted;
    let what = format!("-D {bound}");
    let request = match command {
        Command::Connect(to) => Request::Connect(to),
        Command::UdpAssociate(host, port) => {
            let asked = Association {
                core: Arc::clone(core),
                tasks,
                name: what.clone(),
                from,
                announced: (host, port),
            };
            if let Err(error) = associate(asked, &mut tcp).await {
                debug!("{what}: {from}: no association: {error}");
                dismiss(&mut tcp, &reply(dialect, Status::Failed)).await;
            }
            return;
        }
        Command::Bind => {
            debug!("{what}: {from}: BIND is not supported");
            return dismiss(&mut tcp, &reply(dialect, Status::Unsupported)).await;
        }
    };
    let Request::Connect(to) = &request else {
        return;
    };
    let registered = core.registry.add(ForwardKind::Socks, from, to.to_string());
    let result = connect(core, tcp, dialect, &request, &first, &registered).await;
    log_end(core, &what, from, &registered, result);
}

/// Asks the far side to connect, tells the client what came of it, and passes bytes.
async fn connect(
    core: &ClientCore,
    mut tcp: TcpStream,
    dialect: Dialect,
    request: &Request,
    first: &[u8],
    registered: &Registered,
) -> Result<(), CarryError> {
    let (session, mut send, recv) = match core.open().await {
        Ok(opened) => opened,
        Err(error) => {
            dismiss(&mut tcp, &reply(dialect, Status::Failed)).await;
            return Err(error.into());
        }
    };
    registered.opening(session, send.id());
    registered.count_sent(first.len());
    let mut recv = UnitStream::new(recv);
    let asked = async {
        ask(&mut send, request, first).await?;
        let unit = recv.next_within(core.config.request_timeout).await?;
        read_answer(request, &unit).map_err(UnitError::from)
    };
    let refused = match asked.await {
        Ok(Ok(_)) => None,
        Ok(Err(refusal)) => Some((refusal.status, RelayError::Refused(refusal))),
        Err(error) => Some((answer_status(&error), RelayError::Answer(error))),
    };
    if let Some((status, error)) = refused {
        send.reset(0);
        dismiss(&mut tcp, &reply(dialect, status)).await;
        return Err(error.into());
    }
    tcp.write_all(&reply(dialect, Status::Ok))
        .await
        .map_err(RelayError::from)?;
    Ok(Relay {
        tcp,
        send,
        recv,
        awaits: None,
        pool: &core.pool,
        registered,
    }
    .run()
    .await?)
}

/// What a client is told when there was no answer.
fn answer_status(error: &UnitError) -> Status {
    match error {
        UnitError::TimedOut(_) => Status::TimedOut,
        _ => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    /// Slowloris: a client that trickles bytes is let go after the limit, whatever it sends.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_trickles_is_let_go() {
        let (mut client, mut server) = duplex(64);
        tokio::spawn(async move {
            for byte in [5, 255].into_iter().chain(std::iter::repeat_n(1, 200)) {
                if client.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        let why = greet(&mut server).await.unwrap_err();
        assert_eq!(why, "no SOCKS request within 10 s");
        assert_eq!(began.elapsed(), HANDSHAKE_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go() {
        let (_client, mut server) = duplex(64);
        assert!(
            greet(&mut server)
                .await
                .unwrap_err()
                .contains("within 10 s")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_eager_client_loses_no_data() {
        let (mut client, mut server) = duplex(1024);
        client
            .write_all(b"\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x50GET /")
            .await
            .unwrap();
        let wanted = greet(&mut server).await.unwrap();
        assert_eq!(wanted.command, Command::Connect("a:80".parse().unwrap()));
        assert_eq!(wanted.first, b"GET /");
        let mut reply = [0; 2];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, [5, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_client_reads_its_answer_and_the_end() {
        let (mut client, mut server) = duplex(1024);
        let serving = tokio::spawn(async move { greet(&mut server).await });
        client
            .write_all(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("SOCKS5 proxy"), "{answer}");
        drop(client);
        assert!(serving.await.unwrap().unwrap_err().contains("HTTP"));
    }
}
