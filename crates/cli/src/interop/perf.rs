//! draft-banks-quic-performance-00 section 2.3: a stream begins with how many bytes are to come back,
//! 8 of them, big endian.

use bytes::Bytes;
use weir::{Connection, ConnectionError, RecvStream, SendStream, StreamError};

/// What is sent when bytes are asked for.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// Bytes that are taken from a stream at once.
const CHUNK: usize = 256 * 1024;

/// Serves the streams of one connection.
pub(super) async fn serve(connection: Connection) {
    let uni = tokio::spawn(serve_uni(connection.clone()));
    while let Ok((send, recv)) = connection.accept_bi().await {
        tokio::spawn(async move {
            if let Err(error) = answer(send, recv).await {
                tracing::debug!("a stream was not answered: {error}");
            }
        });
    }
    uni.abort();
}

/// Section 2.3.2: what is asked for on a unidirectional stream comes back on another one.
async fn serve_uni(connection: Connection) -> Result<(), ConnectionError> {
    loop {
        let mut recv = connection.accept_uni().await?;
        let connection = connection.clone();
        tokio::spawn(async move {
            let Ok(Some(count)) = read_request(&mut recv).await else {
                return;
            };
            if count > 0
                && let Ok(mut send) = connection.open_uni().await
            {
                // The client stopped it: an unlimited answer is ended so.
                let _ = send_zeros(&mut send, count).await;
            }
        });
    }
}

async fn answer(mut send: SendStream, mut recv: RecvStream) -> Result<(), StreamError> {
    match read_request(&mut recv).await? {
        Some(count) => send_zeros(&mut send, count).await,
        // Section 2.3.1: a stream that ends before its eighth byte is ended in turn.
        None => send.finish(),
    }
}

/// How much is wanted, once the client has said all it has to say; `None` when it never said how much.
async fn read_request(recv: &mut RecvStream) -> Result<Option<u64>, StreamError> {
    let mut head = Vec::with_capacity(8);
    while let Some(chunk) = recv.read_chunk(CHUNK).await? {
        let missing = 8_usize.saturating_sub(head.len());
        head.extend_from_slice(chunk.get(..missing.min(chunk.len())).unwrap_or_default());
    }
    let count = head.try_into().ok().map(u64::from_be_bytes);
    Ok(count)
}

async fn send_zeros(send: &mut SendStream, count: u64) -> Result<(), StreamError> {
    let mut left = count;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        let mut piece = Bytes::from_static(ZEROS.get(..length).unwrap_or_default());
        send.write_chunk(&mut piece).await?;
        left = left.saturating_sub(length as u64);
    }
    send.finish()
}

/// What a client asks for: `DOWN`, or `DOWN+UP` bytes.
pub(super) fn parse(path: &str) -> Result<(u64, u64), String> {
    let wrong = |_| format!("`{path}` is no work for perf: write DOWN or DOWN+UP, in bytes");
    let (down, up) = path.split_once('+').unwrap_or((path, "0"));
    Ok((down.parse().map_err(wrong)?, up.parse().map_err(wrong)?))
}

/// Asks for `down` bytes on a stream, sends `up`, and says how many came.
pub(super) async fn ask(connection: &Connection, down: u64, up: u64) -> Result<u64, String> {
    let (mut send, mut recv) = connection
        .open_bi()
        .await
        .map_err(|error| error.to_string())?;
    let sending = async {
        send.write_all(&down.to_be_bytes()).await?;
        send_zeros(&mut send, up).await
    };
    let taking = async {
        let mut came = 0_u64;
        while let Some(chunk) = recv.read_chunk(CHUNK).await? {
            came = came.saturating_add(chunk.len() as u64);
        }
        Ok(came)
    };
    let both = tokio::try_join!(sending, taking);
    let ((), came) = both.map_err(|error: StreamError| error.to_string())?;
    match came == down {
        true => Ok(came),
        false => Err(format!("{came} bytes came of {down}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_are_read() {
        assert_eq!(parse("1000"), Ok((1000, 0)));
        assert_eq!(parse("5+7"), Ok((5, 7)));
        assert!(parse("/file").is_err());
        assert!(parse("1+").is_err());
    }
}
