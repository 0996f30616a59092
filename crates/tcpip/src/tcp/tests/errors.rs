//! T49, T50, T133 to T135: ICMP errors and path MTUs.

use super::*;
use crate::ip::IcmpKind;
use crate::tcp::error::CloseCause;

fn icmp(host: &mut Host, kind: IcmpKind, offset: u64) {
    let quoted = Some(OURS.wrapping_add(offset as u32));
    with!(*host, |c, cx| c.handle_icmp(cx, kind, quoted));
    host.flush();
}

const ALL: [IcmpKind; 8] = [
    IcmpKind::NetworkUnreachable,
    IcmpKind::HostUnreachable,
    IcmpKind::Prohibited,
    IcmpKind::ProtocolUnreachable,
    IcmpKind::PortUnreachable,
    IcmpKind::PacketTooBig { mtu: 600 },
    IcmpKind::TimeExceeded,
    IcmpKind::ParameterProblem,
];

// T50
#[test]
fn no_error_ends_an_established_connection() {
    for kind in ALL {
        let mut host = Host::open(plain());
        host.write(&pattern(0..3000));
        for _ in 0..20 {
            icmp(&mut host, kind, 1);
        }
        assert_eq!(host.state(), State::Established);
        host.receive(&In::new(ACK).ack(3001));
        assert_eq!(host.conn().stats(Instant::ZERO).bytes_acked, 3000);
    }
}

// T50
#[test]
fn hard_errors_end_an_attempt_and_one_soft_error_does_not() {
    for kind in ALL {
        let mut host = Host::connecting(plain(), None);
        host.flush();
        icmp(&mut host, kind, 0);
        let hard = matches!(
            kind,
            IcmpKind::ProtocolUnreachable | IcmpKind::PortUnreachable
        );
        assert_eq!(host.state() == State::Closed, hard, "{kind:?}");
    }
    // RFC 5461: but three do.
    let mut host = Host::connecting(plain(), None);
    host.flush();
    for _ in 0..3 {
        assert_eq!(host.state(), State::SynSent);
        icmp(&mut host, IcmpKind::HostUnreachable, 0);
    }
    assert_eq!(host.conn().close_cause(), Some(CloseCause::HostUnreachable));
}

// T50: a soft error is the reason when time runs out.
#[test]
fn a_soft_error_is_remembered_as_the_cause() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    icmp(&mut host, IcmpKind::Prohibited, 0);
    host.pass(Duration::from_secs(180));
    assert_eq!(host.conn().close_cause(), Some(CloseCause::Prohibited));
}

// T49
#[test]
fn an_error_about_what_is_not_in_flight_is_ignored() {
    let mut host = Host::connecting(plain(), None);
    host.flush();
    for offset in [1, 2, 1 << 30] {
        icmp(&mut host, IcmpKind::PortUnreachable, offset);
    }
    with!(host, |c, cx| c.handle_icmp(
        cx,
        IcmpKind::PortUnreachable,
        None
    ));
    assert_eq!(host.state(), State::SynSent);
    let mut host = Host::open(plain());
    host.write(&pattern(0..3000));
    host.take();
    for offset in [0, 3001, 1 << 30] {
        icmp(&mut host, IcmpKind::PacketTooBig { mtu: 600 }, offset);
    }
    assert_eq!(host.conn().stats(Instant::ZERO).path_mtu, 1500);
}

// T133
#[test]
fn a_smaller_path_has_data_sent_again_smaller_at_once() {
    let options = Options {
        mss: Some(1460),
        ..peer_options()
    };
    let mut host = Host::open_with(plain(), options, 60_000);
    host.write(&pattern(0..5000));
    assert_eq!(host.take_one().size, 1460);
    let before = host.conn().stats(Instant::ZERO).congestion_window;
    icmp(&mut host, IcmpKind::PacketTooBig { mtu: 1000 }, 1);
    let again = host.take();
    assert!(again.iter().all(|out| out.size == 960));
    let sent: Vec<u8> = again.into_iter().flat_map(|out| out.data).collect();
    assert_eq!(sent, pattern(0..5000));
    assert!(host.conn().stats(Instant::ZERO).congestion_window + 4000 >= before);
    // T136: a larger one, in time.
    host.receive(&In::new(ACK).ack(5001));
    with!(host, |c, cx| c.handle_path_mtu(cx, 1500));
    host.write(&pattern(0..5000));
    assert_eq!(host.take()[0].size, 1460);
}

// T134: a figure above the present one, or none, changes nothing.
#[test]
fn a_report_that_cannot_be_is_ignored() {
    let mut host = Host::open(plain());
    host.write(&pattern(0..3000));
    for mtu in [0, 1500, 9000, 1 << 20] {
        icmp(&mut host, IcmpKind::PacketTooBig { mtu }, 1);
    }
    assert_eq!(host.conn().stats(Instant::ZERO).path_mtu, 1500);
}

// T135
#[test]
fn vanishing_full_segments_have_smaller_ones_tried() {
    let options = Options {
        mss: Some(1460),
        ..peer_options()
    };
    let mut host = Host::open_with(plain(), options, 60_000);
    host.write(&pattern(0..5000));
    let mut smallest = 1460;
    for _ in 0..12 {
        let (wait, _) = host.next_timer().unwrap();
        host.pass(wait);
        for out in host.take() {
            smallest = out.data.len().min(smallest);
        }
    }
    assert!(smallest < 1300, "{smallest}");
    assert!(host.counters.tcp_mtup_fail > 0);
}
