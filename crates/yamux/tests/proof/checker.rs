//! Looks at the bytes that one endpoint sends and takes, with its own reading of them, and ends
//! the test when a rule is broken. It sees sent bytes when they are encoded and received bytes
//! when they are handed over, so it knows exactly what the endpoint could know.

use super::frames::{ACK, DATA, FIN, FIRST_WINDOW, Frame, GO_AWAY, PING, RST, Reader, SYN, UPDATE};
use std::collections::{BTreeMap, VecDeque};

/// What the endpoint promised by its configuration.
#[derive(Copy, Clone, Debug)]
pub struct Promise {
    pub client: bool,
    pub max_frame: u32,
    pub max_window: u64,
    pub ack_backlog: u32,
}

/// What went over the wire for one stream, as the endpoint saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub syn_sent: bool,
    pub syn_received: bool,
    pub ack_sent: bool,
    pub ack_received: bool,
    pub fin_sent: bool,
    pub fin_received: bool,
    pub rst_sent: bool,
    pub rst_received: bool,
    pub data_sent: u64,
    pub data_received: u64,
    pub credit_sent: u64,
    pub credit_received: u64,
}

impl Seen {
    /// No more frames are expected from the endpoint.
    pub fn is_over(&self) -> bool {
        self.rst_sent || self.rst_received || (self.fin_sent && self.fin_received)
    }
}

pub struct Checker {
    promise: Promise,
    sent: Reader,
    received: Reader,
    /// The frame that is arriving was looked at.
    header_seen: bool,
    pub streams: BTreeMap<u32, Seen>,
    last_opened: u32,
    unacknowledged: i64,
    questions: VecDeque<u32>,
    pub go_away_sent: Option<u32>,
    pub go_away_received: Option<u32>,
    pub frames_sent: u64,
    pub frames_received: u64,
    pub largest_window: u64,
    tail: VecDeque<(bool, Frame)>,
}

impl Checker {
    pub fn new(promise: Promise) -> Checker {
        Checker {
            promise,
            sent: Reader::default(),
            received: Reader::default(),
            header_seen: false,
            streams: BTreeMap::new(),
            last_opened: 0,
            unacknowledged: 0,
            questions: VecDeque::new(),
            go_away_sent: None,
            go_away_received: None,
            frames_sent: 0,
            frames_received: 0,
            largest_window: FIRST_WINDOW,
            tail: VecDeque::new(),
        }
    }

    /// The endpoint encoded these bytes.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.sent.push(bytes);
        while let Some(frame) = self.sent.next_frame() {
            self.frames_sent += 1;
            self.remember(true, &frame);
            self.on_sent(&frame);
        }
        // SYNs go before RSTs, so a batch is looked at as a whole.
        let backlog = i64::from(self.promise.ack_backlog);
        let within = self.unacknowledged <= backlog;
        self.rule(within, "streams without ACK are bounded (Y19)");
    }

    /// The endpoint was given these bytes. It may act on a header before its payload is there, but
    /// for the end of the stream, which comes after the last byte.
    pub fn received(&mut self, bytes: &[u8]) {
        self.received.push(bytes);
        loop {
            if !self.header_seen {
                let Some(header) = self.received.peek_header() else {
                    return;
                };
                self.header_seen = true;
                self.frames_received += 1;
                self.remember(false, &header);
                self.on_header_received(&header);
            }
            let Some(frame) = self.received.next_frame() else {
                return;
            };
            self.header_seen = false;
            self.on_received_whole(&frame);
        }
    }

    /// Bytes sent that are no whole frame: none when a session ended in good order.
    pub fn unfinished(&self) -> usize {
        self.sent.rest()
    }

    fn remember(&mut self, sent: bool, frame: &Frame) {
        if self.tail.len() == 24 {
            self.tail.pop_front();
        }
        self.tail.push_back((
            sent,
            Frame {
                payload: Vec::new(),
                ..frame.clone()
            },
        ));
    }

    fn own(&self, id: u32) -> bool {
        (id % 2 == 1) == self.promise.client
    }

    #[track_caller]
    fn rule(&self, holds: bool, rule: &str) {
        if holds {
            return;
        }
        let side = if self.promise.client {
            "client"
        } else {
            "server"
        };
        let tail: Vec<String> = self
            .tail
            .iter()
            .map(|(sent, frame)| format!("  {} {frame:?}", if *sent { "->" } else { "<-" }))
            .collect();
        panic!(
            "{side} broke the rule: {rule}\nits last frames:\n{}",
            tail.join("\n")
        );
    }

    fn on_sent(&mut self, frame: &Frame) {
        self.rule(frame.version == 0, "version is 0 (Y1)");
        self.rule(frame.kind <= GO_AWAY, "the type is one of four (Y1)");
        self.rule(frame.flags & !15 == 0, "no unknown flag is sent");
        self.rule(
            self.go_away_sent.is_none_or(|code| code == 0),
            "nothing follows a go-away with an error",
        );
        match frame.kind {
            PING => self.on_ping_sent(frame),
            GO_AWAY => {
                self.rule(frame.id == 0, "go-away is on stream 0 (Y8)");
                self.go_away_sent = Some(frame.length);
            }
            _ => {
                self.rule(frame.id != 0, "data and updates name a stream (Y7)");
                self.on_stream_frame_sent(frame);
            }
        }
    }

    fn on_ping_sent(&mut self, frame: &Frame) {
        self.rule(frame.id == 0, "ping is on stream 0 (Y8)");
        self.rule(
            frame.flags == SYN || frame.flags == ACK,
            "ping is question or answer (Y44)",
        );
        if frame.flags == ACK {
            let asked = self
                .questions
                .iter()
                .position(|value| *value == frame.length);
            self.rule(
                asked.is_some(),
                "an answer repeats a question's value (Y44)",
            );
            // Questions before it may have been left out, later ones may not be overtaken.
            self.questions.drain(..=asked.unwrap_or(0));
        }
    }

    fn on_stream_frame_sent(&mut self, frame: &Frame) {
        let id = frame.id;
        let own = self.own(id);
        let known = self.streams.contains_key(&id);
        if frame.has(SYN) {
            self.on_syn_sent(id, own);
        } else {
            self.rule(known, "frames are for streams that were opened (Y12)");
        }
        let seen = self.streams.entry(id).or_default().clone();
        self.rule(!seen.rst_sent, "nothing follows RST (Y38)");
        // A RST may have been decided on before what it crosses came.
        let over = seen.rst_received || (seen.fin_sent && seen.fin_received);
        self.rule(
            !over || frame.has(RST),
            "nothing but RST follows the end (Y37, Y38)",
        );
        if frame.has(ACK) {
            self.rule(!own && seen.syn_received, "ACK answers a SYN (Y13)");
            self.rule(!seen.ack_sent, "ACK is sent once (Y13)");
        }
        let answered = own || seen.ack_sent || frame.flags & (ACK | RST) != 0;
        self.rule(
            answered,
            "the first frame of an answer has ACK or RST (Y13)",
        );
        if frame.has(FIN) {
            self.rule(!seen.fin_sent, "FIN is sent once (Y35)");
        }
        self.account_sent(frame, &seen);
    }

    fn on_syn_sent(&mut self, id: u32, own: bool) {
        self.rule(own, "SYN is for ids of the own parity (Y11)");
        // An id may be passed over: its stream was reset before it was on the wire.
        self.rule(id > self.last_opened, "ids grow (Y11)");
        self.rule(
            self.go_away_received.is_none(),
            "no stream is opened after go-away (Y47)",
        );
        self.last_opened = id;
        self.unacknowledged += 1;
        self.streams.entry(id).or_default().syn_sent = true;
    }

    fn account_sent(&mut self, frame: &Frame, before: &Seen) {
        // A RST may carry a code where credit would stand.
        let length = if frame.has(RST) {
            0
        } else {
            u64::from(frame.length)
        };
        if frame.kind == DATA && length > 0 {
            self.rule(!before.fin_sent, "no data follows FIN (Y39)");
            self.rule(
                frame.length <= self.promise.max_frame,
                "frames are small (Y9)",
            );
            let granted = FIRST_WINDOW + before.credit_received;
            self.rule(
                before.data_sent + length <= granted,
                "data stays in the window (Y25)",
            );
        }
        if frame.kind == UPDATE && length > 0 {
            let came = before.data_received + self.arriving(frame.id);
            let open = FIRST_WINDOW + before.credit_sent + length - came;
            self.largest_window = self.largest_window.max(open);
            self.rule(
                open <= self.promise.max_window,
                "windows stay in their bound (Y29)",
            );
        }
        let settled = before.ack_received || before.is_over();
        let seen = self.streams.entry(frame.id).or_default();
        if frame.kind == DATA {
            seen.data_sent += length;
        } else {
            seen.credit_sent += length;
        }
        seen.ack_sent |= frame.has(ACK);
        seen.fin_sent |= frame.has(FIN);
        seen.rst_sent |= frame.has(RST);
        let settles = seen.syn_sent && !settled && seen.is_over();
        if settles {
            self.unacknowledged -= 1;
        }
    }

    /// Bytes of a payload for this stream that is not whole yet.
    fn arriving(&self, id: u32) -> u64 {
        match self.received.peek_header() {
            Some(header) if header.kind == DATA && header.id == id => {
                self.received.rest() as u64 - 12
            }
            _ => 0,
        }
    }

    fn on_header_received(&mut self, frame: &Frame) {
        match frame.kind {
            PING if frame.has(SYN) => self.questions.push_back(frame.length),
            PING => {}
            GO_AWAY => self.go_away_received = Some(frame.length),
            _ => self.change_received(frame.id, |seen| {
                seen.syn_received |= frame.has(SYN);
                seen.ack_received |= frame.has(ACK);
                seen.rst_received |= frame.has(RST);
                if frame.kind == UPDATE && !frame.has(RST) {
                    seen.credit_received += u64::from(frame.length);
                }
            }),
        }
    }

    fn on_received_whole(&mut self, frame: &Frame) {
        if frame.kind > UPDATE {
            return;
        }
        self.change_received(frame.id, |seen| {
            seen.fin_received |= frame.has(FIN);
            if frame.kind == DATA {
                seen.data_received += u64::from(frame.length);
            }
        });
    }

    /// Changes what is known of a stream; one that is settled by it waits for its ACK no more.
    fn change_received(&mut self, id: u32, change: impl FnOnce(&mut Seen)) {
        let seen = self.streams.entry(id).or_default();
        let settled = seen.ack_received || seen.is_over();
        change(seen);
        if seen.syn_sent && !settled && (seen.ack_received || seen.is_over()) {
            self.unacknowledged -= 1;
        }
    }
}
