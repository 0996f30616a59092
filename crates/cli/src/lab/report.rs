//! What the lab did to the traffic.

use crate::out::{Table, say, show};
use crate::units;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use weir_lab::{DirectionStats, LabStats};

/// The last line of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    secs: f64,
    to_server: Way,
    to_client: Way,
    flows: u64,
    connections: u64,
    rebindings: u64,
    rebound_flows: u64,
    unrecorded: u64,
    #[serde(skip)]
    time: Duration,
}

/// One direction.
#[derive(Debug, Serialize)]
struct Way {
    packets: u64,
    bytes: u64,
    delivered: u64,
    dropped: BTreeMap<&'static str, u64>,
    reordered: u64,
    duplicated: u64,
    corrupted: u64,
    ecn_marked: u64,
    ecn_changed: u64,
    tcp_bytes: u64,
}

impl Report {
    pub(super) fn new(stats: &LabStats, time: Duration) -> Self {
        Self {
            secs: time.as_secs_f64(),
            to_server: Way::new(&stats.to_server),
            to_client: Way::new(&stats.to_client),
            flows: stats.flows,
            connections: stats.connections,
            rebindings: stats.rebindings,
            rebound_flows: stats.rebound_flows,
            unrecorded: stats.unrecorded,
            time,
        }
    }

    /// Shows it to a person.
    pub(super) fn show(&self) {
        let mut table = Table::new(&["", "to server", "to client"]);
        let mut row = |what: &str, value: &dyn Fn(&Way) -> u64| {
            let values = [value(&self.to_server), value(&self.to_client)];
            if values != [0, 0] {
                let [server, client] = values.map(|value| value.to_string());
                table.row([what.to_owned(), server, client]);
            }
        };
        row("packets", &|way| way.packets);
        row("delivered", &|way| way.delivered);
        let ways = [&self.to_server, &self.to_client];
        let causes: std::collections::BTreeSet<_> =
            ways.iter().flat_map(|way| way.dropped.keys()).collect();
        for cause in causes {
            let count = |way: &Way| way.dropped.get(cause).copied().unwrap_or(0);
            row(&format!("dropped: {cause}"), &count);
        }
        row("reordered", &|way| way.reordered);
        row("duplicated", &|way| way.duplicated);
        row("corrupted", &|way| way.corrupted);
        row("marked CE", &|way| way.ecn_marked);
        row("ECN bits changed", &|way| way.ecn_changed);
        row("bytes of TCP", &|way| way.tcp_bytes);
        show(table);
        if self.unrecorded > 0 {
            say(format_args!(
                "weir: {} packets could not be recorded: is the disk full?",
                self.unrecorded
            ));
        }
        show(format_args!(
            "{} UDP flows, {} TCP connections, rebound {} times, in {}",
            self.flows,
            self.connections,
            self.rebindings,
            units::time(self.time)
        ));
    }
}

impl Way {
    fn new(stats: &DirectionStats) -> Self {
        Self {
            packets: stats.link.offered,
            bytes: stats.link.offered_bytes,
            delivered: stats.delivered,
            dropped: stats.dropped().collect(),
            reordered: stats.link.reordered,
            duplicated: stats.link.duplicated,
            corrupted: stats.link.corrupted,
            ecn_marked: stats.link.marked,
            ecn_changed: stats.link.bleached,
            tcp_bytes: stats.tcp_bytes,
        }
    }
}
