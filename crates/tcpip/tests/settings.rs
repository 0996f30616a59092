//! What settings may be.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use core::ops::RangeInclusive;

use weir_core::time::Duration;
use weir_tcpip::limits::{LEAST_MEMORY, MAX_BACKLOG, MAX_CONNECTIONS, MAX_UDP_QUEUE};
use weir_tcpip::{Config, ListenConfig, TcpConfig, UdpConfig};

/// The name of a setting, and what makes it wrong.
type Wrong = (&'static str, fn(&mut Config));

#[test]
fn settings_have_bounds_and_the_defaults_keep_them() {
    assert_eq!(Config::default().validate(), Ok(()));
    assert_eq!(ListenConfig::default().validate(), Ok(()));
    assert_eq!(UdpConfig::default().validate(), Ok(()));
    let wrong: [Wrong; 9] = [
        ("memory", |config| config.memory = LEAST_MEMORY - 1),
        ("max_connections", |config| config.max_connections = 0),
        ("max_connections", |config| {
            config.max_connections = MAX_CONNECTIONS + 1;
        }),
        ("max_half_open", |config| {
            config.max_half_open = MAX_CONNECTIONS + 1;
        }),
        ("max_orphans", |config| {
            config.max_orphans = MAX_CONNECTIONS + 1
        }),
        ("max_time_waits", |config| {
            config.max_time_waits = MAX_CONNECTIONS + 1;
        }),
        ("ports.start", |config| config.ports = 0..=9),
        ("ports.end", |config| {
            config.ports = RangeInclusive::new(9, 8)
        }),
        ("incoming_timeout", |config| {
            config.incoming_timeout = Duration::ZERO;
        }),
    ];
    for (field, spoil) in wrong {
        let mut config = Config::default();
        spoil(&mut config);
        assert_eq!(config.validate().unwrap_err().field, field);
    }
    let listen = ListenConfig {
        backlog: MAX_BACKLOG + 1,
        ..ListenConfig::default()
    };
    assert_eq!(listen.validate().unwrap_err().field, "backlog");
    // T161, T162: six bits.
    let tcp = TcpConfig {
        dscp: 64,
        ..TcpConfig::default()
    };
    assert_eq!(tcp.validate().unwrap_err().field, "dscp");
    let udp = UdpConfig {
        dscp: 64,
        ..UdpConfig::default()
    };
    assert_eq!(udp.validate().unwrap_err().field, "dscp");
    for size in [0, MAX_UDP_QUEUE + 1] {
        let udp = UdpConfig {
            receive_queue: size,
            ..UdpConfig::default()
        };
        assert_eq!(udp.validate().unwrap_err().field, "receive_queue");
        let udp = UdpConfig {
            send_queue: size,
            ..UdpConfig::default()
        };
        assert_eq!(udp.validate().unwrap_err().field, "send_queue");
    }
}
