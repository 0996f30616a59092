//! 32-bit sequence numbers as a truncated coding of 64-bit stream offsets (RFC 9293 3.4).
//!
//! Inside the stack a direction of a connection counts from 0, which is its SYN; data begins at 1 and
//! FIN is the offset behind the last byte. Only this file knows about wrapping.

/// The sequence number that stands for `offset` on the wire, in a direction that began with `initial`
/// (the initial sequence number).
#[inline]
#[must_use]
pub const fn wire(initial: u32, offset: u64) -> u32 {
    initial.wrapping_add(offset as u32)
}

/// The offset nearest to `near` that [`wire`] would write as `value`.
///
/// It lies in `near - 2^31 .. near + 2^31`, which is the half circle that RFC 9293 3.4 compares in.
/// None if that offset would lie below 0 (or above `u64::MAX`).
#[inline]
#[must_use]
pub const fn widen(initial: u32, value: u32, near: u64) -> Option<u64> {
    let distance = value.wrapping_sub(initial).wrapping_sub(near as u32) as i32;
    near.checked_add_signed(distance as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_syn_has_the_initial_number_and_data_follows() {
        assert_eq!(wire(1000, 0), 1000);
        assert_eq!(wire(1000, 1), 1001);
        assert_eq!(wire(u32::MAX, 1), 0);
    }

    #[test]
    fn numbers_wrap_and_offsets_do_not() {
        let far = 5 * (1 << 32) + 17;
        assert_eq!(
            widen(u32::MAX - 3, wire(u32::MAX - 3, far), far - 1000),
            Some(far)
        );
        assert_eq!(widen(7, wire(7, far), far + 1000), Some(far));
    }

    #[test]
    fn what_lies_before_the_syn_has_no_offset() {
        // RFC 9293 3.4: the peer may put any number; one below the initial is old or forged.
        assert_eq!(widen(1000, 999, 0), None);
        assert_eq!(widen(1000, 999, 1), None);
        assert_eq!(widen(0, u32::MAX, 1), None);
        assert_eq!(widen(1000, 1000, 1), Some(0));
    }

    #[test]
    fn the_edge_of_the_half_circle_is_below() {
        let near = 1_u64 << 40;
        let half = 1_u64 << 31;
        assert_eq!(widen(0, wire(0, near + half), near), Some(near - half));
        assert_eq!(
            widen(0, wire(0, near + half - 1), near),
            Some(near + half - 1)
        );
        assert_eq!(widen(0, 0xffff_fffb, u64::MAX - 5), Some(u64::MAX - 4));
        assert_eq!(widen(0, 5, u64::MAX - 5), None);
    }

    proptest! {
        #[test]
        fn widening_finds_every_offset_in_reach(
            initial: u32, near in 0..u64::MAX / 2, distance in -(1_i64 << 31)..(1 << 31)
        ) {
            let offset = near.checked_add_signed(distance);
            let value = initial.wrapping_add(near as u32).wrapping_add(distance as u32);
            prop_assert_eq!(widen(initial, value, near), offset);
            if let Some(offset) = offset {
                prop_assert_eq!(wire(initial, offset), value);
            }
        }
    }
}
