//! How connections of a stack come and go: accepted, deferred, cancelled, silent, many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tcpip_common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use weir::Budget;
use weir::tcpip::{
    CloseCause, ConnectConfig, Interface, KeepAlive, ListenConfig, Memory, Stack, TcpConfig,
    TcpError, TcpListener, TcpStream,
};

fn cause(error: &io::Error) -> CloseCause {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(TcpError::Closed(cause)) => *cause,
        other => panic!("not the end of a connection: {other:?}"),
    }
}

// T35: those that wait to be accepted are bounded; the next ones are taken when there is room.
#[tokio::test(start_paused = true)]
async fn a_full_backlog_holds_clients_until_somebody_accepts() {
    let (one, two) = pair(plain(1500));
    let config = ListenConfig {
        backlog: 2,
        ..ListenConfig::default()
    };
    let listener = TcpListener::bind_with(&two, v4(2, 0), config).unwrap();
    let remote = listener.local_addr().unwrap();
    // Those that came first know nothing of the ones behind them.
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(&one, remote).await.unwrap());
    }
    let mut third = Box::pin(TcpStream::connect(&one, remote));
    let waited = timeout(Duration::from_millis(900), &mut third).await;
    assert!(waited.is_err(), "{waited:?}");
    let (_first, from) = listener.accept().await.unwrap();
    assert_eq!(from, clients[0].local_addr().unwrap());
    // The repeated SYN finds room.
    third.await.unwrap();
}

// RFC 9293 3.8.6.3: an acknowledgement goes with data where there is some. A task that is only started for the
// connection comes in time for that.
#[tokio::test]
async fn the_first_request_is_acknowledged_by_its_answer() {
    let (one, two) = pair(plain(1500));
    let listener = TcpListener::bind(&two, v4(2, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let request = stream.read_chunk(100).await.unwrap().unwrap();
                stream.write_all(&request).await.unwrap();
                stream.read_chunk(1).await
            });
        }
    });
    let mut stream = TcpStream::connect(&one, remote).await.unwrap();
    stream.write_all(b"request").await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    // SYN,ACK and the answer.
    assert_eq!(two.stats().counters.out_segs, 2);
}

// T33
#[tokio::test]
async fn a_listener_that_goes_resets_who_was_not_accepted_and_nobody_else() {
    let (one, two) = pair(plain(1500));
    let listener = TcpListener::bind(&two, v4(2, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let mut first = TcpStream::connect(&one, remote).await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    let mut second = TcpStream::connect(&one, remote).await.unwrap();
    drop(listener);
    let error = second.read_chunk(1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    accepted.write_all(b"still here").await.unwrap();
    accepted.shutdown().await.unwrap();
    assert_eq!(read_all(&mut first).await.unwrap(), b"still here");
    let error = TcpStream::connect(&one, remote).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// Host 2 takes what is meant for everybody; host 1 sends everything there.
fn tunnel() -> (Stack, Stack, TcpListener) {
    let (ours, theirs) = Memory::pair(plain(1500));
    let everything = host(1)
        .route("0.0.0.0/0".parse().unwrap(), None)
        .route("::/0".parse().unwrap(), None);
    let one = Stack::builder().device(ours, everything).start().unwrap();
    let any = Interface::new().any_address();
    let two = Stack::builder().device(theirs, any).start().unwrap();
    let config = ListenConfig {
        any: true,
        defer: true,
        ..ListenConfig::default()
    };
    let listener = TcpListener::bind_with(&two, "0.0.0.0:0".parse().unwrap(), config).unwrap();
    (one, two, listener)
}

#[tokio::test]
async fn a_deferring_listener_decides_on_each_attempt() {
    let (one, _two, listener) = tunnel();
    let remote: SocketAddr = "203.0.113.7:443".parse().unwrap();
    let connecting = tokio::spawn({
        let one = one.clone();
        async move { TcpStream::connect(&one, remote).await }
    });
    let incoming = listener.incoming().await.unwrap();
    assert_eq!(incoming.local_addr(), remote);
    assert_eq!(incoming.peer_addr().ip(), v4(1, 0).ip());
    // Nothing is promised before the answer.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!connecting.is_finished());
    let mut server = incoming.confirm().await.unwrap();
    let mut client = connecting.await.unwrap().unwrap();
    assert_eq!(server.local_addr().unwrap(), remote);
    client.write_all(b"through").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut server).await.unwrap(), b"through");
    // The next one is refused; and one that is dropped as well.
    for _ in 0..2 {
        let (refused, ()) = tokio::join!(TcpStream::connect(&one, remote), async {
            listener.incoming().await.unwrap().refuse();
        });
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}

#[tokio::test]
async fn accepting_at_a_deferring_listener_confirms() {
    let (one, _two, listener) = tunnel();
    let remote: SocketAddr = "203.0.113.8:80".parse().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(&one, remote), listener.accept());
    assert_eq!(client.unwrap().local_addr().unwrap(), server.unwrap().1);
}

#[tokio::test]
async fn an_attempt_that_was_taken_back_cannot_be_confirmed() {
    let (one, _two, listener) = tunnel();
    let remote: SocketAddr = "203.0.113.9:80".parse().unwrap();
    let mut connecting = Box::pin(TcpStream::connect(&one, remote));
    assert!(is_pending(&mut connecting).await);
    let incoming = listener.incoming().await.unwrap();
    // A connect that is dropped takes the attempt back.
    drop(connecting);
    until(&one, |stats| stats.connections == 0).await;
    let stream = incoming.confirm_now();
    if let Ok(stream) = stream {
        // The handshake is answered by a reset: nobody is there.
        let error = stream.connected().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let (one, two) = pair(plain(1500));
    let (mut client, mut server) = connection(&one, &two).await;
    for round in 0..20_u8 {
        let mut buffer = [0; 4];
        let mut reading = Box::pin(client.read(&mut buffer));
        assert!(is_pending(&mut reading).await);
        drop(reading);
        server.write_all(&[round; 4]).await.unwrap();
        let read = client.read_exact(&mut buffer);
        soon(read).await.unwrap();
        assert_eq!(buffer, [round; 4]);
    }
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_connection() {
    let (one, two) = pair(plain(1500));
    let listener = TcpListener::bind(&two, v4(2, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    for _ in 0..3 {
        let mut accepting = Box::pin(listener.accept());
        assert!(is_pending(&mut accepting).await);
    }
    let client = TcpStream::connect(&one, remote).await.unwrap();
    let (_, from) = listener.accept().await.unwrap();
    assert_eq!(from, client.local_addr().unwrap());
}

#[tokio::test]
async fn many_tasks_may_accept_at_one_listener() {
    let (one, two) = pair(plain(1500));
    let listener = std::sync::Arc::new(TcpListener::bind(&two, v4(2, 0)).unwrap());
    let remote = listener.local_addr().unwrap();
    let accepting: Vec<_> = (0..4)
        .map(|_| {
            let listener = std::sync::Arc::clone(&listener);
            tokio::spawn(async move { listener.accept().await.unwrap() })
        })
        .collect();
    for _ in 0..4 {
        TcpStream::connect(&one, remote).await.unwrap();
    }
    for task in accepting {
        soon(task).await.unwrap();
    }
}

// T126: probes are sent while the connection is idle, and their loss ends it. In virtual time.
#[tokio::test(start_paused = true)]
async fn keep_alive_finds_out_that_the_cable_was_pulled() {
    let (ours, theirs) = Memory::pair(plain(1500));
    let (ours, pull) = cable(ours);
    let (one, two) = (stack(ours, 1), stack(theirs, 2));
    let (mut client, _server) = connection(&one, &two).await;
    let keepalive = KeepAlive {
        idle: Duration::from_secs(10),
        interval: Duration::from_secs(2),
        count: 3,
    };
    client.set_keepalive(Some(keepalive)).unwrap();
    // The peer answers: the connection outlives many idle times.
    let waited = timeout(Duration::from_secs(100), client.read_chunk(1)).await;
    assert!(waited.is_err(), "{waited:?}");
    let began = Instant::now();
    pull.pull();
    let error = client.read_chunk(1).await.unwrap_err();
    assert_eq!(cause(&error), CloseCause::KeepAliveTimedOut);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let took = began.elapsed();
    assert!((6..=17).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_keep_alive_an_idle_connection_asks_for_nothing() {
    let (one, two) = pair(plain(1500));
    let (_client, _server) = connection(&one, &two).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = one.stats().counters;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(one.stats().counters, before);
}

// T127
#[tokio::test(start_paused = true)]
async fn the_user_timeout_ends_what_nobody_acknowledges() {
    let (ours, theirs) = Memory::pair(plain(1500));
    let (ours, pull) = cable(ours);
    let (one, two) = (stack(ours, 1), stack(theirs, 2));
    let (mut client, _server) = connection(&one, &two).await;
    client.set_user_timeout(Duration::from_secs(20)).unwrap();
    pull.pull();
    let began = Instant::now();
    client.write_all(b"into the void").await.unwrap();
    let error = client.read_chunk(1).await.unwrap_err();
    assert_eq!(cause(&error), CloseCause::TimedOut);
    let took = began.elapsed();
    assert!((19..=40).contains(&took.as_secs()), "{took:?}");
}

// T23
#[tokio::test(start_paused = true)]
async fn a_connect_that_nobody_answers_fails_in_time() {
    let (ours, theirs) = Memory::pair(plain(1500));
    let (ours, pull) = cable(ours);
    let (one, _two) = (stack(ours, 1), stack(theirs, 2));
    pull.pull();
    let config = ConnectConfig {
        tcp: TcpConfig {
            syn_timeout: Duration::from_secs(10),
            ..TcpConfig::default()
        },
        ..ConnectConfig::default()
    };
    let began = Instant::now();
    let connecting = TcpStream::connect_with(&one, v4(2, 80), config);
    let error = connecting.await.unwrap_err();
    assert_eq!(cause(&error), CloseCause::ConnectTimedOut);
    assert_eq!(began.elapsed().as_secs(), 10);
}

/// A short TIME-WAIT, so that memory can be seen to go.
fn brief() -> TcpConfig {
    TcpConfig {
        time_wait: Duration::from_millis(10),
        ..TcpConfig::default()
    }
}

#[tokio::test]
async fn a_thousand_connections_at_once_and_nothing_is_left_of_them() {
    let budget = Budget::unlimited("test");
    let (ours, theirs) = Memory::pair(plain(1500));
    let build = |device, number| {
        let builder = Stack::builder().device(device, host(number));
        builder.budget(budget.clone()).start().unwrap()
    };
    let (one, two) = (build(ours, 1), build(theirs, 2));
    let config = ListenConfig {
        backlog: 2000,
        tcp: brief(),
        ..ListenConfig::default()
    };
    let listener = TcpListener::bind_with(&two, v4(2, 0), config).unwrap();
    let remote = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut tasks = Vec::new();
        for _ in 0..1000 {
            let (mut stream, _) = listener.accept().await.unwrap();
            tasks.push(tokio::spawn(async move {
                let all = read_all(&mut stream).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.shutdown().await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
    let clients: Vec<_> = (0..1000_u32)
        .map(|n| {
            let one = one.clone();
            tokio::spawn(async move {
                let config = ConnectConfig {
                    tcp: brief(),
                    ..ConnectConfig::default()
                };
                let mut stream = TcpStream::connect_with(&one, remote, config).await.unwrap();
                let said = n.to_le_bytes().repeat(500);
                stream.write_all(&said).await.unwrap();
                stream.shutdown().await.unwrap();
                assert_eq!(read_all(&mut stream).await.unwrap(), said);
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    serving.await.unwrap();
    for stack in [&one, &two] {
        until(stack, |stats| {
            stats.connections == 0 && stats.time_waits == 0 && stats.memory == 0
        })
        .await;
    }
    drop((one, two));
    let deadline = Instant::now() + LIMIT;
    while budget.used() > 0 {
        assert!(Instant::now() < deadline, "{budget:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// What was written before a close still goes out, then the connection is forgotten; so does the task.
#[tokio::test]
async fn a_stack_whose_handles_are_gone_ends_and_gives_its_device_back() {
    let (ours, theirs) = Memory::pair(plain(1500));
    let (one, two) = (stack(ours, 1), stack(theirs, 2));
    let (client, mut server) = connection(&one, &two).await;
    drop((client, one));
    assert_eq!(server.read_chunk(1).await.unwrap(), None);
    drop(server);
    until(&two, |stats| stats.connections == 0).await;
}

/// A stack with two networks: hosts 10.9.0.1 and 10.8.0.1.
fn between_two(one: impl weir::tcpip::Device, two: impl weir::tcpip::Device) -> Stack {
    let second = Interface::new()
        .address("10.8.0.1/24".parse().unwrap())
        .without_duplicate_detection();
    Stack::builder()
        .device(one, host(1))
        .device(two, second)
        .start()
        .unwrap()
}

// A device that takes nothing keeps what is meant for it to itself.
#[tokio::test]
async fn a_blocked_device_does_not_hold_up_the_others() {
    // Nobody ever reads the other end of the first one.
    let (blocked, _unread) = Memory::pair(plain(1500));
    let (ours, theirs) = Memory::pair(plain(1500));
    let stack = between_two(blocked, ours);
    let there = Interface::new()
        .address("10.8.0.2/24".parse().unwrap())
        .without_duplicate_detection();
    let there = Stack::builder().device(theirs, there).start().unwrap();
    // More than the cable and the queue in front of it hold.
    let flood = weir::tcpip::UdpSocket::bind(&stack, v4(1, 0)).unwrap();
    for _ in 0..4000 {
        flood.send_to(&[0; 1400], v4(2, 9)).await.unwrap();
    }
    let listener = TcpListener::bind(&there, "10.8.0.2:0".parse().unwrap()).unwrap();
    let remote = listener.local_addr().unwrap();
    let both = async { tokio::join!(TcpStream::connect(&stack, remote), listener.accept()) };
    let (client, server) = soon(both).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
    let data = pattern(4 << 20);
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let got = soon(read_all(&mut server)).await.unwrap();
    assert!(got == data, "something else came");
    drop(sending.await.unwrap());
    let lost = stack.ip_counters().out_discards;
    assert!((1000..4000).contains(&lost), "{lost} frames lost");
}

// What waits for a device goes out first, and in order, when it takes frames again.
#[tokio::test]
async fn a_device_that_takes_frames_again_gets_what_waited_in_order() {
    let (ours, late) = Memory::pair(plain(1500));
    let (other, _far) = Memory::pair(plain(1500));
    let one = between_two(ours, other);
    let socket = weir::tcpip::UdpSocket::bind(&one, v4(1, 0)).unwrap();
    for number in 0..800_u32 {
        socket
            .send_to(&number.to_be_bytes(), v4(2, 9))
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let two = stack(late, 2);
    let there = weir::tcpip::UdpSocket::bind(&two, v4(2, 9)).unwrap();
    for number in 0..800_u32 {
        let received = soon(there.recv_datagram()).await.unwrap();
        assert_eq!(received.data[..], number.to_be_bytes());
    }
    assert_eq!(one.ip_counters().out_discards, 0);
}
