//! Against the `yamux` crate, over TCP on this machine, in both roles and with streams opened from
//! both sides.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

#[path = "proof/interop/mod.rs"]
mod interop;
mod proof;

use interop::flows::{Answer, Echo, Exchange, ExpectReset, Linger, ResetAfterFirst};
use interop::meet;
use interop::ours::{Driver, Flow, flow};
use interop::theirs::{self, Theirs};
use proof::quiet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use weir_yamux::{Config, Role};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Sizes around every boundary there is.
const SIZES: [u64; 10] = [
    0, 1, 11, 16_383, 65_536, 65_537, 262_143, 262_144, 262_145, 3_000_000,
];

#[test]
fn echo_of_what_we_send() {
    // Y1, Y6, Y12, Y13, Y14, Y24, Y34, Y36
    for role in ROLES {
        let flows = SIZES.iter().map(|size| flow(Exchange::echo(*size, *size)));
        let driver = Driver::new(role, quiet())
            .opens(flows)
            .closes_after(SIZES.len());
        let (outcome, echoed) = meet(driver, theirs::echo_all);
        assert_eq!(
            (outcome.finished, echoed),
            (SIZES.len(), SIZES.len() as u64),
            "{outcome:?}"
        );
        assert_eq!(outcome.reason.code, 0, "{outcome:?}");
    }
}

#[test]
fn echo_of_what_they_send() {
    // Y1, Y12, Y13, Y18, Y24, Y34, Y36
    for role in ROLES {
        let driver = Driver::new(role, quiet()).accepts(|| flow(Echo::default()));
        let (outcome, ()) = meet(driver, |theirs: Theirs| async move {
            for size in SIZES.into_iter().filter(|size| *size > 0) {
                theirs::exchange(theirs.open().await, size, size, size).await;
            }
            theirs.close().await;
        });
        assert_eq!(outcome.finished, SIZES.len() - 1, "{outcome:?}");
        assert_eq!(outcome.reason.code, 0, "{outcome:?}");
    }
}

#[test]
fn a_thousand_streams_at_once_from_us() {
    // Y11, Y19, Y34: the crate takes 256 that it has not acknowledged.
    for role in ROLES {
        let flows = (0..1_000).map(|n| flow(Exchange::echo(n, 1_024)));
        let driver = Driver::new(role, quiet()).opens(flows).closes_after(1_000);
        let (outcome, echoed) = meet(driver, theirs::echo_all);
        assert_eq!((outcome.finished, echoed), (1_000, 1_000), "{outcome:?}");
        assert_eq!(outcome.stats.resets_received, 0, "{outcome:?}");
    }
}

#[test]
fn a_thousand_streams_at_once_from_them() {
    // Y11, Y20, Y34
    for role in ROLES {
        let driver = Driver::new(role, quiet()).accepts(|| flow(Echo::default()));
        let (outcome, ()) = meet(driver, |theirs: Theirs| async move {
            let mut tasks = Vec::new();
            for n in 0..1_000 {
                let stream = theirs.open().await;
                tasks.push(tokio::task::spawn_local(theirs::exchange(
                    stream, n, 1_024, 1_024,
                )));
            }
            for task in tasks {
                task.await.unwrap();
            }
            theirs.close().await;
        });
        assert_eq!(outcome.finished, 1_000, "{outcome:?}");
        assert_eq!(outcome.stats.streams_refused, 0, "{outcome:?}");
    }
}

#[test]
fn half_close_from_us_then_their_answer() {
    // Y35
    for role in ROLES {
        let flows = [flow(Exchange::half_close(9, 700_000, 400_000))];
        let driver = Driver::new(role, quiet()).opens(flows).closes_after(1);
        let (outcome, count) = meet(driver, |mut theirs: Theirs| async move {
            let mut stream = theirs.accept().await.unwrap();
            let count = theirs::receive(&mut stream, 9).await;
            theirs::send(&mut stream, 9, 400_000).await;
            futures::AsyncWriteExt::close(&mut stream).await.unwrap();
            while theirs.accept().await.is_some() {}
            count
        });
        assert_eq!((outcome.finished, count), (1, 700_000), "{outcome:?}");
    }
}

#[test]
fn half_close_from_them_then_our_answer() {
    // Y35
    for role in ROLES {
        let driver = Driver::new(role, quiet()).accepts(|| flow(Answer::new(4, 500_000)));
        let (outcome, count) = meet(driver, |theirs: Theirs| async move {
            let mut stream = theirs.open().await;
            theirs::send(&mut stream, 4, 600_000).await;
            futures::AsyncWriteExt::close(&mut stream).await.unwrap();
            let count = theirs::receive(&mut stream, 4).await;
            theirs.close().await;
            count
        });
        assert_eq!((outcome.finished, count), (1, 500_000), "{outcome:?}");
    }
}

#[test]
fn our_reset_reaches_their_writer() {
    // Y38
    for role in ROLES {
        let flows = [
            flow(ResetAfterFirst::default()),
            flow(Exchange::echo(3, 100_000)),
        ];
        let driver = Driver::new(role, quiet()).opens(flows).closes_after(2);
        let (outcome, failed) = meet(driver, |mut theirs: Theirs| async move {
            let mut first = theirs.accept().await.unwrap();
            let error = loop {
                let write = futures::AsyncWriteExt::write(&mut first, &[1; 1_000]).await;
                if let Err(error) = write {
                    break error.kind();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            let second = theirs.accept().await.unwrap();
            theirs::echo(second).await;
            while theirs.accept().await.is_some() {}
            error
        });
        assert_eq!(failed, std::io::ErrorKind::WriteZero);
        assert_eq!(
            (outcome.finished, outcome.stats.resets_sent),
            (2, 1),
            "{outcome:?}"
        );
    }
}

#[test]
fn their_reset_reaches_our_reader() {
    // Y38, Y41: a stream of the crate's that is dropped open is reset.
    for role in ROLES {
        let seen = Arc::new(AtomicU64::new(0));
        let reset = ExpectReset {
            seen: seen.clone(),
            wrote: false,
        };
        let driver = Driver::new(role, quiet())
            .opens([flow(reset)])
            .closes_after(1);
        let (outcome, ()) = meet(driver, |mut theirs: Theirs| async move {
            let mut stream = theirs.accept().await.unwrap();
            let mut first = [0; 5];
            futures::AsyncReadExt::read_exact(&mut stream, &mut first)
                .await
                .unwrap();
            drop(stream);
            while theirs.accept().await.is_some() {}
        });
        assert_eq!(seen.load(Relaxed), 1);
        assert_eq!(
            (outcome.finished, outcome.stats.resets_received),
            (1, 1),
            "{outcome:?}"
        );
    }
}

#[test]
fn pings_measure_the_path_both_ways() {
    // Y44: ours is answered, and theirs (it sends one to begin with) by us.
    for role in ROLES {
        let delay = Duration::from_millis(5);
        let flows = [flow(Exchange::echo(1, 10_000))];
        let driver = Driver::new(role, quiet())
            .pings()
            .delayed(delay)
            .opens(flows);
        let (outcome, _) = meet(driver.closes_after(1), theirs::echo_all);
        let rtt = outcome.stats.rtt.expect("a round trip");
        assert!(rtt >= delay, "{rtt:?}");
        assert!(outcome.stats.pings_received >= 1, "{outcome:?}");
    }
}

#[test]
fn our_close_reaches_them_as_a_clean_end() {
    // Y49
    for role in ROLES {
        let flows = [flow(Exchange::echo(1, 100))];
        let driver = Driver::new(role, quiet()).opens(flows).closes_after(1);
        let (outcome, over) = meet(driver, |mut theirs: Theirs| async move {
            theirs::echo(theirs.accept().await.unwrap()).await;
            assert!(theirs.accept().await.is_none());
            theirs.over().await
        });
        assert!(over.is_ok(), "{over:?}");
        assert_eq!(outcome.reason.code, 0);
    }
}

#[test]
fn their_close_reaches_us_as_a_go_away() {
    // Y47, Y50: streams that are open end at once, with an error.
    for role in ROLES {
        let driver = Driver::new(role, quiet()).opens([flow(Linger::default())]);
        let (outcome, ()) = meet(driver, |mut theirs: Theirs| async move {
            let mut stream = theirs.accept().await.unwrap();
            let mut first = [0; 5];
            futures::AsyncReadExt::read_exact(&mut stream, &mut first)
                .await
                .unwrap();
            theirs.close().await;
        });
        assert_eq!(outcome.finished, 1, "{outcome:?}");
        assert_eq!(outcome.go_away, Some(0), "{outcome:?}");
    }
}

/// How much is sent in bulk: `WEIR_INTEROP_BYTES`, or 256 MiB.
fn bulk_bytes() -> u64 {
    let told = std::env::var("WEIR_INTEROP_BYTES").ok();
    told.map_or(256 << 20, |text| text.parse().unwrap())
}

#[test]
fn bulk_both_ways_at_once() {
    // Y10, Y25, Y33, Y34
    for role in ROLES {
        let bytes = bulk_bytes() / 2;
        let flows: [Box<dyn Flow>; 1] = [flow(Exchange::echo(2, bytes))];
        let driver = Driver::new(role, Config::default())
            .opens(flows)
            .closes_after(1);
        let (outcome, ()) = meet(driver, move |mut theirs: Theirs| async move {
            let stream = theirs.accept().await.unwrap();
            theirs::exchange(stream, 2, bytes, bytes).await;
            while theirs.accept().await.is_some() {}
        });
        assert_eq!(outcome.finished, 1, "{outcome:?}");
        assert!(outcome.stats.bytes_received >= bytes, "{outcome:?}");
    }
}

#[test]
fn windows_grow_beyond_the_first_both_ways() {
    // Y15, Y29: on a path of 20 ms ours grows for what they send, and theirs for what we send.
    for role in ROLES {
        let bytes = 48 << 20;
        let flows = [flow(Exchange::echo(6, bytes))];
        let driver = Driver::new(role, Config::default()).delayed(Duration::from_millis(20));
        let (outcome, ()) = meet(
            driver.opens(flows).closes_after(1),
            move |mut theirs| async move {
                let stream = theirs.accept().await.unwrap();
                theirs::exchange(stream, 6, bytes, bytes).await;
                while theirs.accept().await.is_some() {}
            },
        );
        let (send, recv) = (outcome.largest_send_window, outcome.largest_recv_window);
        assert!(
            send > 512 * 1024 && recv > 512 * 1024,
            "{send} and {recv} bytes"
        );
    }
}
