//! What a connection costs, and that it rests.

use super::*;

// The bar is 1.5 KiB for all of an idle connection, table entry and timer included.
#[test]
fn a_connection_is_small() {
    let size = size_of::<Connection>();
    let parts = [
        size_of::<crate::tcp::sender::Sender>(),
        size_of::<crate::tcp::receiver::Receiver>(),
        size_of::<crate::tcp::recovery::Recovery>(),
        size_of::<crate::tcp::connection::Begin>(),
        size_of::<crate::tcp::connection::Seen>(),
    ];
    println!("sizes {size} {parts:?}");
    assert!(size <= 1344, "{size} bytes");
}

// A connection that has nothing to do has no timer and nothing to send.
#[test]
fn an_idle_connection_rests() {
    let mut host = Host::open(plain());
    host.write(b"question");
    host.receive(&In::new(ACK).ack(9).data(b"answer"));
    host.read();
    host.pass(ms(1000));
    host.take();
    assert_eq!(host.next_timer(), None);
    assert!(!host.conn().wants_transmit());
}

// A spurious call does nothing.
#[test]
fn a_spurious_timeout_does_nothing() {
    let mut host = Host::open(plain());
    host.write(b"abc");
    host.take();
    for _ in 0..10 {
        with!(host, |c, cx| c.handle_timeout(cx));
        host.flush();
    }
    assert!(host.take().is_empty());
}

// threats C1, C2: any segment in any state does no harm.
#[test]
fn random_segments_do_no_harm() {
    use weir_core::rng::{below, chance, next_u64};
    let mut rng = rng_from_seed(11);
    for round in 0..300 {
        let mut host = match round % 3 {
            0 => Host::connecting(TcpConfig::default(), None),
            1 => Host::accepting(TcpConfig::default(), peer_options(), SYN),
            _ => Host::open(plain()),
        };
        host.flush();
        for _ in 0..100 {
            let bits = next_u64(&mut rng) as u16;
            let flags = Flags::from_bits(if chance(&mut rng, 2, 3) {
                bits & 0x1f
            } else {
                bits
            });
            let near = |rng: &mut Rng| match below(rng, 3) {
                0 => next_u64(rng) & 0xffff_ffff,
                1 => below(rng, 10),
                _ => below(rng, 70_000),
            };
            let (seq, ack) = (near(&mut rng), near(&mut rng));
            let data = pattern(0..below(&mut rng, 2000));
            let mut segment = In::new(flags).seq(seq).ack(ack).data(&data);
            segment.window = next_u64(&mut rng) as u16;
            if chance(&mut rng, 1, 2) {
                segment = segment.stamps(next_u64(&mut rng) as u32, next_u64(&mut rng) as u32);
            }
            for _ in 0..below(&mut rng, 5) {
                let wire = |rng: &mut Rng| OURS.wrapping_add(near(rng) as u32);
                let block = (wire(&mut rng), wire(&mut rng));
                segment.options.sack.push(block.0, block.1);
            }
            host.receive(&segment);
            match below(&mut rng, 8) {
                0 => host.finish(),
                1 => {
                    let _ = with!(host, |c, cx| c.write_slice(cx, &data));
                    host.flush();
                }
                2 => host.pass(ms(below(&mut rng, 3000))),
                3 => drop(host.read()),
                _ => {}
            }
            assert!(host.take().len() < 200);
        }
        host.close();
        with!(host, |c, cx| c.release(cx));
        assert_eq!((host.chunks.in_use(), host.budget.used()), (0, 0));
    }
}
