//! A packet as a script's line says it: a kind, and fields by name.

use std::fmt;

use super::tcp;

/// Names and values, in the order of writing.
pub(crate) type Fields = Vec<(String, String)>;

/// A packet in words: to be sent, to be waited for, or one that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// What stands in parentheses: the IP header and what is below it.
    pub(crate) outer: Fields,
    /// `tcp`, `udp`, `icmp echo`, `arp request`, ...
    pub(crate) kind: String,
    /// The fields of the kind.
    pub(crate) fields: Fields,
    /// TCP options, one by one; `None` where none are spoken of.
    pub(crate) options: Option<Vec<String>>,
    /// There may be other options besides (`...`).
    pub(crate) open: bool,
    /// The packet that an ICMP error quotes.
    pub(crate) about: Option<Box<Words>>,
}

/// Kinds that a line may name in two words.
const FAMILIES: [&str; 3] = ["icmp", "arp", "ndp"];

impl Words {
    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        get(&self.fields, name)
    }

    /// The value of a field of the headers below.
    pub(crate) fn outer(&self, name: &str) -> Option<&str> {
        get(&self.outer, name)
    }

    /// A field as a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, String> {
        self.get(name).map(number).transpose()
    }

    /// A field of the headers below as a number.
    pub(crate) fn outer_number(&self, name: &str) -> Result<Option<i64>, String> {
        self.outer(name).map(number).transpose()
    }

    /// Adds a field that was seen.
    pub(crate) fn push(&mut self, name: &str, value: impl ToString) {
        self.fields.push((name.to_owned(), value.to_string()));
    }

    /// Reads what stands behind the arrow of a line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut words, mut rest) = (Self::default(), text.trim());
        if let Some(inside) = rest.strip_prefix('(') {
            let (outer, behind) = inside.split_once(')').ok_or("no ) after (")?;
            words.outer = pairs(outer.split_whitespace())?;
            rest = behind.trim();
        }
        if let Some((before, about)) = rest.split_once(" about ") {
            words.about = Some(Box::new(Self::parse(about)?));
            rest = before.trim();
        }
        if let Some((before, options)) = rest.split_once('<') {
            let (options, behind) = options.split_once('>').ok_or("no > after <")?;
            if !behind.trim().is_empty() {
                return Err(format!("{behind:?} behind the options"));
            }
            words.set_options(options);
            rest = before.trim();
        }
        let mut tokens = rest.split_whitespace().peekable();
        let first = tokens.next().ok_or("no packet")?;
        if tcp::flags(first).is_some() {
            words.kind = "tcp".to_owned();
            words.push("flags", first);
        } else if FAMILIES.contains(&first) {
            let second = tokens.next().ok_or_else(|| format!("{first} what?"))?;
            words.kind = format!("{first} {second}");
        } else {
            words.kind = first.to_owned();
        }
        if let Some((from, to)) = tokens.peek().and_then(|token| token.split_once('>')) {
            words.push("from-port", from);
            words.push("to-port", to);
            tokens.next();
        }
        words.fields.extend(pairs(tokens)?);
        words.expand_ranges()?;
        Ok(words)
    }

    fn set_options(&mut self, text: &str) {
        let options = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let (dots, options): (Vec<&str>, Vec<&str>) = options.partition(|&one| one == "...");
        self.open = !dots.is_empty();
        self.options = Some(options.into_iter().map(str::to_owned).collect());
    }

    /// `seq 1:1461` is `seq 1 len 1460`.
    fn expand_ranges(&mut self) -> Result<(), String> {
        let Some((from, to)) = self.get("seq").and_then(|seq| seq.split_once(':')) else {
            return Ok(());
        };
        let len = number(to)? - number(from)?;
        let from = from.to_owned();
        self.fields.retain(|(name, _)| name != "seq");
        self.push("seq", from);
        self.push("len", len);
        Ok(())
    }

    /// Whether `seen` is what this line waits for; if not, why.
    pub(crate) fn fits(&self, seen: &Words) -> Result<(), String> {
        if self.kind != seen.kind {
            return Err(format!("it is {:?}, not {:?}", seen.kind, self.kind));
        }
        let outer = self.outer.iter().map(|field| (field, &seen.outer));
        let inner = self.fields.iter().map(|field| (field, &seen.fields));
        for ((name, want), fields) in outer.chain(inner) {
            let got = get(fields, name).unwrap_or("none");
            let fits = match name.as_str() {
                "flags" => tcp::flags_fit(want, got),
                _ => value_fits(want, got),
            };
            if !fits {
                return Err(format!("{name} is {got}, not {want}"));
            }
        }
        if let Some(wanted) = &self.options {
            options_fit(
                wanted,
                self.open,
                seen.options.as_deref().unwrap_or_default(),
            )?;
        }
        match (&self.about, &seen.about) {
            (None, _) => Ok(()),
            (Some(_), None) => Err("nothing is quoted".to_owned()),
            (Some(want), Some(got)) => want
                .fits(got)
                .map_err(|why| format!("in what is quoted: {why}")),
        }
    }
}

/// Options that pad; a list without them speaks of the others only.
fn pads(option: &str) -> bool {
    matches!(option, "nop" | "eol")
}

fn options_fit(wanted: &[String], open: bool, got: &[String]) -> Result<(), String> {
    let with_padding = wanted.iter().any(|option| pads(option));
    let mut got = got.iter().filter(|option| with_padding || !pads(option));
    if open {
        let got: Vec<&String> = got.collect();
        let missing = wanted
            .iter()
            .find(|want| !got.iter().any(|got| option_fits(want, got)));
        return match missing {
            Some(missing) => Err(format!("there is no option {missing:?}")),
            None => Ok(()),
        };
    }
    for want in wanted {
        match got.next() {
            Some(got) if option_fits(want, got) => {}
            Some(got) => return Err(format!("option {got:?}, not {want:?}")),
            None => return Err(format!("option {want:?} is missing")),
        }
    }
    match got.next() {
        Some(more) => Err(format!("option {more:?} besides")),
        None => Ok(()),
    }
}

/// Word by word; a value may be a range. An option of one word stands for any value of it, `..` at
/// the end for whatever may follow.
fn option_fits(want: &str, got: &str) -> bool {
    if let Some(want) = want.strip_suffix(" ..") {
        let (want, got) = (want.split_whitespace(), got.split_whitespace());
        return want.clone().count() <= got.clone().count()
            && want.zip(got).all(|(w, g)| value_fits(w, g));
    }
    let (mut want, mut got) = (want.split_whitespace(), got.split_whitespace());
    if want.clone().count() == 1 {
        return want.next() == got.next();
    }
    want.clone().count() == got.clone().count() && want.zip(got).all(|(w, g)| value_fits(w, g))
}

/// `*`, `low..high` (both count), `low..`, a number or a word.
pub(crate) fn value_fits(want: &str, got: &str) -> bool {
    if want == "*" {
        return true;
    }
    if let Some((low, high)) = want.split_once("..") {
        let Ok(got) = number(got) else {
            return false;
        };
        let low = number(low).unwrap_or(i64::MIN);
        let high = number(high).unwrap_or(i64::MAX);
        return (low..=high).contains(&got);
    }
    match (number(want), number(got)) {
        (Ok(want), Ok(got)) => want == got,
        _ => want.eq_ignore_ascii_case(got),
    }
}

/// A decimal or hexadecimal number; `1e6` is a million.
pub(crate) fn number(text: &str) -> Result<i64, String> {
    let value = match (text.strip_prefix("0x"), text.split_once('e')) {
        (Some(hex), _) => i64::from_str_radix(hex, 16).ok(),
        (None, Some((base, exponent))) => {
            let power = exponent.parse().ok().and_then(|e| 10_i64.checked_pow(e));
            let base = base.parse::<i64>().ok();
            base.zip(power)
                .and_then(|(base, power)| base.checked_mul(power))
        }
        (None, None) => text.parse().ok(),
    };
    value.ok_or_else(|| format!("{text:?} is no number"))
}

/// Bytes written in hexadecimal.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    match digits {
        Some(digits) if digits.len() % 2 == 0 => Ok(digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect()),
        _ => Err(format!("{text:?} is not hexadecimal")),
    }
}

fn get<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

fn pairs<'a>(mut tokens: impl Iterator<Item = &'a str>) -> Result<Fields, String> {
    let mut fields = Fields::new();
    while let Some(name) = tokens.next() {
        let value = tokens
            .next()
            .ok_or_else(|| format!("{name} without a value"))?;
        fields.push((name.to_owned(), value.to_owned()));
    }
    Ok(fields)
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.outer.is_empty() {
            let outer: Vec<String> = self.outer.iter().map(|(k, v)| format!("{k} {v}")).collect();
            write!(f, "({}) ", outer.join(" "))?;
        }
        if self.kind != "tcp" {
            write!(f, "{}", self.kind)?;
        }
        for (name, value) in &self.fields {
            match name.as_str() {
                "flags" => write!(f, "{value}")?,
                _ => write!(f, " {name} {value}")?,
            }
        }
        if let Some(options) = &self.options {
            write!(f, " <{}>", options.join(","))?;
        }
        match &self.about {
            Some(about) => write!(f, " about {about}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        Words::parse(text).unwrap()
    }

    #[test]
    fn lines_are_read() {
        let syn = words("(ttl 3 ecn ce) SYN seq 0 win 65535 <mss 1460,sackOK,ts 100 0,ws 7>");
        assert_eq!(syn.kind, "tcp");
        assert_eq!(syn.outer("ecn"), Some("ce"));
        assert_eq!(syn.get("win"), Some("65535"));
        assert_eq!(syn.options.unwrap().len(), 4);
        let data = words("ACK seq 1:1461 ack 1");
        assert_eq!(data.number("len"), Ok(Some(1460)));
        let error = words("icmp unreachable code 3 about udp 5000>53 len 4");
        assert_eq!(error.about.unwrap().get("to-port"), Some("53"));
        for wrong in ["", "(a 1", "ACK seq", "SYN <mss 1", "icmp", "ACK <x> y"] {
            assert!(Words::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_asked() {
        let seen = words("PSH,ACK seq 1:11 ack 5 win 100 <nop,nop,ts 5 7>");
        for fits in [
            "ACK",
            "PSH,ACK seq 1 len 10",
            "ACK <...>",
            "ACK <ts 5 7>",
            "ACK <ts * 7,...>",
            "ACK <ts>",
            "ACK win 90..100",
            "ACK win 90..",
            "ACK <nop,nop,ts>",
            "PSH,ACK,~URG",
            "ACK <ts 5 ..>",
            "PSH,~ACK",
        ] {
            assert_eq!(words(fits).fits(&seen), Ok(()), "{fits}");
        }
        for differs in [
            "ACK seq 2",
            "SYN,ACK",
            "ACK,-PSH",
            "ACK <>",
            "ACK <sack 1:2,...>",
            "ACK <nop,ts>",
            "ACK win 101..",
            "udp",
            "ACK urg 1",
        ] {
            assert!(words(differs).fits(&seen).is_err(), "{differs}");
        }
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(number("0x10"), Ok(16));
        assert_eq!(number("-3"), Ok(-3));
        assert_eq!(number("2e6"), Ok(2_000_000));
        assert!(number("1..2").is_err());
        assert_eq!(hex("0aff"), Ok(vec![10, 255]));
        assert!(hex("0af").is_err());
    }
}
