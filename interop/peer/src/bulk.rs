//! Bytes with their SHA-256 behind them.

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use weir::{RecvStream, SendStream};

use crate::Fault;

const BLOCK: usize = 1 << 20;

/// Sends bytes no two MiB of which are alike, their SHA-256 and the end.
pub async fn send_checked(send: &mut SendStream, mut count: u64) -> Result<(), Fault> {
    let pattern: BytesMut = (0..BLOCK).map(|at| ((at * 29) >> 3) as u8).collect();
    let mut hash = Sha256::new();
    let mut number = 0u64;
    while count > 0 {
        let mut chunk = pattern.clone();
        chunk[..8].copy_from_slice(&number.to_be_bytes());
        chunk.truncate(count.min(BLOCK as u64) as usize);
        number += 1;
        count -= chunk.len() as u64;
        hash.update(&chunk);
        send.write_chunk(&mut chunk.freeze()).await?;
    }
    let mut digest = Bytes::copy_from_slice(&hash.finalize());
    send.write_chunk(&mut digest).await?;
    send.finish()?;
    Ok(())
}

/// Reads that many bytes, their SHA-256 and the end.
pub async fn take_checked(recv: &mut RecvStream, count: u64) -> Result<(), Fault> {
    let mut hash = Sha256::new();
    let (mut left, mut tail) = (count, Vec::new());
    while let Some(chunk) = recv.read_chunk(BLOCK).await? {
        let data = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        hash.update(&chunk[..data]);
        left -= data as u64;
        tail.extend_from_slice(&chunk[data..]);
        if tail.len() > 32 {
            return Err("more came than was announced".into());
        }
    }
    if left > 0 {
        return Err(format!("{left} of {count} bytes are missing").into());
    }
    if tail != hash.finalize().as_slice() {
        return Err(format!("the SHA-256 of {count} bytes is wrong").into());
    }
    Ok(())
}

/// Reads exactly so many bytes.
pub async fn read_exact<const N: usize>(recv: &mut RecvStream) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let mut got = 0;
    while got < N {
        match recv.read(&mut bytes[got..]).await? {
            0 => return Err(format!("the stream ended after {got} of {N} bytes").into()),
            more => got += more,
        }
    }
    Ok(bytes)
}
