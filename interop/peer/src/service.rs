//! What a stream of the peer can ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir::{Connection, RecvStream, SendStream, StreamError};

use crate::Fault;
use crate::bulk::{read_exact, send_checked, take_checked};

/// One connection and what its streams left behind.
pub struct Session {
    /// The connection.
    pub connection: Connection,
    resets: AtomicU64,
    counted: AtomicU64,
    right: AtomicU64,
}

impl Session {
    /// Serves what the peer opens, until the connection ends.
    pub fn start(connection: Connection) -> Arc<Session> {
        let [resets, counted, right] = [0; 3].map(AtomicU64::new);
        let session = Arc::new(Session {
            connection,
            resets,
            counted,
            right,
        });
        let serving = session.clone();
        tokio::spawn(async move {
            while let Ok((send, recv)) = serving.connection.accept_bi().await {
                let session = serving.clone();
                tokio::spawn(async move {
                    if let Err(fault) = session.serve(send, recv).await {
                        eprintln!("weir: stream: {fault}");
                    }
                });
            }
        });
        session
    }

    async fn serve(&self, mut send: SendStream, mut recv: RecvStream) -> Result<(), Fault> {
        let [asked] = read_exact(&mut recv).await?;
        match asked {
            b'E' => echo(&mut send, &mut recv).await?,
            b'D' => send_checked(&mut send, number(&mut recv).await?).await?,
            b'U' => self.take_upload(&mut send, &mut recv).await?,
            b'Z' => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                self.take_upload(&mut send, &mut recv).await?;
            }
            b'H' => {
                let all = recv.read_to_end(1 << 20).await?;
                send.write_all(&all).await?;
                send.finish()?;
            }
            b'G' => {
                send.finish()?;
                let mut count = 0;
                while let Some(chunk) = recv.read_chunk(1 << 20).await? {
                    count += chunk.len() as u64;
                }
                self.counted.store(count, Ordering::Relaxed);
            }
            b'R' => send.reset(7),
            b'W' => {
                send.write_all(b"w").await?;
                while let Some(_chunk) = match recv.read_chunk(1024).await {
                    Err(StreamError::Reset(_)) => {
                        self.resets.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    other => other?,
                } {}
            }
            b'Q' => {
                for counter in [&self.resets, &self.counted, &self.right] {
                    send.write_all(&counter.load(Ordering::Relaxed).to_be_bytes())
                        .await?;
                }
                send.finish()?;
            }
            b'O' => self.control(&mut send, &mut recv).await?,
            b'X' => self.connection.close(0, "as asked"),
            other => return Err(format!("asked for {other:#x}").into()),
        }
        Ok(())
    }

    async fn take_upload(&self, send: &mut SendStream, recv: &mut RecvStream) -> Result<(), Fault> {
        let count = number(recv).await?;
        let outcome = take_checked(recv, count).await;
        if outcome.is_ok() {
            self.right.fetch_add(1, Ordering::Relaxed);
        }
        send.write_all(if outcome.is_ok() { b"K" } else { b"X" })
            .await?;
        send.finish()?;
        outcome
    }

    async fn control(&self, send: &mut SendStream, recv: &mut RecvStream) -> Result<(), Fault> {
        let mut order = [0];
        while recv.read(&mut order).await? == 1 {
            let answer = match order {
                [b'o'] if self.open_back().await.is_ok() => *b"K",
                [b'o'] => *b"N",
                other => other,
            };
            send.write_all(&answer).await?;
        }
        send.finish()?;
        Ok(())
    }

    async fn open_back(&self) -> Result<(), Fault> {
        let (mut send, mut recv) = self.connection.open_bi().await?;
        send.write_all(b"Ex").await?;
        send.finish()?;
        match recv.read_to_end(16).await?.as_slice() {
            b"x" => Ok(()),
            other => Err(format!("{other:?} came back").into()),
        }
    }
}

async fn echo(send: &mut SendStream, recv: &mut RecvStream) -> Result<(), Fault> {
    while let Some(mut chunk) = recv.read_chunk(1 << 16).await? {
        send.write_chunk(&mut chunk).await?;
    }
    send.finish()?;
    Ok(())
}

/// Eight bytes, big endian.
pub async fn number(recv: &mut RecvStream) -> Result<u64, Fault> {
    Ok(u64::from_be_bytes(read_exact(recv).await?))
}
