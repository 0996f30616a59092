//! SYNs for listeners, and the ACKs that bring SYN cookies back.

use weir_core::slab::Key;

use super::segments::Arrival;
use super::{Owner, Tcp, path};
use crate::ip::{Ecn, Route};
use crate::limits::{CONNECTION_COST, MAX_FAST_OPEN_PENDING};
use crate::stack::config::SynCookies;
use crate::stack::host::Host;
use crate::tcp::TcpConfig;
use crate::tcp::connection::{Connection, Making};
use crate::tcp::interface::{Agreed, FastOpenReply, Numbers, Tuple};
use crate::tcp::listen::cookie::Cookies;
use crate::tcp::listen::fast_open::Worth;
use crate::wire::tcp::{Flags, Header, Options, Segment, Timestamps};

/// What is done about a SYN.
enum Place {
    /// It becomes a connection.
    Connection,
    /// It is answered and forgotten.
    Cookie,
    /// It is dropped; the client will send it again (T35).
    None,
}

impl Tcp {
    /// A SYN for a listener (RFC 9293 3.10.7.2, "third").
    pub(super) fn on_syn(
        &mut self,
        host: &mut Host<'_>,
        listener: Key,
        arrival: &Arrival<'_>,
        least: Option<u32>,
    ) {
        if self.listeners.get(listener).is_some_and(|it| it.defer) {
            self.defer(host, listener, arrival, least);
            return;
        }
        match self.place(host, listener) {
            Place::Connection => {
                self.open(host, listener, arrival, least);
            }
            Place::Cookie => self.send_cookie(host, listener, arrival),
            Place::None => {
                let counters = host.counters();
                counters.listen_drops = counters.listen_drops.saturating_add(1);
            }
        }
    }

    fn place(&self, host: &mut Host<'_>, listener: Key) -> Place {
        let Some(listener) = self.listeners.get(listener) else {
            return Place::None;
        };
        if listener.is_full() {
            let counters = host.counters();
            counters.listen_overflows = counters.listen_overflows.saturating_add(1);
            return Place::None;
        }
        // The room for half-open connections of one listener is a part of that of all.
        let is_full = self.half_open >= host.config.max_half_open
            || listener.half_open >= listener.backlog
            || self.connections.len() >= host.config.max_connections;
        match host.config.syn_cookies {
            SynCookies::Always => Place::Cookie,
            SynCookies::WhenFull if is_full => {
                let counters = host.counters();
                counters.tcp_req_q_full_do_cookies =
                    counters.tcp_req_q_full_do_cookies.saturating_add(1);
                Place::Cookie
            }
            SynCookies::Never if is_full => {
                let counters = host.counters();
                counters.tcp_req_q_full_drop = counters.tcp_req_q_full_drop.saturating_add(1);
                Place::None
            }
            SynCookies::WhenFull | SynCookies::Never => Place::Connection,
        }
    }

    /// Makes a connection of a SYN: SYN-RECEIVED.
    fn open(
        &mut self,
        host: &mut Host<'_>,
        listener: Key,
        arrival: &Arrival<'_>,
        least: Option<u32>,
    ) -> Option<Key> {
        let route = host.route(&arrival.tuple.local, &arrival.tuple.remote)?;
        if !self.has_room(host) {
            let counters = host.counters();
            counters.listen_drops = counters.listen_drops.saturating_add(1);
            return None;
        }
        let fast_open = self.fast_open_reply(host, listener, arrival);
        let Some(it) = self.listeners.get_mut(listener) else {
            host.shared.budget.release(CONNECTION_COST);
            return None;
        };
        it.half_open = it.half_open.saturating_add(1);
        let config = it.config.clone();
        let numbers = self.numbers(host.now, &arrival.tuple, least);
        let making = Making {
            tuple: arrival.tuple,
            config,
            numbers,
            path: path(&route),
            spare: self.spare.pop(),
        };
        let syn = &arrival.received;
        let connection = Connection::accept(&mut host.context(), making, syn, fast_open);
        let owner = Owner::Opening(listener);
        let key = self.insert(connection, arrival.hash, route, owner);
        self.mark_half_open(key, fast_open.take_data);
        self.settle(host, key.index);
        Some(key)
    }

    /// Counts a connection as half-open.
    pub(super) fn mark_half_open(&mut self, key: Key, with_data: bool) {
        if let Some(entry) = self.connections.get_mut(key) {
            (entry.half_open, entry.fast_open) = (true, with_data);
            self.half_open = self.half_open.saturating_add(1);
            let pending = usize::from(with_data);
            self.fast_open_pending = self.fast_open_pending.saturating_add(pending);
        }
    }

    /// How Fast Open in a SYN is answered (RFC 7413 4.2.2).
    fn fast_open_reply(
        &mut self,
        host: &mut Host<'_>,
        listener: Key,
        arrival: &Arrival<'_>,
    ) -> FastOpenReply {
        let mut reply = FastOpenReply::default();
        let Some(option) = arrival.received.segment.options.fast_open else {
            return reply;
        };
        let it = self.listeners.get(listener);
        if !it.is_some_and(|it| it.config.fast_open) {
            return reply;
        }
        let (local, remote) = (arrival.tuple.local.ip(), arrival.tuple.remote.ip());
        let (now, shared) = (host.now, &mut *host.shared);
        let worth = self
            .fast_open
            .check(now, &mut shared.rng, local, remote, &option);
        let counters = &mut shared.counters;
        if worth == Worth::Bad && !option.is_request() {
            counters.tcp_fast_open_passive_fail =
                counters.tcp_fast_open_passive_fail.saturating_add(1);
        }
        if worth != Worth::Bad {
            // RFC 7413 5.1: a bound on what spoofed sources with stolen cookies can do.
            if self.fast_open_pending < MAX_FAST_OPEN_PENDING {
                reply.take_data = true;
            } else {
                counters.tcp_fast_open_listen_overflow =
                    counters.tcp_fast_open_listen_overflow.saturating_add(1);
            }
        }
        if worth != Worth::Good {
            counters.tcp_fast_open_cookie_reqd =
                counters.tcp_fast_open_cookie_reqd.saturating_add(1);
            reply.cookie = self.fast_open.make(now, &mut shared.rng, local, remote);
        }
        reply
    }

    /// Answers a SYN with a cookie: nothing is kept of it (RFC 4987 3.6).
    fn send_cookie(&mut self, host: &mut Host<'_>, listener: Key, arrival: &Arrival<'_>) {
        let Some(listener) = self.listeners.get(listener) else {
            return;
        };
        let Some(route) = host.route(&arrival.tuple.local, &arrival.tuple.remote) else {
            return;
        };
        let (config, segment) = (&listener.config, &arrival.received.segment);
        let asks_ecn = segment.flags.contains(Flags::ECE.with(Flags::CWR))
            && arrival.received.ecn == Ecn::NotEct;
        let options = &segment.options;
        let wanted = Cookies::carried(&Agreed {
            mss: options.mss.unwrap_or(default_mss(&arrival.tuple)),
            window_scale: options.window_scale.filter(|_| config.window_scale),
            sack: options.sack_permitted && config.sack,
            timestamps: options.timestamps.is_some() && config.timestamps,
            ecn: asks_ecn && config.ecn,
        });
        let tuple = &arrival.tuple;
        let numbers = self.numbers(host.now, tuple, None);
        let clock = numbers.timestamp(host.now);
        let cookie = self.cookies.make(
            host.now,
            &tuple.local,
            &tuple.remote,
            segment.seq,
            &wanted,
            clock,
        );
        let header = syn_ack(tuple, config, &route, segment, &wanted, &cookie);
        let dscp = config.dscp;
        let counters = host.counters();
        counters.syncookies_sent = counters.syncookies_sent.saturating_add(1);
        self.reply(&arrival.tuple, header, dscp);
    }

    /// An ACK for a listener: a cookie that comes back makes a connection (T36). False when it is
    /// none.
    pub(super) fn on_cookie(
        &mut self,
        host: &mut Host<'_>,
        listener: Key,
        arrival: &Arrival<'_>,
    ) -> bool {
        if !self.cookies.is_outstanding(host.now) {
            return false;
        }
        let (tuple, segment) = (&arrival.tuple, &arrival.received.segment);
        let (client, iss) = (segment.seq.wrapping_sub(1), segment.ack.wrapping_sub(1));
        let echo = segment.options.timestamps.map(|it| it.echo);
        let agreed = self
            .cookies
            .check(host.now, &tuple.local, &tuple.remote, client, iss, echo);
        let Some(agreed) = agreed else {
            let counters = host.counters();
            counters.syncookies_failed = counters.syncookies_failed.saturating_add(1);
            return false;
        };
        let counters = host.counters();
        counters.syncookies_recv = counters.syncookies_recv.saturating_add(1);
        let is_full = self.listeners.get(listener).is_none_or(|it| it.is_full());
        if is_full
            || self
                .open_by_cookie(host, listener, arrival, iss, &agreed)
                .is_none()
        {
            // T35: dropped; the client's data, or a probe, brings the cookie again.
            let counters = host.counters();
            counters.listen_overflows = counters.listen_overflows.saturating_add(1);
        }
        true
    }

    fn open_by_cookie(
        &mut self,
        host: &mut Host<'_>,
        listener: Key,
        arrival: &Arrival<'_>,
        iss: u32,
        agreed: &Agreed,
    ) -> Option<()> {
        let config = self.listeners.get(listener)?.config.clone();
        let route = host.route(&arrival.tuple.local, &arrival.tuple.remote)?;
        if !self.has_room(host) {
            return None;
        }
        let numbers = Numbers {
            iss,
            ..self.numbers(host.now, &arrival.tuple, None)
        };
        let making = Making {
            tuple: arrival.tuple,
            config,
            numbers,
            path: path(&route),
            spare: self.spare.pop(),
        };
        let connection = Connection::from_cookie(
            &mut host.context(),
            making,
            arrival.received.segment.seq.wrapping_sub(1),
            agreed,
            &arrival.received,
        );
        let owner = Owner::Opening(listener);
        let key = self.insert(connection, arrival.hash, route, owner);
        if let Some(entry) = self.connections.get_mut(key) {
            entry
                .connection()
                .handle_segment(&mut host.context(), &arrival.received);
        }
        self.settle(host, key.index);
        Some(())
    }
}

/// The MSS of a peer that names none (T26).
fn default_mss(tuple: &Tuple) -> u16 {
    if tuple.remote.is_ipv4() {
        crate::limits::DEFAULT_MSS_V4
    } else {
        crate::limits::DEFAULT_MSS_V6
    }
}

/// The SYN,ACK that carries a cookie.
fn syn_ack(
    tuple: &Tuple,
    config: &TcpConfig,
    route: &Route,
    syn: &Segment<'_>,
    wanted: &Agreed,
    cookie: &crate::tcp::listen::cookie::Cookie,
) -> Header {
    let mss = route.link_mtu.saturating_sub(tuple.header_bytes());
    let mss = config.mss.map_or(mss, |most| mss.min(most));
    let window = config.receive_window.initial.min(u64::from(u16::MAX));
    let flags = Flags::SYN.with(Flags::ACK);
    Header {
        src_port: tuple.local.port(),
        dst_port: tuple.remote.port(),
        seq: cookie.iss,
        ack: syn.seq.wrapping_add(1),
        flags: if wanted.ecn {
            flags.with(Flags::ECE)
        } else {
            flags
        },
        window: u16::try_from(window).unwrap_or(u16::MAX),
        urgent: 0,
        options: Options {
            mss: Some(mss),
            window_scale: wanted
                .window_scale
                .map(|_| crate::tcp::listen::shift_for(config.receive_window.max)),
            sack_permitted: wanted.sack,
            timestamps: cookie.timestamp.map(|value| Timestamps {
                value,
                echo: syn.options.timestamps.map_or(0, |it| it.value),
            }),
            ..Options::default()
        },
    }
}
