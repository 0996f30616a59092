//! Attempts at deferring listeners, which hear nothing before the application has decided.

use weir_core::slab::Key;

use super::segments::Arrival;
use super::{Owner, Tcp, path};
use crate::ip::{Complaint, DEFAULT_HOP_LIMIT, Ecn, Plain};
use crate::limits::CONNECTION_COST;
use crate::stack::demux::Target;
use crate::stack::host::Host;
use crate::stack::{Event, Gone, IncomingKey, ListenerKey, Refusal, TcpKey};
use crate::tcp::connection::{Connection, Making};
use crate::tcp::interface::{FastOpenReply, Received, Tuple};
use crate::wire::protocol;
use crate::wire::tcp::{Flags, Header, Options, Segment};

/// A SYN that waits, without its data: the client sends that again (T22).
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(super) tuple: Tuple,
    hash: u32,
    listener: Key,
    timer: Key,
    seq: u32,
    flags: Flags,
    window: u16,
    options: Options,
    ecn: Ecn,
    /// What our initial sequence number must not be below.
    least: Option<u32>,
}

impl Incoming {
    fn set(&mut self, segment: &Segment<'_>) {
        self.seq = segment.seq;
        self.flags = segment.flags;
        self.window = segment.window;
        self.options = segment.options;
    }

    /// The SYN as a packet, for an ICMP error to quote: as much of it as tells the client's host which
    /// connection is meant and that its SYN was seen (RFC 792, RFC 5927 section 4.1). What options and
    /// how many hops it had is not known any more.
    fn packet(&self) -> Vec<u8> {
        let (src, dst) = (self.tuple.remote, self.tuple.local);
        let header = Header {
            src_port: src.port(),
            dst_port: dst.port(),
            seq: self.seq,
            ack: 0,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            options: Options::default(),
        };
        let head = Plain {
            ends: (src.ip(), dst.ip()),
            protocol: protocol::TCP,
            dscp_ecn: 0,
            hop_limit: DEFAULT_HOP_LIMIT,
            transport_len: header.len(),
        };
        let mut packet = Vec::new();
        head.write(&mut packet);
        header.write(&mut packet);
        packet
    }

    /// The SYN as if it came now.
    fn syn(&self) -> Received<'static> {
        Received {
            segment: Segment {
                src_port: self.tuple.remote.port(),
                dst_port: self.tuple.local.port(),
                seq: self.seq,
                ack: 0,
                flags: self.flags,
                window: self.window,
                urgent: 0,
                options: self.options,
                payload: &[],
            },
            ecn: self.ecn,
            segments: 1,
        }
    }
}

impl Tcp {
    /// Keeps a SYN and tells the application.
    pub(super) fn defer(
        &mut self,
        host: &mut Host<'_>,
        listener: Key,
        arrival: &Arrival<'_>,
        least: Option<u32>,
    ) {
        let Some(it) = self.listeners.get_mut(listener) else {
            return;
        };
        let most = host.config.max_half_open;
        if it.half_open >= it.backlog || self.incoming.len() >= most {
            let counters = host.counters();
            counters.listen_overflows = counters.listen_overflows.saturating_add(1);
            counters.listen_drops = counters.listen_drops.saturating_add(1);
            return;
        }
        it.half_open = it.half_open.saturating_add(1);
        let until = host.now + host.config.incoming_timeout;
        let wheel = &mut self.wheel;
        let key = self.incoming.insert_with(|key| {
            let mut incoming = Incoming {
                tuple: arrival.tuple,
                hash: arrival.hash,
                listener,
                timer: wheel.insert(until, Target::Incoming(key.index)),
                seq: 0,
                flags: Flags::NONE,
                window: 0,
                options: Options::default(),
                ecn: arrival.received.ecn,
                least,
            };
            incoming.set(&arrival.received.segment);
            incoming
        });
        self.ends.insert(arrival.hash, Target::Incoming(key.index));
        host.tell(Event::TcpIncoming {
            listener: ListenerKey(listener),
            incoming: IncomingKey(key),
            local: arrival.tuple.local,
            remote: arrival.tuple.remote,
        });
    }

    /// A segment for an attempt that waits.
    pub(super) fn on_incoming(&mut self, host: &mut Host<'_>, index: u32, arrival: &Arrival<'_>) {
        let Some(incoming) = self.incoming.get_at_mut(index) else {
            return;
        };
        let segment = &arrival.received.segment;
        if segment.flags.contains(Flags::RST) {
            // RFC 5961 3.2: nothing but the next sequence number is believed.
            if segment.seq == incoming.seq.wrapping_add(1) {
                self.give_up(host, index);
            }
        } else if segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::ACK) {
            // Sent again, or the client began anew with the same port.
            incoming.set(segment);
        }
    }

    /// An attempt is over; the application is told.
    pub(super) fn give_up(&mut self, host: &mut Host<'_>, index: u32) {
        if let Some(key) = self.incoming.key_at(index)
            && self.take_incoming(key).is_some()
        {
            host.tell(Event::TcpIncomingGone(IncomingKey(key)));
        }
    }

    /// Takes an attempt out of all tables but that of ends.
    fn detach(&mut self, key: Key) -> Option<Incoming> {
        let incoming = self.incoming.remove(key)?;
        self.wheel.cancel(incoming.timer);
        if let Some(listener) = self.listeners.get_mut(incoming.listener) {
            listener.half_open = listener.half_open.saturating_sub(1);
        }
        Some(incoming)
    }

    pub(super) fn take_incoming(&mut self, key: Key) -> Option<Incoming> {
        let incoming = self.detach(key)?;
        self.ends.remove(incoming.hash, Target::Incoming(key.index));
        Some(incoming)
    }

    /// The application says yes: the SYN is answered.
    pub(crate) fn confirm(
        &mut self,
        host: &mut Host<'_>,
        key: IncomingKey,
    ) -> Result<TcpKey, Gone> {
        let incoming = self.take_incoming(key.0).ok_or(Gone)?;
        let listener = self.listeners.get(incoming.listener).ok_or(Gone)?;
        let config = listener.config.clone();
        let tuple = incoming.tuple;
        let route = host.route(&tuple.local, &tuple.remote).ok_or(Gone)?;
        if !self.has_room(host) {
            return Err(Gone);
        }
        let numbers = self.numbers(host.now, &tuple, incoming.least);
        let making = Making {
            tuple,
            config,
            numbers,
            path: path(&route),
            spare: self.spare.pop(),
        };
        let connection = Connection::accept(
            &mut host.context(),
            making,
            &incoming.syn(),
            FastOpenReply::default(),
        );
        let key = self.insert(connection, incoming.hash, route, Owner::Application);
        self.mark_half_open(key, false);
        self.touch(key.index);
        Ok(TcpKey(key))
    }

    /// The application says no: the SYN is answered with RST, or with what is in the way.
    pub(crate) fn refuse(
        &mut self,
        host: &mut Host<'_>,
        key: IncomingKey,
        why: Refusal,
    ) -> Result<(), Gone> {
        let incoming = self.take_incoming(key.0).ok_or(Gone)?;
        let complaint = match why {
            Refusal::Reset => None,
            Refusal::NetworkUnreachable => Some(Complaint::NoRoute),
            Refusal::HostUnreachable => Some(Complaint::HostUnreachable),
            Refusal::Prohibited => Some(Complaint::Prohibited),
        };
        // T149: errors have a rate; what is beyond it is refused by the shorter word.
        if let Some(complaint) = complaint
            && host
                .ip
                .try_complain(host.now, None, &incoming.packet(), complaint)
        {
            return Ok(());
        }
        let ack = incoming.seq.wrapping_add(1);
        self.send_reset(host, &incoming.tuple, 0, ack, Flags::RST.with(Flags::ACK));
        Ok(())
    }

    /// Every attempt at a listener that goes is refused.
    pub(super) fn refuse_all(&mut self, host: &mut Host<'_>, listener: Key) {
        let of_it = |incoming: &Incoming| incoming.listener == listener;
        let keys: Vec<Key> = self
            .incoming
            .iter()
            .filter_map(|(key, incoming)| of_it(incoming).then_some(key))
            .collect();
        for key in keys {
            if self.refuse(host, IncomingKey(key), Refusal::Reset).is_ok() {
                host.tell(Event::TcpIncomingGone(IncomingKey(key)));
            }
        }
    }
}

const _: () = assert!(size_of::<Incoming>() <= CONNECTION_COST as usize);
