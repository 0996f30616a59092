//! HTTP/3 (RFC 9114): a small file server, and a client that fetches files.

use super::fetch::{Fetched, Sink};
use super::files::Www;
use crate::http3::{H3Connection, H3Opener, H3Stream};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use hyper::http::header::{ALLOW, CONTENT_LENGTH};
use hyper::http::{Method, Request, Response, StatusCode};
use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;
use weir::Connection;

/// Serves the requests of one connection.
pub(super) async fn serve(connection: Connection, www: Arc<Www>) {
    let built = h3::server::builder()
        .build(H3Connection::new(connection))
        .await;
    let mut requests = match built {
        Ok(requests) => requests,
        Err(error) => {
            tracing::debug!("no HTTP/3 on a connection: {error}");
            return;
        }
    };
    loop {
        match requests.accept().await {
            Ok(Some(resolver)) => {
                let www = Arc::clone(&www);
                tokio::spawn(async move {
                    if let Err(error) = answer(resolver, &www).await {
                        tracing::debug!("a request was not answered: {error}");
                    }
                });
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!("a connection's requests ended: {error}");
                return;
            }
        }
    }
}

async fn answer(
    resolver: RequestResolver<H3Connection, Bytes>,
    www: &Www,
) -> Result<(), StreamError> {
    let (request, mut stream) = resolver.resolve_request().await?;
    let with_body = request.method() == Method::GET;
    if !with_body && request.method() != Method::HEAD {
        let response = Response::builder().header(ALLOW, "GET, HEAD");
        return end(&mut stream, response, StatusCode::METHOD_NOT_ALLOWED).await;
    }
    let Ok((mut file, length)) = www.file(request.uri().path()).await else {
        return end(&mut stream, Response::builder(), StatusCode::NOT_FOUND).await;
    };
    // The head goes with the first bytes, in one packet when that holds all.
    let mut next = file.next().await;
    let response = Response::builder().header(CONTENT_LENGTH, length);
    send_head(&mut stream, response, StatusCode::OK).await?;
    if !with_body {
        return stream.finish().await;
    }
    loop {
        match next {
            Ok((piece, is_last)) => {
                if !piece.is_empty() {
                    stream.send_data(piece).await?;
                }
                if is_last {
                    return stream.finish().await;
                }
            }
            Err(error) => {
                tracing::warn!("{} cannot be read to its end: {error}", request.uri());
                stream.stop_stream(Code::H3_INTERNAL_ERROR);
                return Ok(());
            }
        }
        next = file.next().await;
    }
}

/// An answer that is its head alone.
async fn end(
    stream: &mut RequestStream<H3Stream, Bytes>,
    response: hyper::http::response::Builder,
    status: StatusCode,
) -> Result<(), StreamError> {
    send_head(stream, response.header(CONTENT_LENGTH, 0), status).await?;
    stream.finish().await
}

async fn send_head(
    stream: &mut RequestStream<H3Stream, Bytes>,
    response: hyper::http::response::Builder,
    status: StatusCode,
) -> Result<(), StreamError> {
    match response.status(status).body(()) {
        Ok(head) => stream.send_response(head).await,
        Err(error) => {
            tracing::warn!("an answer cannot be made: {error}");
            stream.stop_stream(Code::H3_INTERNAL_ERROR);
            Ok(())
        }
    }
}

/// Makes requests on a connection, which a task of its own keeps going.
pub(super) struct Client {
    requests: SendRequest<H3Opener, Bytes>,
    authority: String,
    driver: JoinHandle<()>,
}

impl Client {
    pub(super) async fn new(connection: Connection, authority: &str) -> Result<Client, String> {
        let begun = h3::client::new(H3Connection::new(connection)).await;
        let (mut driver, requests) = begun.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(async move {
            let end = poll_fn(|cx| driver.poll_close(cx)).await;
            tracing::debug!("an HTTP/3 connection ended: {end}");
        });
        Ok(Client {
            requests,
            authority: authority.to_owned(),
            driver,
        })
    }

    /// Fetches a file into `out`.
    pub(super) fn fetch(
        &self,
        path: &str,
        out: &Path,
    ) -> impl Future<Output = Result<Fetched, String>> + use<> {
        let mut requests = self.requests.clone();
        let (name, out) = (path.to_owned(), out.to_owned());
        let uri = format!(
            "https://{}/{}",
            self.authority,
            path.trim_start_matches('/')
        );
        async move {
            let words = |error: StreamError| error.to_string();
            let request = Request::get(uri)
                .body(())
                .map_err(|error| error.to_string())?;
            let mut stream = requests.send_request(request).await.map_err(words)?;
            stream.finish().await.map_err(words)?;
            let response = stream.recv_response().await.map_err(words)?;
            if response.status() != StatusCode::OK {
                return Err(format!("the server says {}", response.status()));
            }
            let mut sink = Sink::new(&out, &name).await?;
            let length = response.headers().get(CONTENT_LENGTH);
            let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            while let Some(mut data) = stream.recv_data().await.map_err(words)? {
                let piece = data.copy_to_bytes(data.remaining());
                sink.write(&piece).await?;
            }
            let fetched = sink.finish().await?;
            match length {
                Some(length) if length != fetched.bytes => {
                    Err(format!("{} bytes came of {length}", fetched.bytes))
                }
                _ => Ok(fetched),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
