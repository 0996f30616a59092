//! The behaviours by number, in a few words each.

use weir_sim::conformance::{Level, Row};

/// What stands around yamux in libp2p is not this engine's.
pub(crate) const ELSEWHERE: &[(u32, u32, &str)] = &[(55, 65, "with the libp2p host, later")];

/// Title, first row, last row.
pub(crate) const SECTIONS: &[(&str, u32, u32)] = &[
    ("Frames", 1, 10),
    ("Opening", 11, 23),
    ("Data and windows", 24, 34),
    ("Closing", 35, 43),
    ("Session", 44, 54),
    ("Around it in libp2p", 55, 65),
];

const fn must(number: u32, words: &'static str) -> Row {
    Row {
        number,
        level: Level::Must,
        words,
        place: "",
    }
}

const fn should(number: u32, words: &'static str) -> Row {
    Row {
        number,
        level: Level::Should,
        words,
        place: "",
    }
}

pub(crate) const ROWS: &[Row] = &[
    must(1, "header of 12 bytes, big endian"),
    must(2, "a version other than 0 ends the session with GoAway 1"),
    must(3, "an unknown type ends the session with GoAway 1"),
    must(4, "headers split over reads, many frames in one read"),
    must(5, "unknown flag bits are ignored"),
    must(6, "Data of length 0 is legal"),
    must(7, "Data or WindowUpdate on stream 0 is a protocol error"),
    must(
        8,
        "Ping or GoAway on a stream is a protocol error (our choice)",
    ),
    should(9, "frames sent are at most 64 KiB"),
    must(10, "frames received may be as large as the window"),
    must(
        11,
        "odd IDs from the client, even ones from the server, growing, never used twice",
    ),
    must(
        12,
        "SYN rides on Data or WindowUpdate, and is taken on either",
    ),
    must(13, "a SYN is answered by ACK or RST"),
    must(14, "data before the ACK is taken"),
    must(15, "credit with SYN or ACK adds to the first 256 KiB"),
    must(16, "a SYN with an ID of the wrong side is a protocol error"),
    must(17, "a SYN with an ID in use is a protocol error"),
    should(18, "the ACK rides on the first data"),
    should(
        19,
        "at most 256 own streams wait for their ACK, more wait to open",
    ),
    must(
        20,
        "streams that wait to be accepted are bounded; RST for more, the session lives",
    ),
    must(21, "RST in answer to a SYN reaches the opener"),
    must(22, "used-up IDs are a clean error"),
    must(23, "an open that is never acknowledged ends in time"),
    must(24, "256 KiB first window each way; only Data counts"),
    must(
        25,
        "the sender stays in the window and goes on after an update",
    ),
    must(26, "data past the window is a protocol error"),
    must(
        27,
        "an update past 32 bits is a protocol error, nothing wraps",
    ),
    should(
        28,
        "updates when half the window can be given back, not for every read",
    ),
    should(29, "windows follow bandwidth x delay, within bounds"),
    must(30, "a stream that nobody reads stalls itself alone"),
    must(31, "streams take turns by frame"),
    must(32, "control frames do not wait behind bulk"),
    must(33, "no deadlock when both sides write into full pipes"),
    must(
        34,
        "every byte arrives once, in order, for 1 to 1,000 streams",
    ),
    must(35, "FIN closes one half, the other goes on"),
    must(
        36,
        "data in the frame of the FIN is delivered before the end",
    ),
    must(
        37,
        "after both FINs the state is gone, late frames are ignored",
    ),
    must(38, "RST ends both ways at once"),
    must(39, "data after FIN resets the stream"),
    must(
        40,
        "frames for streams never opened: read off, ignored or RST",
    ),
    must(41, "a stream dropped open is reset, the peer learns it"),
    must(42, "late updates and ACKs do no harm"),
    should(
        43,
        "a half-closed stream whose peer says nothing is reset in time",
    ),
    must(44, "a ping is answered with its value"),
    should(45, "answers to pings are bounded"),
    should(46, "keep-alive pings; no answer in time ends the session"),
    must(47, "GoAway 0 received: no new streams, open ones finish"),
    must(48, "GoAway 1 or 2 received: the session is over"),
    must(
        49,
        "own close: GoAway, then the end of the carrier; all streams end",
    ),
    must(
        50,
        "a lost carrier ends every stream and every waiting open at once",
    ),
    must(51, "a carrier that takes nothing ends the session in time"),
    must(52, "calls can be given up at any time, so deadlines work"),
    must(53, "memory per idle stream is known; 10,000 of them work"),
    must(54, "random bytes: an end in words, no crash, no growth"),
    must(55, "multistream-select"),
    must(56, "optimistic selection"),
    must(57, "simultaneous open"),
    must(58, "Noise XX"),
    must(
        59,
        "a wrong signature or another peer than expected is refused",
    ),
    must(
        60,
        "TLS 1.3 with the libp2p certificate extension (ALPN `libp2p` with the host, later)",
    ),
    should(61, "early muxer negotiation"),
    must(62, "peer IDs in their text and binary forms"),
    must(63, "QUIC transport"),
    must(64, "identify and ping"),
    must(65, "multiaddr"),
];
