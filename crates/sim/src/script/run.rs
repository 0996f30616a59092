//! Plays a script, line by line.

use std::collections::VecDeque;
use std::net::SocketAddr;

use weir_core::time::{Duration, Instant};

use super::Script;
use super::failure::Failure;
use super::host::{Connection, Host, Setup};
use super::line::{Line, Step, When};
use super::packet::flow::{Flow, From};
use super::packet::link::{Ends, Medium};
use super::packet::words::{Words, value_fits};
use super::packet::{self, Seen, tcp};

/// How late or early a packet may be that is expected at a time: engines count some times in
/// whole milliseconds.
const TOLERANCE: Duration = Duration::from_millis(1);
/// Timers that may be due one after the other while a script waits for one thing.
const MAX_TIMEOUTS: u32 = 100_000;
/// Timers that may be due at one instant.
const MAX_TIMEOUTS_AT_ONCE: u32 = 1_000;
/// A script that leaves the time open waits no longer than this.
const LONGEST: Duration = Duration::from_secs(40 * 86_400);
/// The script's port in a connection that it did not name.
const PEER_PORT: u16 = 40_000;
/// The host's port in a connection that it did not name: that of `listen` without a number.
const HOST_PORT: u16 = 80;
/// Where the script's sequence numbers begin, if it does not say: they pass 2^32 soon, so that every
/// script shows that this does not matter.
const PEER_ISN: u32 = 0xffff_fc00;

/// A script that is being played.
pub(crate) struct Run<'a, H> {
    script: &'a Script,
    host: H,
    ends: Ends,
    now: Instant,
    /// When the line before happened.
    last: Instant,
    flows: Vec<Flow>,
    current: usize,
    /// What the host sent and no line has spoken of.
    sent: VecDeque<(Instant, Words)>,
    frames: Vec<Vec<u8>>,
    log: Vec<String>,
    ignored: Vec<Words>,
    /// The Fast Open cookie that the host gave last, in hexadecimal.
    cookie: String,
}

impl<'a, H: Host> Run<'a, H> {
    pub(crate) fn new(script: &'a Script, setup: &Setup, host: H) -> Self {
        let medium = match setup.ethernet {
            true => Medium::Ethernet,
            false => Medium::Ip,
        };
        let start = Instant::from_millis(1_000);
        Self {
            script,
            host,
            ends: Ends {
                medium,
                host: setup.host,
                peer: setup.peer,
                host_mac: setup.host_mac,
                peer_mac: setup.peer_mac,
            },
            now: start,
            last: start,
            flows: vec![Flow::new("1", PEER_PORT, Some(HOST_PORT), PEER_ISN)],
            current: 0,
            sent: VecDeque::new(),
            frames: Vec::new(),
            log: Vec::new(),
            ignored: Vec::new(),
            cookie: String::new(),
        }
    }

    pub(crate) fn play(mut self) -> Result<(), Failure> {
        for line in &self.script.lines {
            if let Err(message) = self.line(line) {
                return Err(self.failure(line.number, &line.text, message));
            }
        }
        if let Err(message) = self.collect().and_then(|()| self.nothing_sent()) {
            return Err(self.failure(0, "the end of the script", message));
        }
        Ok(())
    }

    fn failure(self, line: usize, text: &str, message: String) -> Failure {
        let version = if self.ends.is_v4() { "IPv4" } else { "IPv6" };
        Failure {
            script: format!("{} ({version})", self.script.name),
            line,
            text: text.to_owned(),
            at: self.now,
            message,
            log: self.log,
        }
    }

    fn line(&mut self, line: &Line) -> Result<(), String> {
        match &line.step {
            Step::Expect(words) => return self.expect(line.when, words),
            Step::Skip => return self.skip(line.when),
            _ => {}
        }
        if line.when.low > Duration::ZERO {
            self.nothing_until(self.last + line.when.low)?;
        }
        self.last = self.last.max(self.now);
        match &line.step {
            Step::Send { words, hold } => self.send(words, *hold),
            Step::Nothing => self.collect().and_then(|()| self.nothing_sent()),
            Step::Ignore(words) => {
                self.ignored.push(words.clone());
                Ok(())
            }
            Step::Flow(words) => self.flow(words),
            Step::Isn(isn) => {
                self.here().peer_isn = *isn;
                Ok(())
            }
            Step::Call { words, answer } => self.call(words, answer.as_deref()),
            Step::Expect(_) | Step::Skip => Ok(()),
        }
    }

    fn here(&mut self) -> &mut Flow {
        if self.current >= self.flows.len() {
            self.flows
                .push(Flow::new("1", PEER_PORT, Some(HOST_PORT), PEER_ISN));
            self.current = self.flows.len() - 1;
        }
        let current = self.current;
        // There is one at this place, by the lines above.
        #[expect(clippy::indexing_slicing, reason = "made above if it was not there")]
        &mut self.flows[current]
    }

    fn flow(&mut self, words: &[String]) -> Result<(), String> {
        let name = words.first().ok_or("a flow has a name")?;
        let port = |at: usize| match words.get(at) {
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| format!("{text:?} is no port")),
            None => Ok(None),
        };
        let known = self.flows.iter().position(|flow| flow.name == *name);
        self.current = match (known, port(1)?) {
            (Some(known), None) => known,
            (None, Some(peer_port)) => {
                let host_port = port(2)?.or(Some(HOST_PORT));
                self.flows
                    .push(Flow::new(name, peer_port, host_port, PEER_ISN));
                self.flows.len() - 1
            }
            (Some(_), Some(_)) => return Err(format!("flow {name} is known")),
            (None, None) => return Err(format!("flow {name} has no port")),
        };
        Ok(())
    }

    fn call(&mut self, words: &[String], answer: Option<&str>) -> Result<(), String> {
        self.collect()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            // The host's port shows in its SYN.
            ["connect", ..] => self.here().host_port = None,
            // What follows is another connection between the same ports.
            ["fresh"] => {
                let flow = self.here();
                let (name, isn) = (flow.name.clone(), flow.peer_isn);
                *flow = Flow::new(&name, flow.peer_port, flow.host_port, isn);
                return Ok(());
            }
            _ => {}
        }
        let address = self.ends.peer;
        let now = self.now;
        let flow = self.here().clone();
        let connection = Connection {
            name: &flow.name,
            peer: SocketAddr::new(address, flow.peer_port),
            host_port: flow.host_port,
        };
        let got = self.host.call(now, &connection, &words)?;
        self.log
            .push(format!("{now:?} {} = {got}", words.join(" ")));
        match answer {
            Some(want) if !value_fits(want, &got) => {
                return Err(format!("expected {want}\ngot      {got}"));
            }
            None if got.starts_with("error") => return Err(got),
            _ => {}
        }
        self.collect()
    }

    fn send(&mut self, words: &Words, hold: bool) -> Result<(), String> {
        self.collect()?;
        let flow = self.here().clone();
        if words.kind == "tcp" {
            self.note_sent_to_host(words);
        }
        let mut words = words.clone();
        for option in words.options.iter_mut().flatten() {
            if option == "fo last" {
                *option = format!("fo {}", self.cookie);
            }
        }
        let frame = packet::encode(&words, From::Peer, &self.ends, &flow)?;
        self.log.push(format!("{:?} < {words}", self.now));
        self.host.handle_input(self.now, &frame);
        if hold { Ok(()) } else { self.collect() }
    }

    /// The window that the host announces later is scaled if both offered that.
    fn note_sent_to_host(&mut self, words: &Words) {
        let flags = words.get("flags").and_then(tcp::flags).unwrap_or(0);
        if flags & tcp::SYN == 0 {
            return;
        }
        let mut options = words.options.iter().flatten();
        self.here().peer_scales = options.any(|option| option.starts_with("ws "));
    }

    /// Takes what the host wants sent at this moment.
    fn collect(&mut self) -> Result<(), String> {
        let mut frames = std::mem::take(&mut self.frames);
        self.host.poll_transmit(self.now, &mut frames);
        for frame in frames.drain(..) {
            let words = self.read(&frame)?;
            self.log.push(format!("{:?} > {words}", self.now));
            let is_ignored = self
                .ignored
                .iter()
                .any(|ignored| ignored.fits(&words).is_ok());
            if !is_ignored {
                self.sent.push_back((self.now, words));
            }
        }
        self.frames = frames;
        Ok(())
    }

    /// Reads a frame of the host's, and checks what must hold whatever the script says.
    fn read(&mut self, frame: &[u8]) -> Result<Words, String> {
        let seen = packet::decode(frame, &self.ends);
        let seen =
            seen.map_err(|why| format!("the host sent a malformed packet: {why}\n{frame:02x?}"))?;
        let (outer, header) = match seen {
            Seen::Other(words) => return Ok(words),
            Seen::Tcp(outer, header) => (outer, header),
        };
        let ports = (header.to_port, header.from_port);
        let known = self.flows.iter().position(|flow| {
            let host_port = flow.host_port.unwrap_or(header.from_port);
            (flow.peer_port, host_port) == ports
        });
        let Some(flow) = known.and_then(|known| self.flows.get_mut(known)) else {
            return Err(format!(
                "the host sent to port {} from {}, of which the script knows nothing",
                header.to_port, header.from_port
            ));
        };
        learn(flow, &header);
        let mut words = header.words(flow, From::Host);
        if known != Some(self.current) {
            words.push("flow", &flow.name);
        }
        words.outer = outer;
        let options = words.options.iter().flatten();
        let cookie = options
            .filter_map(|option| option.strip_prefix("fo "))
            .next();
        if let Some(cookie) = cookie {
            self.cookie = cookie.to_owned();
        }
        if words.get("junk").is_some() {
            return Err(format!(
                "the bytes are not those that stand in the stream there\n{words}"
            ));
        }
        check_window(flow, &header).map_err(|why| format!("{why}\n{words}"))?;
        Ok(words)
    }

    fn nothing_sent(&self) -> Result<(), String> {
        match self.sent.front() {
            Some((at, words)) => Err(format!(
                "expected nothing\ngot      {words}\nat       {at:?}"
            )),
            None => Ok(()),
        }
    }

    fn expect(&mut self, when: When, words: &Words) -> Result<(), String> {
        self.collect()?;
        let earliest = (self.last + when.low) - TOLERANCE;
        let latest = self.last + when.high.map_or(LONGEST, |high| high + TOLERANCE);
        let mut timeouts = 0;
        while self.sent.is_empty() {
            if !self.step(latest)? {
                return Err(format!(
                    "expected {words}\ngot      nothing until {latest:?}"
                ));
            }
            timeouts += 1;
            if timeouts > MAX_TIMEOUTS {
                return Err(format!(
                    "expected {words}\ngot      nothing in {timeouts} timeouts"
                ));
            }
        }
        let Some((at, got)) = self.sent.pop_front() else {
            return Ok(());
        };
        let wrong = |why: String| Err(format!("expected {words}\ngot      {got}\nbecause  {why}"));
        let flow = self.flows.get(self.current).map(|flow| flow.name.as_str());
        if words.kind == "tcp" && words.get("flow").is_none() && got.get("flow").is_some() {
            return wrong(format!("it is of another flow than {flow:?}"));
        }
        if let Err(why) = words.fits(&got) {
            return wrong(why);
        }
        if at < earliest || at > latest {
            return wrong(format!("it came at {at:?}, not {earliest:?} to {latest:?}"));
        }
        self.last = self.last.max(at);
        Ok(())
    }

    fn skip(&mut self, when: When) -> Result<(), String> {
        let until = self.last + when.low;
        self.collect()?;
        while self.step(until)? {
            self.sent.clear();
        }
        self.advance(until);
        self.collect()?;
        self.sent.clear();
        self.last = self.last.max(until);
        Ok(())
    }

    /// Lets the time pass, in which the host must stay silent.
    fn nothing_until(&mut self, until: Instant) -> Result<(), String> {
        self.collect()?;
        self.nothing_sent()?;
        let mut timeouts = 0;
        while self.step(until)? {
            // What happens at the very moment is no news before it.
            if self.now < until {
                self.nothing_sent()?;
            }
            timeouts += 1;
            if timeouts > MAX_TIMEOUTS {
                return Err(format!("{timeouts} timeouts and nothing happens"));
            }
        }
        self.advance(until);
        Ok(())
    }

    fn advance(&mut self, until: Instant) {
        self.now = self.now.max(until);
    }

    /// Goes to the host's next timer, if it is due by then. False when none is.
    fn step(&mut self, until: Instant) -> Result<bool, String> {
        let due = |host: &H| host.poll_timeout().filter(|&(at, _)| at <= until);
        let Some((at, _)) = due(&self.host) else {
            return Ok(false);
        };
        self.advance(at);
        for _ in 0..MAX_TIMEOUTS_AT_ONCE {
            self.host.handle_timeout(self.now);
            self.collect()?;
            if self.host.poll_timeout().is_none_or(|(at, _)| at > self.now) {
                return Ok(true);
            }
        }
        let timer = due(&self.host).map(|(_, name)| name);
        Err(format!(
            "timer {timer:?} is due again and again at one instant"
        ))
    }
}

/// Notes where the host's numbers begin.
fn learn(flow: &mut Flow, header: &tcp::Header<'_>) {
    flow.host_port = Some(header.from_port);
    if header.has(tcp::SYN) && flow.host_isn.is_none() {
        flow.host_isn = Some(header.seq);
        flow.host_shift = header.shift().unwrap_or(0).min(14);
    }
    if let Some(timestamp) = header.timestamp() {
        flow.timestamp_base.get_or_insert(timestamp);
    }
}

/// The right edge of the window never moves to the left (RFC 9293 section 3.8.6).
fn check_window(flow: &mut Flow, header: &tcp::Header<'_>) -> Result<(), String> {
    if header.has(tcp::RST) {
        flow.over = true;
    }
    if flow.over || !header.has(tcp::ACK) {
        return Ok(());
    }
    let scaled = flow.peer_scales && !header.has(tcp::SYN);
    let shift = if scaled { flow.host_shift } else { 0 };
    let edge = flow.relative(From::Peer, header.ack) + (i64::from(header.window) << shift);
    match flow.edge.replace(edge) {
        Some(before) if before > edge => Err(format!(
            "the right edge of the host's window moved from {before} to {edge}"
        )),
        _ => Ok(()),
    }
}
