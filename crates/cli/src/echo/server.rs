//! `weir echo server`: what comes in on a stream goes out on it.

use super::ServerArgs;
use crate::link;
use crate::out::{Failure, Outcome, json_line, say};
use crate::pipe::{Pipe, PipeError};
use crate::shutdown::Signals;
use crate::workers::{Serve, serve_streams};
use serde::Serialize;
use std::sync::Arc;
use weir::Endpoint;

/// The most that is taken from a stream at once. What the client sends faster than it reads stays in
/// its window: nothing is piled up here.
const PIECE: usize = 256 * 1024;

#[derive(Serialize)]
struct Listening {
    listening: String,
    via: String,
    peer_id: String,
}

/// Runs until SIGTERM or Ctrl-C.
pub(super) async fn run(args: ServerArgs) -> Outcome {
    // A limit that stays where it is only bounds how many connections can be held.
    let _ = weir_os::lift_open_files();
    let mut signals = Signals::catch()
        .map_err(|error| Failure::failed(format!("signals cannot be caught: {error}")))?;
    let instruments = link::instruments(&args.seen)?;
    let endpoint = link::builder(args.via, &instruments)
        .bind(&args.addr)
        .await?;
    let listening = endpoint.local_addr().to_string();
    if args.common.json {
        json_line(&Listening {
            listening,
            via: args.via.to_string(),
            peer_id: endpoint.peer_id().to_string(),
        });
    } else {
        say(format_args!(
            "echo server via {} on {listening}; stop it with Ctrl-C",
            args.via
        ));
    }
    tokio::select! {
        () = accept(&endpoint, args.via.is_multiplexed()) => {}
        _ = signals.next() => {}
    }
    link::close(&endpoint, "the server was stopped", &instruments).await;
    Ok(())
}

async fn accept(endpoint: &Endpoint, multiplexed: bool) {
    let service = Arc::new(Echo);
    if multiplexed {
        while let Some(connection) = endpoint.accept().await {
            serve_streams(&connection, &service);
        }
    } else {
        while let Some(stream) = endpoint.accept_bare().await {
            tokio::spawn(async move { Echo.serve(Pipe::from(stream)).await });
        }
    }
}

struct Echo;

impl Serve for Echo {
    async fn serve(&self, mut pipe: Pipe) {
        // A stream that fails is over for both sides: the client has reset it, or its connection is gone.
        if echo(&mut pipe).await.is_err() {
            pipe.reset(0);
        }
    }
}

async fn echo(pipe: &mut Pipe) -> Result<(), PipeError> {
    while let Some(piece) = pipe.receive(PIECE).await? {
        pipe.send(piece).await?;
    }
    pipe.finish().await
}
