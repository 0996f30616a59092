//! Bytes that name their stream, direction and offset, so that one misplaced byte is noticed.

const PERIOD: usize = 65_521;

fn table() -> &'static [u8] {
    static TABLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    TABLE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        // Twice the period and more: any slice of up to a period is contiguous.
        let once: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        once.iter().chain(&once).copied().collect()
    })
}

/// Where stream `key` starts in the table: streams differ in phase.
fn phase(key: u64) -> u64 {
    key.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

/// Appends `length` bytes of what stream `key` sends from `offset`.
pub fn fill(key: u64, offset: u64, length: usize, out: &mut Vec<u8>) {
    let end = out.len() + length;
    let mut at = offset;
    while out.len() < end {
        let start = (phase(key).wrapping_add(at) % PERIOD as u64) as usize;
        let step = (end - out.len()).min(PERIOD);
        out.extend_from_slice(&table()[start..start + step]);
        at += step as u64;
    }
}

/// What stream `key` sends from `offset`.
pub fn bytes(key: u64, offset: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    fill(key, offset, length, &mut out);
    out
}

/// The first position in `bytes` that is not what stream `key` sends from `offset`.
pub fn first_difference(key: u64, offset: u64, bytes: &[u8]) -> Option<usize> {
    let mut done = 0;
    while done < bytes.len() {
        let start = (phase(key).wrapping_add(offset + done as u64) % PERIOD as u64) as usize;
        let step = (bytes.len() - done).min(PERIOD);
        let (seen, wanted) = (&bytes[done..done + step], &table()[start..start + step]);
        if seen != wanted {
            let within = seen.iter().zip(wanted).position(|(a, b)| a != b).unwrap();
            return Some(done + within);
        }
        done += step;
    }
    None
}

#[test]
fn a_misplaced_byte_is_noticed() {
    let sent = bytes(7, 1000, 200_000);
    assert_eq!(first_difference(7, 1000, &sent), None);
    assert_eq!(first_difference(7, 1000 + 150_000, &sent[150_000..]), None);
    assert!(first_difference(9, 1000, &sent).is_some());
    assert!(first_difference(7, 1001, &sent).is_some());
    let mut wrong = sent;
    wrong[123_456] ^= 1;
    assert_eq!(first_difference(7, 1000, &wrong), Some(123_456));
}
