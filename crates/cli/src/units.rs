//! Figures with their units, as people write them.

use std::time::Duration;

/// `1536` → `1.5 KiB`; whole numbers stay whole.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!(
        "{} {}",
        significant(value),
        UNITS.get(unit).unwrap_or(&"TiB")
    )
}

/// Bits per second with a decimal prefix, as links are measured: `9.13 Gbit/s`.
pub(crate) fn rate(bits_per_second: f64) -> String {
    let (value, unit) = decimal(bits_per_second);
    format!("{} {unit}bit/s", significant(value))
}

/// So many a second: `412 k/s`.
pub(crate) fn per_second(count: f64) -> String {
    let (value, unit) = decimal(count);
    format!("{} {unit}/s", significant(value))
}

/// `57 µs`, `1.2 ms`, `3.4 s`.
pub(crate) fn time(duration: Duration) -> String {
    let micros = duration.as_nanos() as f64 / 1e3;
    if micros < 1.0 {
        format!("{} ns", duration.as_nanos())
    } else if micros < 1e3 {
        format!("{} µs", significant(micros))
    } else if micros < 1e6 {
        format!("{} ms", significant(micros / 1e3))
    } else {
        format!("{} s", significant(micros / 1e6))
    }
}

/// Reads `64K`, `1M`, `2G`, `1GiB`, `500000` (prefixes are powers of 1024) as bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is not a number of bytes"))?;
    let shift = match suffix.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        other => return Err(format!("`{other}` is no unit of bytes: use K, M, G or T")),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is too large"))
}

/// Reads a time in seconds (`10`, `0.5`, `10s`), milliseconds (`250ms`) or minutes (`2m`).
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time: write 10, 0.5, 10s, 250ms or 2m");
    let (number, scale) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60.0)
    } else {
        (text, 1.0)
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())
}

/// Reads `20M`, `1.5G`, `500k`, `9600` as bits per second, as links are measured: powers of 1000.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a rate in bits per second: write 20M, 1.5G or 500k");
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches("bit/s");
    let (number, scale) = match bare.chars().last() {
        Some('k') => (bare.trim_end_matches('k'), 1e3),
        Some('m') => (bare.trim_end_matches('m'), 1e6),
        Some('g') => (bare.trim_end_matches('g'), 1e9),
        _ => (bare, 1.0),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let bits = number * scale;
    // A terabit a second is more than a proxy will ever see.
    if (1.0..=1e12).contains(&bits) {
        return Ok(bits as u64);
    }
    Err(wrong())
}

/// Reads `2%`, `0.1%` or `0.02` as a share of one.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a share: write 2%, 0.1% or 0.02");
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().map_err(|_| wrong())? * scale;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(wrong())
}

fn decimal(value: f64) -> (f64, &'static str) {
    if value >= 1e9 {
        (value / 1e9, "G")
    } else if value >= 1e6 {
        (value / 1e6, "M")
    } else if value >= 1e3 {
        (value / 1e3, "k")
    } else {
        (value, "")
    }
}

/// Three significant digits, none of them idle.
fn significant(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(rate(17.84e9), "17.8 Gbit/s");
        assert_eq!(rate(950.0), "950 bit/s");
        assert_eq!(per_second(412_345.0), "412 k/s");
        assert_eq!(time(Duration::from_nanos(57_400)), "57.4 µs");
        assert_eq!(time(Duration::from_millis(1200)), "1.2 s");
    }

    #[test]
    fn sizes_and_times_are_read_back() {
        assert_eq!(parse_bytes("64K"), Ok(65_536));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert!(parse_bytes("").is_err());
        assert!(parse_bytes("12q").is_err());
        assert!(parse_bytes("99999999T").is_err());
        assert_eq!(parse_time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_time("-1").is_err());
        assert!(parse_time("soon").is_err());
    }

    #[test]
    fn rates_and_shares_are_read() {
        assert_eq!(parse_rate("20M"), Ok(20_000_000));
        assert_eq!(parse_rate("1.5Gbit/s"), Ok(1_500_000_000));
        assert_eq!(parse_rate("500 k"), Ok(500_000));
        assert_eq!(parse_rate("9600"), Ok(9_600));
        for wrong in ["", "0", "-1M", "fast", "NaN", "inf", "1e30"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_share("2%"), Ok(0.02));
        assert_eq!(parse_share("0.02"), Ok(0.02));
        assert_eq!(parse_share("100%"), Ok(1.0));
        for wrong in ["", "2", "101%", "-1%", "NaN", "half"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
