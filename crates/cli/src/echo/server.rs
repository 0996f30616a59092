//! `weir echo server`: what comes in on a stream goes out on it.

use super::ServerArgs;
use crate::link::Server;
use crate::out::Outcome;
use crate::pipe::{Pipe, PipeError};
use crate::workers::{Serve, serve_streams};
use std::sync::Arc;
use weir::{Config, Endpoint};

/// The most that is taken from a stream at once. What the client sends faster than it reads stays in
/// its window: nothing is piled up here.
const PIECE: usize = 256 * 1024;

/// Runs until SIGTERM or Ctrl-C.
pub(super) async fn run(args: ServerArgs) -> Outcome {
    let (seen, json) = (&args.seen, args.common.json);
    let server = Server::bind(
        "echo server",
        &args.addr,
        args.via,
        Config::default(),
        seen,
        json,
    )
    .await?;
    let endpoint = server.endpoint.clone();
    server
        .run(accept(&endpoint, args.via.is_multiplexed()))
        .await;
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
