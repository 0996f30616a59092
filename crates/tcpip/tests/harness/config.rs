//! What a script's `config` lines and `set` calls mean.

use weir_core::time::Duration;
use weir_core::window::WindowConfig;
use weir_sim::script::Setup;
use weir_tcpip::{Config, KeepAlive, SendBufferConfig, Setting, SynCookies, TcpConfig, UdpConfig};

fn millis(text: &str) -> Duration {
    Duration::from_millis(number(text))
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn on(text: &str) -> bool {
    match text {
        "on" => true,
        "off" => false,
        _ => panic!("{text:?} is neither on nor off"),
    }
}

fn two(text: &str) -> (u64, u64) {
    let (first, second) = text.split_once(' ').unwrap_or((text, text));
    (number(first), number(second))
}

/// `IDLE INTERVAL COUNT`, times in milliseconds.
fn keepalive(text: &str) -> Option<KeepAlive> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["default"] => Some(KeepAlive::default()),
        [idle, interval, count] => Some(KeepAlive {
            idle: millis(idle),
            interval: millis(interval),
            count: u8::try_from(number(count)).unwrap(),
        }),
        _ => None,
    }
}

/// The stack's settings.
pub(super) fn stack(setup: &Setup) -> Config {
    let mut config = Config::default();
    for (key, value) in &setup.config {
        let count = || usize::try_from(number(value)).unwrap();
        match key.as_str() {
            "memory" => config.memory = number(value),
            "max-connections" => config.max_connections = count(),
            "max-half-open" => config.max_half_open = count(),
            "max-orphans" => config.max_orphans = count(),
            "max-time-waits" => config.max_time_waits = count(),
            "cookies" => {
                config.syn_cookies = match value.as_str() {
                    "never" => SynCookies::Never,
                    "always" => SynCookies::Always,
                    _ => SynCookies::WhenFull,
                }
            }
            "answer-strangers" => config.answer_strangers = on(value),
            // Known, and read elsewhere; a word that nobody knows is a fault of the script.
            "seed" | "mtu" | "address" | "dad" | "slaac" | "any-address" | "neighbors"
            | "router" | "forwarding" | "backlog" => {}
            key if key.starts_with("udp-") => {}
            key => assert!(
                set_tcp(&mut TcpConfig::default(), key, value),
                "config {key}"
            ),
        }
    }
    config
}

/// The settings of all TCP connections. ECN, which shows in every SYN, is off where a script says
/// nothing; everything else is as by default.
pub(super) fn tcp(setup: &Setup) -> TcpConfig {
    let mut config = TcpConfig {
        ecn: false,
        ..TcpConfig::default()
    };
    for (key, value) in &setup.config {
        set_tcp(&mut config, key, value);
    }
    config.validate().unwrap();
    config
}

fn set_tcp(config: &mut TcpConfig, key: &str, value: &str) -> bool {
    match key {
        "congestion" => config.congestion = value.parse().unwrap(),
        "pacing" => config.pacing = on(value),
        "nodelay" => config.nodelay = on(value),
        "keepalive" => config.keepalive = keepalive(value),
        "user-timeout" => config.user_timeout = millis(value),
        "linger" => config.linger = Some(millis(value)),
        "send-buffer" => {
            let (initial, max) = two(value);
            config.send_buffer = SendBufferConfig { initial, max };
        }
        "receive-window" => {
            let (initial, max) = two(value);
            config.receive_window = WindowConfig::new(initial, max);
        }
        "min-rto" => config.min_rto = millis(value),
        "delayed-ack" => config.delayed_ack = millis(value),
        "ecn" => config.ecn = on(value),
        "fast-open" => config.fast_open = on(value),
        "timestamps" => config.timestamps = on(value),
        "sack" => config.sack = on(value),
        "window-scale" => config.window_scale = on(value),
        "mss" => config.mss = Some(u16::try_from(number(value)).unwrap()),
        "hop-limit" => config.hop_limit = u8::try_from(number(value)).unwrap(),
        "dscp" => config.dscp = u8::try_from(number(value)).unwrap(),
        "syn-timeout" => config.syn_timeout = millis(value),
        "fin-wait-timeout" => config.fin_wait_timeout = millis(value),
        "time-wait" => config.time_wait = millis(value),
        _ => return false,
    }
    true
}

/// The settings of all UDP sockets.
pub(super) fn udp(setup: &Setup) -> UdpConfig {
    let mut config = UdpConfig::default();
    for (key, value) in &setup.config {
        match key.as_str() {
            "udp-checksum" => config.checksum = on(value),
            "udp-fragment" => config.fragment = on(value),
            "udp-hop-limit" => config.hop_limit = u8::try_from(number(value)).unwrap(),
            "udp-dscp" => config.dscp = u8::try_from(number(value)).unwrap(),
            _ => {}
        }
    }
    config
}

/// What `set NAME VALUE..` asks for.
pub(super) fn setting(name: &str, words: &[&str]) -> Result<Setting, String> {
    let value = words.first().copied().unwrap_or_default();
    Ok(match name {
        "nodelay" => Setting::NoDelay(on(value)),
        "keepalive" => Setting::KeepAlive(keepalive(&words.join(" "))),
        "user-timeout" => Setting::UserTimeout(millis(value)),
        "linger" => Setting::Linger((value != "none").then(|| millis(value))),
        "delayed-ack" => Setting::DelayedAck(millis(value)),
        "send-buffer" => Setting::SendBuffer(number(value)),
        "receive-window" => Setting::ReceiveWindow(number(value)),
        "hop-limit" => Setting::HopLimit(u8::try_from(number(value)).unwrap_or(1)),
        "dscp" => Setting::Dscp(u8::try_from(number(value)).unwrap_or(0)),
        _ => return Err(format!("there is no setting {name:?}")),
    })
}
