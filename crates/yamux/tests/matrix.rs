//! Every state of a stream against every frame with every set of flags (threat C2). What must
//! happen stands in [`expected`], written from the specification and not from the engine's table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;

use proof::frames::{ACK, DATA, FIN, FIRST_WINDOW, Frame, RST, SYN, UPDATE};
use proof::{Peer, ReadEnd, quiet};
use weir_core::slab::Key;
use weir_yamux::{Config, Half, ReadError, Role};

/// Where a stream stands when the frame arrives. "In" is a stream that the peer opened, "out" one
/// that the session opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// An id of the peer's that it has not used.
    InUnopened,
    /// An id of the session's that it has not used.
    OutUnopened,
    /// Opened by the application, and nothing on the wire yet.
    OutInit,
    OutSynSent,
    /// Finished before it was acknowledged.
    OutSynSentFinished,
    OutEstablished,
    OutLocalClose,
    OutRemoteClose,
    OutClosed,
    OutResetByPeer,
    OutResetHere,
    OutReleased,
    InSynReceived,
    /// The peer finished before anybody accepted.
    InSynReceivedEnded,
    InEstablished,
    InLocalClose,
    InRemoteClose,
    InClosed,
    InResetByPeer,
    InResetHere,
    InReleased,
    /// Reading was stopped; writing goes on.
    InStopped,
}

use Stage::{
    InClosed, InEstablished, InLocalClose, InReleased, InRemoteClose, InResetByPeer, InResetHere,
    InStopped, InSynReceived, InSynReceivedEnded, InUnopened, OutClosed, OutEstablished, OutInit,
    OutLocalClose, OutReleased, OutRemoteClose, OutResetByPeer, OutResetHere, OutSynSent,
    OutSynSentFinished, OutUnopened,
};

const STAGES: [Stage; 22] = [
    InUnopened,
    OutUnopened,
    OutInit,
    OutSynSent,
    OutSynSentFinished,
    OutEstablished,
    OutLocalClose,
    OutRemoteClose,
    OutClosed,
    OutResetByPeer,
    OutResetHere,
    OutReleased,
    InSynReceived,
    InSynReceivedEnded,
    InEstablished,
    InLocalClose,
    InRemoteClose,
    InClosed,
    InResetByPeer,
    InResetHere,
    InReleased,
    InStopped,
];

impl Stage {
    fn is_in(self) -> bool {
        matches!(
            self,
            InUnopened
                | InSynReceived
                | InSynReceivedEnded
                | InEstablished
                | InLocalClose
                | InRemoteClose
                | InClosed
                | InResetByPeer
                | InResetHere
                | InReleased
                | InStopped
        )
    }

    /// The peer may still send data.
    fn takes_data(self) -> bool {
        matches!(
            self,
            OutSynSent
                | OutSynSentFinished
                | OutEstablished
                | OutLocalClose
                | InSynReceived
                | InEstablished
                | InLocalClose
                | InStopped
        )
    }

    /// The peer sent its FIN, and this side may still send.
    fn is_remote_close(self) -> bool {
        matches!(self, OutRemoteClose | InRemoteClose | InSynReceivedEnded)
    }

    /// This side has sent its FIN, so credit means nothing.
    fn is_finished_here(self) -> bool {
        matches!(self, OutSynSentFinished | OutLocalClose | InLocalClose)
    }

    /// Nobody reads here any more.
    fn is_stopped(self) -> bool {
        self == InStopped
    }
}

/// What a frame brings about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// The session ends with go-away 1.
    End,
    /// The stream is reset from this side: RST goes out.
    Rst,
    /// The stream is reset by the peer.
    PeerReset,
    /// Bytes reach the reader, and perhaps the end after them. `Taken(0, false)`: no effect.
    Taken(usize, bool),
    /// A new stream for `accept`, with bytes and perhaps the end.
    Opened(usize, bool),
}

use Outcome::{End, Opened, PeerReset, Rst, Taken};

const IGNORED: Outcome = Taken(0, false);

/// What the specification and the behaviours allow. One outcome, unless the text leaves a choice.
fn expected(stage: Stage, frame: &Frame) -> Vec<Outcome> {
    let length = frame.length as usize;
    let data = frame.kind == DATA;
    let bytes = if data { length } else { 0 };
    let too_much = data && length as u64 > FIRST_WINDOW;
    let overflow = frame.kind == UPDATE && u64::from(frame.length) + FIRST_WINDOW > 1 << 32;
    if frame.has(SYN) {
        return match stage {
            // Y12, Y14, Y36; a stream that is reset by its own SYN is of no use to anybody.
            InUnopened if frame.has(RST) => vec![IGNORED],
            InUnopened if too_much || overflow => vec![End],
            InUnopened => vec![Opened(bytes, frame.has(FIN))],
            // Y16 and Y17, Y11.
            _ => vec![End],
        };
    }
    if matches!(stage, InUnopened | OutUnopened | OutInit) {
        // Y40. A reset is never answered by one, or two sides would go on for ever.
        return if frame.has(RST) {
            vec![IGNORED]
        } else {
            vec![IGNORED, Rst]
        };
    }
    let live = stage.takes_data() || stage.is_remote_close();
    if !live {
        // Y37, Y38, Y42.
        return vec![IGNORED];
    }
    if frame.has(RST) {
        return vec![PeerReset];
    }
    if overflow {
        // Y27; on a half that is finished the number means nothing.
        return if stage.is_finished_here() {
            vec![End, taken(stage, 0, frame)]
        } else {
            vec![End]
        };
    }
    if stage.is_remote_close() {
        // Y39; and Y26 if somebody looks at the window first.
        return match bytes {
            0 => vec![IGNORED],
            _ if too_much => vec![Rst, End],
            _ => vec![Rst],
        };
    }
    // Y26.
    if too_much {
        vec![End]
    } else {
        vec![taken(stage, bytes, frame)]
    }
}

fn taken(stage: Stage, bytes: usize, frame: &Frame) -> Outcome {
    if stage.is_stopped() {
        IGNORED
    } else {
        Taken(bytes, frame.has(FIN))
    }
}

/// A session whose stream stands in `stage`, the stream's id, and the application's key.
struct Scene {
    peer: Peer,
    id: u32,
    key: Option<Key>,
    /// The reader saw the end, or an error, before the frame.
    over: bool,
}

fn scene(role: Role, stage: Stage) -> Scene {
    let mut peer = Peer::of(
        role,
        Config {
            send_buffer: 1 << 20,
            ..quiet()
        },
    );
    let (own, theirs) = if role == Role::Client { (1, 2) } else { (2, 1) };
    let id = if stage.is_in() { theirs } else { own };
    let key = if stage.is_in() {
        inbound(&mut peer, id, stage)
    } else {
        outbound(&mut peer, stage)
    };
    if let Some(key) = key {
        half_way(&mut peer, id, key, stage);
    }
    if stage != OutInit {
        peer.recv();
    }
    peer.events();
    let key = key.filter(|_| !matches!(stage, InReleased | OutReleased));
    let over = key.is_some_and(|key| peer.read_all(key).1 != ReadEnd::Error(ReadError::Blocked));
    Scene {
        peer,
        id,
        key,
        over,
    }
}

fn inbound(peer: &mut Peer, id: u32, stage: Stage) -> Option<Key> {
    if stage == InUnopened {
        return None;
    }
    peer.send(&[Frame::update(SYN, id, 0)]);
    if stage == InSynReceivedEnded {
        peer.send(&[Frame::update(FIN, id, 0)]);
    }
    if matches!(stage, InSynReceived | InSynReceivedEnded) {
        return None;
    }
    let key = peer.accept();
    assert!(key.is_some());
    peer.recv();
    key
}

fn outbound(peer: &mut Peer, stage: Stage) -> Option<Key> {
    if stage == OutUnopened {
        return None;
    }
    let key = peer.open();
    if stage != OutInit {
        let id = peer.id(key);
        let syn = peer.recv();
        assert!(
            syn.iter().any(|frame| frame.has(SYN) && frame.id == id),
            "{syn:?}"
        );
        if !matches!(stage, OutSynSent | OutSynSentFinished) {
            peer.send(&[Frame::update(ACK, id, 0)]);
        }
    }
    Some(key)
}

/// Takes a stream that is open from there to its stage.
fn half_way(peer: &mut Peer, id: u32, key: Key, stage: Stage) {
    let now = peer.now;
    let ends_here = stage.is_finished_here() || matches!(stage, OutClosed | InClosed);
    let ends_there = matches!(stage, OutClosed | InClosed | OutRemoteClose | InRemoteClose);
    if ends_here || matches!(stage, OutReleased | InReleased) {
        peer.session.finish(now, key);
        let fin = peer.recv();
        assert!(
            fin.iter().any(|frame| frame.has(FIN) && frame.id == id),
            "{fin:?}"
        );
    }
    if ends_there || matches!(stage, OutReleased | InReleased) {
        peer.send(&[Frame::data(FIN, id, b"")]);
    }
    match stage {
        OutResetByPeer | InResetByPeer => peer.send(&[Frame::update(RST, id, 0)]),
        OutResetHere | InResetHere => {
            peer.session.reset(now, key, 9);
            let rst = peer.recv();
            assert!(
                rst.iter().any(|frame| frame.has(RST) && frame.id == id),
                "{rst:?}"
            );
        }
        InStopped => peer.session.stop(now, key, 9),
        OutReleased | InReleased => {
            assert_eq!(peer.read_all(key), (vec![], ReadEnd::Fin));
            peer.session.release(now, key, Half::Send);
            peer.session.release(now, key, Half::Recv);
            assert!(peer.session.stream_stats(key).is_none(), "the slot is free");
        }
        _ => {}
    }
}

/// What did happen.
fn observe(scene: &mut Scene) -> Outcome {
    let Scene {
        peer,
        id,
        key,
        over,
    } = scene;
    if peer.closed().is_some() {
        peer.assert_protocol_error();
        if let Some(key) = *key {
            let (_, end) = peer.read_all(key);
            assert_ne!(
                end,
                ReadEnd::Error(ReadError::Blocked),
                "no read waits for ever"
            );
        }
        return End;
    }
    let out = peer.recv();
    if out.iter().any(|frame| frame.has(RST) && frame.id == *id) {
        if let Some(key) = *key {
            assert!(*over || matches!(peer.read_all(key).1, ReadEnd::Error(ReadError::Reset(_))));
        }
        return Rst;
    }
    let accepted = if key.is_none() { peer.accept() } else { None };
    let Some(key) = key.or(accepted) else {
        return IGNORED;
    };
    let (bytes, end) = peer.read_all(key);
    let outcome = match end {
        _ if *over && end_is_reset(peer, key) => PeerReset,
        _ if *over => IGNORED,
        ReadEnd::Error(ReadError::Reset(_)) => PeerReset,
        ReadEnd::Fin => Taken(bytes.len(), true),
        ReadEnd::Error(_) => Taken(bytes.len(), false),
    };
    match (accepted, outcome) {
        (Some(_), Taken(bytes, fin)) => Opened(bytes, fin),
        _ => outcome,
    }
}

/// A stream whose reading was over before can still be reset: then writing says so.
fn end_is_reset(peer: &mut Peer, key: Key) -> bool {
    matches!(peer.write(key, b"x"), Err(weir_yamux::WriteError::Reset(_)))
}

fn frames(id: u32) -> Vec<Frame> {
    let window = usize::try_from(FIRST_WINDOW).unwrap();
    let mut all = Vec::new();
    for flags in 0..16 {
        for unknown in [0, 0xfff0] {
            all.push(Frame::data(flags | unknown, id, b""));
            all.push(Frame::data(flags | unknown, id, b"hello"));
            all.push(Frame::update(flags | unknown, id, 0));
            all.push(Frame::update(flags | unknown, id, 1000));
        }
        all.push(Frame::data(flags, id, &vec![7; window]));
        all.push(Frame::data(flags, id, &vec![7; window + 1]));
        all.push(Frame::update(flags, id, u32::MAX));
    }
    all
}

#[test]
fn c2_every_stage_takes_every_frame_as_written() {
    // Y5, Y6, Y12, Y14, Y16, Y17, Y26, Y27, Y35, Y36, Y37, Y38, Y39, Y40, Y42
    let mut walked = 0;
    for role in [Role::Client, Role::Server] {
        for stage in STAGES {
            let id = scene(role, stage).id;
            for frame in frames(id) {
                one_field(role, stage, &frame);
                walked += 1;
            }
        }
    }
    assert_eq!(walked, 2 * STAGES.len() * 16 * 11);
}

fn one_field(role: Role, stage: Stage, frame: &Frame) {
    let allowed = expected(stage, frame);
    let context = format!("{role:?} {stage:?} <- {frame:?}");
    let mut scene = scene(role, stage);
    let before = scene
        .key
        .map(|key| (key, end_is_reset(&mut scene.peer, key)));
    if stage != OutInit {
        scene.peer.recv();
    }
    scene.peer.send(std::slice::from_ref(frame));
    scene.peer.events();
    let mut outcome = observe(&mut scene);
    if outcome == PeerReset && before.is_some_and(|(_, was)| was) {
        outcome = IGNORED;
    }
    // Nobody holds a stream that was reset before it was accepted: it is just gone.
    let nobody = matches!(stage, InSynReceived | InSynReceivedEnded);
    if nobody && allowed == [PeerReset] {
        assert_eq!(outcome, IGNORED, "{context}");
        assert!(scene.peer.accept().is_none(), "{context}");
    } else {
        let outcome = settle(stage, outcome);
        assert!(
            allowed.contains(&outcome),
            "{context}: {outcome:?}, not {allowed:?}"
        );
    }
    if outcome != End {
        scene.peer.assert_alive();
    }
}

/// Streams that wait to be accepted come out of `accept` whatever the frame does to them.
fn settle(stage: Stage, outcome: Outcome) -> Outcome {
    match (stage, outcome) {
        (InSynReceived, Opened(bytes, fin)) => Taken(bytes, fin),
        (InSynReceivedEnded, Opened(0, true)) => IGNORED,
        (_, other) => other,
    }
}

#[test]
fn c2_input_after_the_end_has_no_effect() {
    // Y48, Y50
    for last in [
        Frame::go_away(1),
        Frame::data(0, 0, b""),
        Frame {
            version: 9,
            ..Frame::ping(0, 0)
        },
    ] {
        let mut peer = Peer::of_server();
        peer.send(&[Frame::data(SYN, 1, b"hello"), last]);
        let reason = peer.closed().cloned().expect("closed");
        peer.recv();
        for frame in frames(1)
            .into_iter()
            .chain([Frame::ping(SYN, 1), Frame::go_away(2)])
        {
            peer.send(&[frame]);
            assert_eq!(peer.recv(), []);
        }
        assert_eq!(peer.closed(), Some(&reason), "the first reason stays");
        assert!(
            peer.session.poll_timeout().is_none(),
            "no timer of a session that is over"
        );
        peer.session.handle_timeout(peer.now);
    }
}
