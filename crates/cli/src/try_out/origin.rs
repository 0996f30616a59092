//! The web server at the far end of the tunnel: HTTP/1.1 on loopback, of this process alone.
//!
//! | request | answer |
//! |---|---|
//! | `GET /object/N` | N bytes |
//! | `GET /sha256/N` | their SHA-256, asked for apart so that it takes no time of the transfer |
//! | `PUT /object` | 204 once all has come; the bytes are kept |
//! | `GET /received` | SHA-256 of what the last `PUT` on this connection brought |

use super::body::{Whole, sha256};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The running server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Origin {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Origin {
    /// Starts one that serves the first bytes of `object`.
    pub(super) async fn start(object: Bytes) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        Ok(Self {
            addr,
            accepting: tokio::spawn(accept(listener, object)),
        })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, object: Bytes) {
    while let Ok((stream, _)) = listener.accept().await {
        // Without it the system would only be slower; the bytes are the same.
        let _ = stream.set_nodelay(true);
        let site = Arc::new(Site {
            object: object.clone(),
            received: Mutex::default(),
        });
        let service = service_fn(move |request| {
            let site = Arc::clone(&site);
            async move { site.answer(request).await }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is noticed, and told, at the client's end of the tunnel.
        tokio::spawn(async move { drop(serving.await) });
    }
}

/// What one connection sees.
struct Site {
    object: Bytes,
    received: Mutex<Vec<Bytes>>,
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Whole>, hyper::Error> {
        let path = request.uri().path();
        if request.method() == Method::PUT && path == "/object" {
            let mut pieces = Vec::new();
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                pieces.extend(frame?.into_data());
            }
            *self.received.lock().unwrap_or_else(PoisonError::into_inner) = pieces;
            return Ok(status(StatusCode::NO_CONTENT));
        }
        if request.method() != Method::GET {
            return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
        }
        if path == "/received" {
            let received =
                std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner));
            return Ok(Response::new(Whole(sha256(received).into())));
        }
        let Some((what, length)) = path.trim_start_matches('/').split_once('/') else {
            return Ok(status(StatusCode::NOT_FOUND));
        };
        let length = length
            .parse::<usize>()
            .ok()
            .filter(|length| *length <= self.object.len());
        Ok(match (what, length) {
            ("object", Some(length)) => Response::new(Whole(self.object.slice(..length))),
            ("sha256", Some(length)) => {
                Response::new(Whole(sha256([self.object.slice(..length)]).into()))
            }
            _ => status(StatusCode::NOT_FOUND),
        })
    }
}

fn status(code: StatusCode) -> Response<Whole> {
    let mut response = Response::new(Whole(Bytes::new()));
    *response.status_mut() = code;
    response
}
