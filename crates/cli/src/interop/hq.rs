//! HTTP/0.9 on streams, as the interop suites of QUIC use it: `GET /name`, an end, the file, its end.

use super::fetch::{Fetched, Sink};
use super::files::Www;
use std::path::Path;
use std::sync::Arc;
use weir::{Connection, RecvStream, SendStream, StreamError};

/// Requests are shorter.
const LONGEST_REQUEST: usize = 16 * 1024;
/// The stream is reset with it when there is no such file. HTTP/0.9 has no word for that; the number
/// is that of an HTTP/3 request that was rejected.
const NO_FILE: u64 = 0x10b;
/// Bytes that are taken from a stream at once.
const CHUNK: usize = 256 * 1024;

/// Serves the requests of one connection.
pub(super) async fn serve(connection: Connection, www: Arc<Www>) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        let www = Arc::clone(&www);
        tokio::spawn(async move {
            if let Err(error) = answer(send, recv, &www).await {
                tracing::debug!("a request was not answered: {error}");
            }
        });
    }
}

async fn answer(mut send: SendStream, mut recv: RecvStream, www: &Www) -> Result<(), StreamError> {
    let request = recv.read_to_end(LONGEST_REQUEST).await?;
    let Some(path) = path(&request) else {
        send.reset(NO_FILE);
        return Ok(());
    };
    let Ok((mut file, _)) = www.file(path).await else {
        send.reset(NO_FILE);
        return Ok(());
    };
    loop {
        match file.next().await {
            Ok((mut piece, is_last)) => {
                if !piece.is_empty() {
                    send.write_chunk(&mut piece).await?;
                }
                if is_last {
                    return send.finish();
                }
            }
            Err(error) => {
                tracing::warn!("{path} cannot be read to its end: {error}");
                send.reset(NO_FILE);
                return Ok(());
            }
        }
    }
}

/// What is asked for. A line's end is not insisted on: the stream has one.
fn path(request: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(request).ok()?;
    line.strip_prefix("GET ")?.split_ascii_whitespace().next()
}

/// Asks for a file. Returns once the request is on its way.
pub(super) async fn ask(connection: &Connection, path: &str) -> Result<RecvStream, String> {
    let (mut send, recv) = connection
        .open_bi()
        .await
        .map_err(|error| error.to_string())?;
    let path = path.trim_start_matches('/');
    let request = format!("GET /{path}\r\n");
    let asked = send.write_all(request.as_bytes()).await;
    asked
        .and_then(|()| send.finish())
        .map_err(|error| error.to_string())?;
    Ok(recv)
}

/// Takes the file that `path` names into `out`, as it comes.
pub(super) async fn take(mut recv: RecvStream, out: &Path, path: &str) -> Result<Fetched, String> {
    let mut sink = Sink::new(out, path).await?;
    while let Some(chunk) = recv
        .read_chunk(CHUNK)
        .await
        .map_err(|error| error.to_string())?
    {
        sink.write(&chunk).await?;
    }
    sink.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_with_and_without_a_line_end() {
        assert_eq!(path(b"GET /name\r\n"), Some("/name"));
        assert_eq!(path(b"GET /name"), Some("/name"));
        assert_eq!(path(b"GET /name HTTP/0.9\r\n"), Some("/name"));
        assert_eq!(path(b"PUT /name\r\n"), None);
        assert_eq!(path(b"GET "), None);
        assert_eq!(path(b"GET \xff"), None);
    }
}
