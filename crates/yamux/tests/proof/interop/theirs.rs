//! The `yamux` crate's end: a task that polls its connection, and what is done on its streams.

use crate::proof::pattern;
use futures::future::poll_fn;
use futures::{AsyncReadExt, AsyncWriteExt};
use std::task::Poll;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use yamux::{Connection, Mode, Stream};

type Opened = oneshot::Sender<Result<Stream, yamux::ConnectionError>>;

enum Request {
    Open(Opened),
    Close(oneshot::Sender<()>),
}

/// The crate's connection, run by a task.
pub struct Theirs {
    requests: mpsc::UnboundedSender<Request>,
    inbound: mpsc::UnboundedReceiver<Stream>,
    over: oneshot::Receiver<Result<(), yamux::ConnectionError>>,
}

impl Theirs {
    pub fn start(socket: TcpStream, client: bool) -> Theirs {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(2_048);
        let mode = if client { Mode::Client } else { Mode::Server };
        let connection = Connection::new(socket.compat(), config, mode);
        let (requests, receiver) = mpsc::unbounded_channel();
        let (sender, inbound) = mpsc::unbounded_channel();
        let (ended, over) = oneshot::channel();
        tokio::task::spawn_local(async move {
            // Whoever does not wait for the end does not care.
            let _unheard = ended.send(drive(connection, receiver, sender).await);
        });
        Theirs {
            requests,
            inbound,
            over,
        }
    }

    pub async fn open(&self) -> Stream {
        let (sender, receiver) = oneshot::channel();
        assert!(
            self.requests.send(Request::Open(sender)).is_ok(),
            "their task runs"
        );
        receiver
            .await
            .expect("an answer")
            .expect("a stream of theirs")
    }

    pub async fn accept(&mut self) -> Option<Stream> {
        self.inbound.recv().await
    }

    /// Closes in good order.
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.requests.send(Request::Close(sender)).is_ok() {
            let _gone = receiver.await;
        }
    }

    /// How it ended.
    pub async fn over(self) -> Result<(), yamux::ConnectionError> {
        self.over.await.expect("their task tells")
    }
}

async fn drive(
    mut connection: Connection<Compat<TcpStream>>,
    mut requests: mpsc::UnboundedReceiver<Request>,
    inbound: mpsc::UnboundedSender<Stream>,
) -> Result<(), yamux::ConnectionError> {
    let mut opening: Option<Opened> = None;
    let mut closing: Option<oneshot::Sender<()>> = None;
    let mut requested = true;
    poll_fn(|cx| {
        loop {
            if opening.is_none() && closing.is_none() && requested {
                match requests.poll_recv(cx) {
                    Poll::Ready(Some(Request::Open(sender))) => opening = Some(sender),
                    Poll::Ready(Some(Request::Close(sender))) => closing = Some(sender),
                    Poll::Ready(None) => requested = false,
                    Poll::Pending => {}
                }
            }
            if closing.is_some() {
                let closed = connection.poll_close(cx);
                if closed.is_ready() {
                    closing = None;
                }
                return closed;
            }
            if opening.is_some()
                && let Poll::Ready(stream) = connection.poll_new_outbound(cx)
            {
                let _gone = opening.take().unwrap().send(stream);
                continue;
            }
            match connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => {
                    let _gone = inbound.send(stream);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Writes what was read back, and the end after it.
pub async fn echo(stream: Stream) {
    let (mut reader, mut writer) = stream.split();
    futures::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.close().await.unwrap();
}

/// Echoes every stream until the connection is over.
pub async fn echo_all(mut theirs: Theirs) -> u64 {
    let mut count = 0;
    let mut tasks = Vec::new();
    while let Some(stream) = theirs.accept().await {
        tasks.push(tokio::task::spawn_local(echo(stream)));
        count += 1;
    }
    for task in tasks {
        task.await.unwrap();
    }
    count
}

/// Sends so many bytes of a pattern.
pub async fn send(stream: &mut (impl futures::AsyncWrite + Unpin), name: u64, bytes: u64) {
    let mut sent = 0;
    while sent < bytes {
        let count = usize::try_from((bytes - sent).min(128 * 1024)).unwrap();
        stream
            .write_all(&pattern::bytes(name, sent, count))
            .await
            .unwrap();
        sent += count as u64;
    }
}

/// Reads to the end, checks the pattern and says how many bytes there were.
pub async fn receive(stream: &mut (impl futures::AsyncRead + Unpin), name: u64) -> u64 {
    let mut buffer = vec![0; 128 * 1024];
    let mut read = 0;
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            return read;
        }
        assert_eq!(
            pattern::first_difference(name, read, &buffer[..count]),
            None
        );
        read += count as u64;
    }
}

/// Opens a stream, sends a pattern and its end, and wants so many bytes of it back.
pub async fn exchange(stream: Stream, name: u64, there: u64, back: u64) {
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        send(&mut writer, name, there).await;
        writer.close().await.unwrap();
    };
    let (count, ()) = futures::join!(receive(&mut reader, name), sending);
    assert_eq!(count, back);
}
