//! A path that is cut under a running connection is noticed before the idle time-out.

use weir_core::close::Initiator;
use weir_core::time::Duration;

use super::pair::{End, Pair, client_config, server_config};
use crate::config::TransportConfig;

const ANSWER: Duration = Duration::from_secs(10);

fn pair(keep_alive: Option<Duration>) -> Pair {
    let transport = || TransportConfig {
        idle_timeout: Duration::from_secs(60),
        answer_timeout: ANSWER,
        keep_alive,
        ..TransportConfig::default()
    };
    let mut pair = Pair::with(7, client_config(transport()), server_config(transport()));
    pair.establish();
    pair.run_for(Duration::from_millis(500));
    pair
}

fn cut(pair: &mut Pair) {
    pair.filter = Some(Box::new(|_| false));
    pair.flying.clear();
}

fn send(pair: &mut Pair) {
    let key = pair.open(End::Client);
    let mut data = bytes::Bytes::from_static(b"anybody there?");
    let now = pair.now;
    pair.client.write(now, key, &mut data).unwrap();
}

#[test]
fn silence_after_something_was_sent_ends_the_connection() {
    let mut pair = pair(None);
    cut(&mut pair);
    let began = pair.now;
    send(&mut pair);
    pair.run_until(|pair| !pair.client.is_open());
    let took = pair.now.saturating_duration_since(began);
    assert!(
        took >= ANSWER && took < ANSWER + Duration::from_secs(1),
        "{took:?}"
    );
    let reason = pair.client.close_reason().unwrap();
    assert_eq!(reason.by, Initiator::Timer);
    assert!(reason.reason.contains("cut"), "{reason}");
}

#[test]
fn a_keep_alive_that_is_not_answered_ends_an_idle_connection() {
    let every = Duration::from_secs(15);
    let mut pair = pair(Some(every));
    cut(&mut pair);
    let began = pair.now;
    pair.run_until(|pair| !pair.client.is_open());
    let took = pair.now.saturating_duration_since(began);
    // Of the keep-alive that is due first, a part may be over already.
    assert!(
        took > ANSWER && took < every + ANSWER + Duration::from_secs(1),
        "{took:?}"
    );
}

#[test]
fn a_pause_shorter_than_the_time_out_is_survived() {
    let mut pair = pair(None);
    cut(&mut pair);
    send(&mut pair);
    pair.run_for(Duration::from_secs(5));
    pair.filter = None;
    pair.run_for(Duration::from_secs(20));
    assert!(pair.client.is_open());
    // The count begins anew.
    cut(&mut pair);
    send(&mut pair);
    pair.run_for(Duration::from_secs(9));
    assert!(pair.client.is_open());
}

#[test]
fn a_connection_that_has_nothing_to_say_waits_for_the_idle_time_out() {
    // RFC 9000 10.1
    let mut pair = pair(None);
    cut(&mut pair);
    pair.run_for(Duration::from_secs(50));
    assert!(pair.client.is_open());
}

#[test]
fn a_path_that_is_cut_in_one_direction_is_noticed_by_both() {
    let mut pair = pair(None);
    pair.filter = Some(Box::new(|flying| flying.to == End::Client));
    pair.flying.clear();
    let began = pair.now;
    send(&mut pair);
    let key = pair.open(End::Server);
    let now = pair.now;
    let mut data = bytes::Bytes::from_static(b"that I can hear");
    pair.server().write(now, key, &mut data).unwrap();
    pair.run_until(|pair| !pair.client.is_open() && !pair.server().is_open());
    let took = pair.now.saturating_duration_since(began);
    assert!(took < ANSWER + Duration::from_secs(1), "{took:?}");
}
