//! Two connections that share a bottleneck, each on a clock that the other keeps to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_core::congestion::Algorithm;
use weir_core::rng::rng_from_seed;
use weir_core::slab::Key;
use weir_core::time::Duration;
use weir_sim::{Datagram, LinkConfig, LinkModel};

use super::pair::{End, Pair, client_config, server_config};
use crate::config::TransportConfig;
use crate::stream::ReadError;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A download: what the client has read of the one stream.
struct Download {
    pair: Pair,
    outgoing: Key,
    incoming: Option<Key>,
    read: u64,
}

impl Download {
    /// One whose server sends over `link`, which others may send over, too.
    fn begin(seed: u64, algorithm: Algorithm, link: &Arc<Mutex<LinkModel>>) -> Download {
        let config = TransportConfig {
            congestion: algorithm,
            ..TransportConfig::default()
        };
        let client = client_config(TransportConfig::default());
        let mut pair = Pair::with(seed, client, server_config(config));
        pair.latency = Duration::from_millis(15);
        pair.establish();
        let (link, latency) = (Arc::clone(link), pair.latency);
        pair.filter = Some(Box::new(move |flying| {
            if flying.to == End::Server {
                return true;
            }
            let data = Bytes::copy_from_slice(&flying.data);
            let datagram = Datagram::new(flying.from, flying.dest, data);
            let sent = flying.at - latency;
            let mut link = link.lock().unwrap();
            let offered = link.offer(sent, datagram, |at, _| flying.at = at);
            offered.is_ok()
        }));
        let outgoing = pair.open(End::Server);
        Download {
            pair,
            outgoing,
            incoming: None,
            read: 0,
        }
    }

    /// A millisecond, in which the server always has more to send.
    fn tick(&mut self) {
        let pair = &mut self.pair;
        let (now, key) = (pair.now, self.outgoing);
        let sender = pair.server();
        while sender.write_slice(now, key, &[7; 16_384]).is_ok() {}
        pair.run_for(MILLISECOND);
        let now = pair.now;
        let incoming = self.incoming.or_else(|| {
            let client = &mut pair.client;
            client.accept(now, crate::wire::Dir::Bi)
        });
        self.incoming = incoming;
        let Some(key) = incoming else { return };
        loop {
            match pair.client.read(now, key, usize::MAX) {
                Ok(Some(bytes)) => self.read += bytes.len() as u64,
                Err(ReadError::Blocked) => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Bytes that each of two downloads got in 40 seconds of 10 Mbit/s, after 5 to find their way.
fn shares(algorithms: [Algorithm; 2]) -> [u64; 2] {
    let link = LinkConfig::bottleneck(10_000_000, Duration::from_millis(15));
    let link = LinkModel::new(link, rng_from_seed(1)).unwrap();
    let link = Arc::new(Mutex::new(link));
    let [one, other] = algorithms;
    let mut both = [
        Download::begin(400, one, &link),
        Download::begin(401, other, &link),
    ];
    let start = both[0].pair.now.max(both[1].pair.now);
    for download in &mut both {
        let behind = start.saturating_duration_since(download.pair.now);
        download.pair.run_for(behind);
    }
    let mut tick = |times: u32| {
        for _ in 0..times {
            both.iter_mut().for_each(Download::tick);
        }
        [both[0].read, both[1].read]
    };
    let before = tick(5_000);
    let after = tick(40_000);
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn a_flow_shares_the_bottleneck_with_one_of_cubic() {
    // Q176: neither starves the other, and together they fill the link.
    for algorithm in Algorithm::ALL {
        let [own, cubic] = shares([algorithm, Algorithm::Cubic]);
        let total = own + cubic;
        assert!(
            total * 8 / 40 > 9_000_000,
            "{algorithm:?}: {own} and {cubic}"
        );
        let percent = own * 100 / total;
        assert!(
            (25..=75).contains(&percent),
            "{algorithm:?}: {percent} percent"
        );
    }
}
