//! SiDUCK: the smallest use of datagrams. `quack` is answered by `quack-ack`.

use bytes::Bytes;
use std::time::Duration;
use weir::Connection;

const QUACK: &[u8] = b"quack";
const QUACK_ACK: &[u8] = b"quack-ack";
/// Ends a connection whose peer said something else.
const ONLY_QUACKS_ECHO: u64 = 0x101;
/// Datagrams get lost: the client quacks again after this time.
const AGAIN: Duration = Duration::from_millis(300);

/// Answers the quacks of one connection.
pub(super) async fn serve(connection: Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        if datagram != QUACK {
            connection.close(ONLY_QUACKS_ECHO, "only quacks echo");
            return;
        }
        if let Err(error) = connection.send_datagram(Bytes::from_static(QUACK_ACK)) {
            tracing::debug!("a quack was not answered: {error}");
        }
    }
}

/// Quacks until it is heard.
pub(super) async fn ask(connection: &Connection) -> Result<(), String> {
    loop {
        connection
            .send_datagram(Bytes::from_static(QUACK))
            .map_err(|error| error.to_string())?;
        match tokio::time::timeout(AGAIN, connection.read_datagram()).await {
            Ok(Ok(answer)) if answer == QUACK_ACK => return Ok(()),
            Ok(Ok(_)) => return Err("the answer to a quack was something else".to_owned()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => {}
        }
    }
}
