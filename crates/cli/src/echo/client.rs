//! `weir echo client`: sends a word on each stream and reads it back.

use super::ClientArgs;
use crate::link;
use crate::out::{Failure, Outcome, json_line, show};
use crate::pipe::Pipe;
use crate::units;
use bytes::Bytes;
use serde::Serialize;
use std::time::{Duration, Instant};
use weir::{Connection, Endpoint};

/// Far more than what was sent: an answer that is longer is wrong, and need not be kept.
const ANSWER_MAX: usize = 4096;

/// What became of one stream.
#[derive(Debug, Serialize)]
struct Echoed {
    via: String,
    stream: u32,
    sent: String,
    received: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// From the opening of the stream to the end of what came back.
    time_us: u64,
}

/// Runs `weir echo client`.
pub(super) async fn run(args: ClientArgs) -> Outcome {
    let instruments = link::instruments(&args.seen)?;
    let endpoint = link::builder(args.via, &instruments).client().await?;
    let talk = talk(&args, &endpoint);
    let outcome = match tokio::time::timeout(args.timeout, talk).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let waited = units::time(args.timeout);
            Err(Failure::failed(format!(
                "{} did not answer within {waited}",
                args.connect
            )))
        }
    };
    link::close(&endpoint, "done", &instruments).await;
    outcome
}

async fn talk(args: &ClientArgs, endpoint: &Endpoint) -> Outcome {
    let connection = if args.via.is_multiplexed() {
        Some(endpoint.connect_target(&args.connect).await?)
    } else {
        None
    };
    let mut under_way = Vec::new();
    for number in 0..args.count {
        let (began, word) = (Instant::now(), format!("hello {number}"));
        let opened = open_and_send(args, endpoint, connection.as_ref(), &word).await;
        under_way.push((number, began, word, opened));
    }
    let mut wrong = 0_u32;
    for (stream, began, sent, opened) in under_way {
        let received = match opened {
            Ok(mut pipe) => receive(&mut pipe).await,
            Err(error) => Err(error),
        };
        let (received, mut error) = match received {
            Ok(received) => (received, None),
            Err(error) => (String::new(), Some(error)),
        };
        let ok = error.is_none() && received == sent;
        if !ok {
            wrong += 1;
            error.get_or_insert_with(|| "something else came back".to_owned());
        }
        let via = args.via.to_string();
        let time_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let echoed = Echoed {
            via,
            stream,
            sent,
            received,
            ok,
            error,
            time_us,
        };
        if args.common.json {
            json_line(&echoed);
        } else {
            show(echoed.in_words());
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{wrong} of {} streams did not come back right",
        args.count
    ))
    .hint("is that a `weir echo server`, with the same --via?"))
}

async fn open_and_send(
    args: &ClientArgs,
    endpoint: &Endpoint,
    connection: Option<&Connection>,
    word: &str,
) -> Result<Pipe, String> {
    let mut pipe = match connection {
        Some(connection) => Pipe::from(
            connection
                .open_bi()
                .await
                .map_err(|error| error.to_string())?,
        ),
        None => {
            let stream = endpoint.connect_bare_target(&args.connect).await;
            Pipe::from(stream.map_err(|error| error.to_string())?)
        }
    };
    let word = Bytes::copy_from_slice(word.as_bytes());
    pipe.send(word).await.map_err(|error| error.to_string())?;
    pipe.finish().await.map_err(|error| error.to_string())?;
    Ok(pipe)
}

/// What comes back, to the end of the stream.
async fn receive(pipe: &mut Pipe) -> Result<String, String> {
    let mut answer = Vec::new();
    while let Some(piece) = pipe
        .receive(ANSWER_MAX)
        .await
        .map_err(|error| error.to_string())?
    {
        answer.extend_from_slice(&piece);
        if answer.len() > ANSWER_MAX {
            return Err(format!("more than {ANSWER_MAX} bytes came back"));
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl Echoed {
    fn in_words(&self) -> String {
        let time = units::time(Duration::from_micros(self.time_us));
        match &self.error {
            None => format!(
                "stream {}: `{}` came back in {time}",
                self.stream, self.sent
            ),
            Some(error) => format!("stream {}: `{}` did not: {error}", self.stream, self.sent),
        }
    }
}
