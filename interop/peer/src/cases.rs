//! What this side drives.

use std::time::Duration;

use weir::{ConnectionError, RecvStream, SendStream, StreamError};

use crate::Fault;
use crate::bulk::{read_exact, send_checked, take_checked};
use crate::service::{Session, number};

type Done = Result<(), Fault>;

/// Runs one case.
pub async fn run(name: &str, session: &Session, bytes: u64) -> Done {
    match name {
        "echo" => echo(session).await,
        "streams-1000" => many_streams(session).await,
        "upload" => upload(session, b'U', bytes).await,
        "slow-reader" => upload(session, b'Z', 4 << 20).await,
        "download" => download(session, bytes).await,
        "opener-finishes" => opener_finishes(session).await,
        "acceptor-finishes" => acceptor_finishes(session).await,
        "opener-resets" => opener_resets(session).await,
        "acceptor-resets" => acceptor_resets(session).await,
        "refused" => refused(session).await,
        "ping" => ping(session).await,
        "go-away" => go_away(session).await,
        "go-away-error" => go_away_error(session).await,
        "peer-closes" => peer_closes(session).await,
        _ => Err("unknown case".into()),
    }
}

fn must(holds: bool, otherwise: &str) -> Done {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

async fn ask(
    session: &Session,
    head: &[u8],
    count: Option<u64>,
) -> Result<(SendStream, RecvStream), Fault> {
    let (mut send, recv) = session.connection.open_bi().await?;
    let mut bytes = head.to_vec();
    bytes.extend(count.into_iter().flat_map(u64::to_be_bytes));
    send.write_all(&bytes).await?;
    Ok((send, recv))
}

fn junk(from: usize, length: usize) -> Vec<u8> {
    (from..from + length)
        .map(|at| (at ^ (at >> 8)) as u8)
        .collect()
}

/// Sends to an echo, ends, and reads it all back.
async fn exchange(send: &mut SendStream, recv: &mut RecvStream, sent: &[u8]) -> Done {
    send.write_all(sent).await?;
    send.finish()?;
    let got = recv.read_to_end(sent.len()).await?;
    must(got == sent, "what came back is not what was sent")
}

async fn echo(session: &Session) -> Done {
    for size in [1, 16, 256, 4096, 65_536, 131_072] {
        let (mut send, mut recv) = ask(session, b"E", None).await?;
        exchange(&mut send, &mut recv, &junk(size, size)).await?;
    }
    Ok(())
}

async fn many_streams(session: &Session) -> Done {
    let mut tasks = Vec::new();
    for i in 0..1000 {
        let (mut send, mut recv) = ask(session, b"E", None).await?;
        tasks.push(tokio::spawn(async move {
            exchange(&mut send, &mut recv, &junk(i, 10_000)).await
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn upload(session: &Session, how: u8, bytes: u64) -> Done {
    let (mut send, mut recv) = ask(session, &[how], Some(bytes)).await?;
    send_checked(&mut send, bytes).await?;
    let verdict = recv.read_to_end(1).await?;
    must(verdict == b"K", "the SHA-256 at the other side is wrong")
}

async fn download(session: &Session, bytes: u64) -> Done {
    let (mut send, mut recv) = ask(session, b"D", Some(bytes)).await?;
    send.finish()?;
    take_checked(&mut recv, bytes).await
}

/// What earlier streams left behind at the other side: resets, bytes counted, uploads that were right.
async fn left(session: &Session) -> Result<[u64; 3], Fault> {
    let (mut send, mut recv) = ask(session, b"Q", None).await?;
    send.finish()?;
    let recv = &mut recv;
    Ok([
        number(recv).await?,
        number(recv).await?,
        number(recv).await?,
    ])
}

async fn eventually(session: &Session, seen: impl Fn([u64; 3]) -> bool) -> Done {
    for _ in 0..500 {
        if seen(left(session).await?) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("the other side says {:?}", left(session).await?).into())
}

async fn opener_finishes(session: &Session) -> Done {
    let (mut send, mut recv) = ask(session, b"H", None).await?;
    exchange(&mut send, &mut recv, &junk(3, 100_000)).await
}

async fn acceptor_finishes(session: &Session) -> Done {
    let (mut send, mut recv) = ask(session, b"G", None).await?;
    must(
        recv.read_chunk(1).await?.is_none(),
        "data instead of the end",
    )?;
    send.write_all(&junk(5, 300_000)).await?;
    send.finish()?;
    eventually(session, |[_, counted, _]| counted == 300_000).await
}

async fn opener_resets(session: &Session) -> Done {
    let (mut send, mut recv) = ask(session, b"W", None).await?;
    let [_] = read_exact(&mut recv).await?;
    send.reset(9);
    eventually(session, |[resets, ..]| resets == 1).await?;
    echo(session).await
}

async fn acceptor_resets(session: &Session) -> Done {
    let (_send, mut recv) = ask(session, b"R", None).await?;
    let end = recv.read_chunk(1024).await;
    must(
        matches!(end, Err(StreamError::Reset(_))),
        "the end was no reset",
    )?;
    echo(session).await
}

/// More streams than the peer's backlog takes: some are reset, and say so; the others and the session live.
async fn refused(session: &Session) -> Done {
    let (_send, mut recv) = ask(session, b"B", None).await?;
    let [_] = read_exact(&mut recv).await?;
    let mut tasks = Vec::new();
    for _ in 0..40 {
        let (mut send, mut recv) = ask(session, b"E", None).await?;
        tasks.push(tokio::spawn(async move {
            send.write_all(b"late").await?;
            send.finish()?;
            recv.read_to_end(16).await
        }));
    }
    let (mut served, mut reset) = (0, 0);
    for task in tasks {
        match task.await? {
            Ok(back) if back == b"late" => served += 1,
            Err(StreamError::Reset(_) | StreamError::Stopped(_)) => reset += 1,
            other => return Err(format!("a stream ended by {other:?}").into()),
        }
    }
    must(
        served >= 8 && reset >= 20,
        &format!("{served} served, {reset} reset"),
    )?;
    echo(session).await
}

/// The peer answers our pings with the value that was sent, or no round trip would ever be measured.
async fn ping(session: &Session) -> Done {
    download(session, 8 << 20).await?;
    for _ in 0..100 {
        if session
            .connection
            .stats()
            .rtt
            .is_some_and(|rtt| rtt < Duration::from_secs(5))
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("no round trip was measured".into())
}

async fn go_away(session: &Session) -> Done {
    let (mut send, mut recv) = ask(session, b"O", None).await?;
    order(&mut send, &mut recv, b'o', b'K').await?;
    session.connection.drain();
    order(&mut send, &mut recv, b'e', b'e').await?;
    order(&mut send, &mut recv, b'o', b'N').await?;
    let opened = session.connection.open_bi().await;
    must(
        matches!(opened, Err(ConnectionError::GoingAway)),
        "a stream was opened after draining",
    )
}

async fn order(send: &mut SendStream, recv: &mut RecvStream, what: u8, wanted: u8) -> Done {
    send.write_all(&[what]).await?;
    let [answer] = read_exact(recv).await?;
    let (what, answer) = (char::from(what), char::from(answer));
    must(
        answer == char::from(wanted),
        &format!("{what} answered by {answer}"),
    )
}

async fn go_away_error(session: &Session) -> Done {
    let (mut send, mut recv) = ask(session, b"O", None).await?;
    order(&mut send, &mut recv, b'e', b'e').await?;
    session.connection.close(2, "on purpose");
    let end = recv.read_chunk(1).await;
    must(
        matches!(end, Err(StreamError::Closed(_))),
        "a stream outlived its connection",
    )
}

async fn peer_closes(session: &Session) -> Done {
    let (mut send, mut recv) = ask(session, b"O", None).await?;
    order(&mut send, &mut recv, b'e', b'e').await?;
    let (_asking, _) = ask(session, b"X", None).await?;
    session.connection.closed().await;
    let end = recv.read_chunk(1).await;
    must(!matches!(end, Ok(Some(_))), "a closed session gave data")?;
    must(
        session.connection.open_bi().await.is_err(),
        "a stream was opened on a closed session",
    )
}
