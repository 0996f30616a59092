//! Help, wrong usage, exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::{run, text};

const COMMANDS: &[&[&str]] = &[
    &["try"],
    &["key"],
    &["listen"],
    &["connect"],
    &["echo", "server"],
    &["echo", "client"],
    &["perf", "server"],
    &["perf", "client"],
    &["lab"],
    &["doctor"],
];

#[test]
fn every_help_has_an_example_and_the_common_options() {
    for command in COMMANDS {
        let output = run(&[command, &["--help"][..]].concat());
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let help = text(&output.stdout);
        assert!(
            help.contains(&format!("Example:\n  weir {}", command.join(" "))),
            "{help}"
        );
        for option in ["--json", "--verbose"] {
            assert!(help.contains(option), "{command:?} has no {option}");
        }
        if command != &["key"] && command != &["lab"] {
            for option in ["--qlog", "--keylog", "--pcap"] {
                assert!(help.contains(option), "{command:?} has no {option}");
            }
        }
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_goes_to_stderr() {
    let peer = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
    let wrong: &[&[&str]] = &[
        &[],
        &["no-such-command"],
        &["try", "--no-such-option"],
        &[
            "perf",
            "client",
            "--addr",
            "127.0.0.1:1",
            "--work",
            "no-such-work",
        ],
        &["perf", "client", "--addr", "no port", "--work", "rr-1"],
        &["perf", "client", "--addr", "127.0.0.1:1", "--bytes", "many"],
        &["perf", "server", "--via", "carrier-pigeon"],
        &["echo", "client", "--connect", "not-a-peer@127.0.0.1:1"],
        &["echo", "client"],
        &["connect"],
        &["connect", &format!("{peer}@127.0.0.1:1"), "-L", "8080"],
        &["connect", &format!("{peer}@127.0.0.1:1")],
        &["connect", "127.0.0.1:1", "-L", "8080:127.0.0.1:80"],
        &["listen", "--allow-peer", "neither a peer nor a file"],
        &["listen", "--allow-any-peer", "--allow-to", "10.0.0.0/99"],
        &["doctor", "no-port"],
        &["doctor", "127.0.0.1:1", "--timeout", "soon"],
        &["lab"],
        &["lab", "--to", "no port"],
        &["lab", "--to", "127.0.0.1:1", "--loss", "2"],
        &["lab", "--to", "127.0.0.1:1", "--rate", "fast"],
        &["lab", "--to", "127.0.0.1:1", "--rebind", "0s"],
        &[
            "lab",
            "--to",
            "192.0.2.1:1",
            "--rebind",
            "1s",
            "--rebind-address",
        ],
        &["lab", "--to", "127.0.0.1:1", "--blackhole-on", "1s"],
        &["lab", "--to", "127.0.0.1:1", "--no-udp", "--no-tcp"],
    ];
    for args in wrong {
        let output = run(args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty(), "{args:?} says nothing");
    }
}

#[test]
fn what_fails_is_exit_code_1_and_says_what_and_to_what() {
    // Port 1 of loopback: nobody listens there.
    for args in [
        &[
            "echo",
            "client",
            "--via",
            "yamux-plain",
            "--connect",
            "127.0.0.1:1",
        ][..],
        &[
            "perf",
            "client",
            "--via",
            "tcp",
            "--addr",
            "127.0.0.1:1",
            "--work",
            "rr-1",
        ],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let words = text(&output.stderr);
        assert!(
            words.contains("127.0.0.1:1") && words.contains("refused"),
            "{words}"
        );
        assert!(!words.contains("panicked"), "{words}");
    }
    let output = run(&["echo", "server", "--addr", "192.0.2.1:0", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains(r#""error":"#),
        "a script can read it too"
    );
}

#[test]
fn the_version_is_told() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("weir "));
}
