//! Connections between two stacks on a cable in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use tcpip_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::tcpip::{
    Capabilities, CloseCause, Memory, Stack, State, TcpError, TcpListener, TcpStream,
};

const MIB: usize = 1 << 20;

/// Sends `len` bytes each way at once, and compares.
async fn exchange(mut client: TcpStream, mut server: TcpStream, len: usize) {
    let data = pattern(len);
    let expected = data.clone();
    let serving = tokio::spawn(async move {
        let (mut read, mut write) = server.split();
        let sending = async {
            write.write_all(&data).await?;
            write.shutdown().await
        };
        let (sent, read) = tokio::join!(sending, read_all(&mut read));
        sent.unwrap();
        (read.unwrap(), data)
    });
    let (mut read, mut write) = client.split();
    let sending = async {
        write.write_all(&expected).await?;
        write.shutdown().await
    };
    let (sent, read) = tokio::join!(sending, read_all(&mut read));
    sent.unwrap();
    assert!(read.unwrap() == expected, "the client read something else");
    let (read, _) = serving.await.unwrap();
    assert!(read == expected, "the server read something else");
}

async fn carries(capabilities: Capabilities, len: usize) {
    let (one, two) = pair(capabilities);
    for remote in [v4(2, 0), v6(2, 0)] {
        let listener = TcpListener::bind(&two, remote).unwrap();
        let remote = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(&one, remote), listener.accept());
        let (client, (server, from)) = (client.unwrap(), server.unwrap());
        assert_eq!(client.peer_addr().unwrap(), remote);
        assert_eq!(client.local_addr().unwrap(), from);
        assert_eq!(server.peer_addr().unwrap(), from);
        exchange(client, server, len).await;
    }
}

#[tokio::test]
async fn every_byte_crosses_both_ways_in_packets() {
    carries(plain(1500), 8 * MIB).await;
}

#[tokio::test]
async fn every_byte_crosses_both_ways_in_super_segments() {
    carries(offloading(1500), 32 * MIB).await;
    carries(plain(65_535), 32 * MIB).await;
}

#[tokio::test]
async fn the_smallest_mtus_do() {
    carries(plain(1280), MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_other_threads_are_woken_as_well() {
    carries(plain(1500), 8 * MIB).await;
}

// RFC 9293 3.6: each direction ends on its own.
#[tokio::test]
async fn after_the_end_of_one_direction_the_other_goes_on() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut server).await.unwrap(), b"question");
    let answer = pattern(MIB);
    let sent = answer.clone();
    let answering = tokio::spawn(async move {
        server.write_all(&sent).await.unwrap();
        server.shutdown().await.unwrap();
        server
    });
    assert!(read_all(&mut client).await.unwrap() == answer);
    let error = client.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    drop(answering.await.unwrap());
}

#[tokio::test]
async fn chunks_go_and_come_without_being_cut_or_lost() {
    let (one, two) = pair(offloading(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    let data = pattern(4 * MIB);
    let mut left = data.clone();
    let sending = tokio::spawn(async move {
        client.write_chunk(&mut left).await.unwrap();
        assert!(left.is_empty());
        client.finish();
        client
    });
    let mut got = Vec::new();
    while let Some(chunk) = server.read_chunk(100_000).await.unwrap() {
        assert!((1..=100_000).contains(&chunk.len()));
        got.extend_from_slice(&chunk);
    }
    assert!(got == data);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn slices_are_written_in_their_order_in_one_call() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    let slices = [&b"one "[..], b"", b"two ", b"three"].map(IoSlice::new);
    assert!(tokio::io::AsyncWrite::is_write_vectored(&client));
    assert_eq!(client.write_vectored(&slices).await.unwrap(), 13);
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut server).await.unwrap(), b"one two three");
}

#[tokio::test]
async fn halves_go_their_own_ways_and_come_together_again() {
    let (one, two) = pair(plain(1500));
    let (client, mut server) = connection(&one, &two).await;
    let (other, _server) = connection(&one, &two).await;
    let (read, write) = client.into_split();
    let (other_read, other_write) = other.into_split();
    let error = read.reunite(other_write).unwrap_err();
    let (read, other_write) = (error.0, error.1);
    drop(other_read.reunite(other_write).unwrap());
    let mut client = read.reunite(write).unwrap();
    client.write_all(b"whole").await.unwrap();
    let (mut read, write) = client.into_split();
    // Dropping the writing half ends its direction alone.
    drop(write);
    assert_eq!(read_all(&mut server).await.unwrap(), b"whole");
    server.write_all(b"still").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut read).await.unwrap(), b"still");
}

// T124
#[tokio::test]
async fn an_abort_is_a_reset_at_the_other_end() {
    let (one, two) = pair(plain(1500));
    let (client, mut server) = connection(&one, &two).await;
    client.abort();
    let error = server.read_chunk(1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let inner = error.get_ref().unwrap().downcast_ref::<TcpError>().unwrap();
    assert_eq!(*inner, TcpError::Closed(CloseCause::Reset));
    assert_eq!(error.to_string(), "connection reset by peer");
}

#[tokio::test]
async fn where_nobody_listens_a_connection_is_refused() {
    let (one, _two) = pair(plain(1500));
    let error = TcpStream::connect(&one, v4(2, 9)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), "connection refused");
    until(&one, |stats| stats.connections == 0).await;
}

#[tokio::test]
async fn where_no_route_leads_the_error_says_so() {
    let (one, _two) = pair(plain(1500));
    let remote = "192.0.2.1:80".parse().unwrap();
    let error = TcpStream::connect(&one, remote).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
    assert!(error.to_string().contains("192.0.2.1:80"), "{error}");
}

#[tokio::test]
async fn an_address_is_listened_at_once_and_only_where_it_is() {
    let (one, _two) = pair(plain(1500));
    let first = TcpListener::bind(&one, v4(1, 0)).unwrap();
    let address = first.local_addr().unwrap();
    let error = TcpListener::bind(&one, address).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(first);
    drop(TcpListener::bind(&one, address).unwrap());
    let error = TcpListener::bind(&one, v4(2, 80)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
}

// A stack reaches its own addresses (RFC 1122 3.2.1.3).
#[tokio::test]
async fn a_stack_connects_to_itself() {
    let (one, _two) = pair(plain(1500));
    let listener = TcpListener::bind(&one, v4(1, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(&one, remote), listener.accept());
    exchange(client.unwrap(), server.unwrap().0, MIB).await;
}

#[tokio::test]
async fn what_was_written_arrives_though_the_stream_was_dropped() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    let data = pattern(40_000);
    client.write_all(&data).await.unwrap();
    drop(client);
    assert!(read_all(&mut server).await.unwrap() == data);
}

#[tokio::test]
async fn what_was_written_arrives_though_the_whole_stack_was_dropped() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    let data = pattern(40_000);
    client.write_all(&data).await.unwrap();
    drop((client, one));
    assert!(read_all(&mut server).await.unwrap() == data);
}

// T118: nobody will read what the peer sends, and it is told.
#[tokio::test]
async fn a_stream_that_is_dropped_with_unread_data_is_reset() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    client.write_all(b"nobody reads this").await.unwrap();
    server.readable().await.unwrap();
    drop(server);
    let error = client.read_chunk(1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

// T123
#[tokio::test]
async fn a_linger_time_of_zero_resets_when_the_stream_is_dropped() {
    let (one, two) = pair(plain(1500));
    let (client, mut server) = connection(&one, &two).await;
    client.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let error = server.read_chunk(1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_picture_of_a_connection_tells_how_it_stands() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    client.write_all(&[7; 5000]).await.unwrap();
    let mut got = [0; 5000];
    server.read_exact(&mut got).await.unwrap();
    let stats = server.stats().unwrap();
    assert_eq!(stats.state, State::Established);
    assert_eq!(stats.bytes_received, 5000);
    assert!(stats.sack && stats.timestamps, "{stats:?}");
    // 1500 less IPv4, TCP and the timestamps.
    assert_eq!(client.stats().unwrap().mss, 1448);
}

#[tokio::test]
async fn settings_out_of_their_range_are_refused_in_words() {
    let (one, two) = pair(plain(1500));
    let (client, _server) = connection(&one, &two).await;
    let error = client.set_user_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("user_timeout"), "{error}");
    client.set_nodelay(true).unwrap();
    client.set_receive_buffer_size(1 << 20).unwrap();
    client.set_send_buffer_size(1 << 20).unwrap();
}

// A writer that finds the peer not reading waits, and goes on when it reads.
#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_writer() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    let data = pattern(32 * MIB);
    let mut left = data.clone();
    {
        let mut writing = Box::pin(client.write_chunk(&mut left));
        let waited = tokio::time::timeout(Duration::from_millis(300), &mut writing).await;
        assert!(waited.is_err(), "32 MiB were taken though nobody reads");
    }
    // What was not taken is still there after the cancelled call.
    assert!(!left.is_empty() && left.len() < data.len());
    let sending = tokio::spawn(async move {
        client.write_chunk(&mut left).await.unwrap();
        client.shutdown().await.unwrap();
    });
    assert!(read_all(&mut server).await.unwrap() == data);
    sending.await.unwrap();
}

#[tokio::test]
async fn devices_that_fail_fail_every_call() {
    let (ours, theirs) = Memory::pair(plain(1500));
    let (ours, pull) = cable(ours);
    let (one, two) = (stack(ours, 1), stack(theirs, 2));
    let (mut client, mut server) = connection(&one, &two).await;
    pull.break_it();
    server
        .write_all(b"the frame at which it fails")
        .await
        .unwrap();
    let error = client.read_chunk(1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
    assert!(error.to_string().contains("devices are gone"), "{error}");
    let error = client.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
    let error = TcpStream::connect(&one, v4(2, 1)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
    let error = TcpListener::bind(&one, v4(1, 0)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NetworkDown);
}

#[tokio::test]
async fn a_stack_without_a_device_is_refused() {
    let error = Stack::builder().start().unwrap_err();
    assert_eq!(error.to_string(), "a stack needs a device");
}

#[tokio::test]
async fn early_data_of_a_begun_connection_arrives() {
    let (one, two) = pair(plain(1500));
    let listener = TcpListener::bind(&two, v4(2, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let mut data = Bytes::from_static(b"early");
    let mut client = TcpStream::begin(&one, remote, Default::default(), &mut data).unwrap();
    client.write_all(&data).await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(read_all(&mut server).await.unwrap(), b"early");
}
