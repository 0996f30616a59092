//! One line of a script.

use weir_core::time::Duration;

use super::packet::words::{Words, number};

/// One step of a script.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) when: When,
    pub(crate) step: Step,
}

/// When a step happens, counted from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct When {
    pub(crate) low: Duration,
    /// `None` leaves it open.
    pub(crate) high: Option<Duration>,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// `<`: the host receives a packet. `hold` (`<<`): and does not get to send before the next.
    Send { words: Words, hold: bool },
    /// `>`: the host sends a packet.
    Expect(Words),
    /// Nothing is sent until then.
    Nothing,
    /// Whatever is sent until then is of no interest.
    Skip,
    /// `ignore`: packets like this are of no interest from here on.
    Ignore(Words),
    /// `flow NAME PORT [HOST-PORT]`: what follows is about this connection.
    Flow(Vec<String>),
    /// `isn N`: where the peer's sequence numbers begin in this connection.
    Isn(u32),
    /// Everything else is for the host: words, and the answer that must come.
    Call {
        words: Vec<String>,
        answer: Option<String>,
    },
}

/// The text of a line without its comment.
pub(crate) fn without_comment(text: &str) -> &str {
    let text = text.split_once(" #").map_or(text, |(before, _)| before);
    if text.starts_with('#') {
        ""
    } else {
        text.trim()
    }
}

impl Line {
    /// Reads a line; one that stands for several steps (`by`, `times`) becomes several.
    pub(crate) fn parse(number: usize, text: &str) -> Result<Vec<Self>, String> {
        let (when, rest) = When::parse(text)?;
        let (first, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        let steps = match first {
            "<" | "<<" => packets(behind)?
                .into_iter()
                .map(|words| Step::Send {
                    words,
                    hold: first == "<<",
                })
                .collect(),
            ">" => packets(behind)?.into_iter().map(Step::Expect).collect(),
            "nothing" => vec![Step::Nothing],
            "skip" => vec![Step::Skip],
            "ignore" => packets(behind)?.into_iter().map(Step::Ignore).collect(),
            "flow" => vec![Step::Flow(words(behind))],
            "isn" => vec![Step::Isn(
                u32::try_from(super::packet::words::number(behind.trim())?)
                    .map_err(|_| "no 32-bit number")?,
            )],
            "" => return Err("nothing happens".to_owned()),
            "established" => return opening(number, text, behind),
            _ => vec![call(rest)],
        };
        let now = When {
            low: Duration::ZERO,
            high: Some(Duration::ZERO),
        };
        let lines = steps.into_iter().enumerate().map(|(at, step)| Self {
            number,
            text: text.to_owned(),
            when: if at == 0 { when } else { now },
            step,
        });
        Ok(lines.collect())
    }
}

/// `established [win N] [<options>]`: the host listens, the script's end connects with these
/// options, and the round trip takes 10 ms.
fn opening(number: usize, text: &str, behind: &str) -> Result<Vec<Line>, String> {
    let (win, options) = behind.split_once('<').unwrap_or((behind, "mss 1460>"));
    let win = win.trim().strip_prefix("win ").unwrap_or("65535");
    let stamp = match options.contains("ts ") {
        true => "<nop,nop,ts 110 0>",
        false => "",
    };
    let lines = [
        "listen".to_owned(),
        format!("< SYN seq 0 win {win} <{options}"),
        "> SYN,ACK seq 0 len 0 ack 1".to_owned(),
        format!("+10 < ACK seq 1 ack 1 win {win} {stamp}"),
        "accept = ok".to_owned(),
    ];
    let mut out = Vec::new();
    for line in lines {
        let text = format!("{text}: {line}");
        let lines = Line::parse(number, line.trim())?;
        out.extend(lines.into_iter().map(|line| Line {
            text: text.clone(),
            ..line
        }));
    }
    Ok(out)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn call(text: &str) -> Step {
    let (call, answer) = match text.split_once(" = ") {
        Some((call, answer)) => (call, Some(answer.trim().to_owned())),
        None => (text, None),
    };
    Step::Call {
        words: words(call),
        answer,
    }
}

/// One packet, or the several that `seq 1:2921 by 1460` or `times 3` stand for.
fn packets(text: &str) -> Result<Vec<Words>, String> {
    let mut words = Words::parse(text)?;
    let (by, times) = (words.number("by")?, words.number("times")?);
    words
        .fields
        .retain(|(name, _)| name != "by" && name != "times");
    if let Some(times) = times {
        let times = usize::try_from(times).map_err(|_| "how often?")?;
        return Ok(vec![words; times]);
    }
    let Some(by) = by else {
        return Ok(vec![words]);
    };
    let (Some(first), Some(len)) = (words.number("seq")?, words.number("len")?) else {
        return Err("by goes with seq from:to".to_owned());
    };
    if by <= 0 || len / by > 10_000 {
        return Err("by how much?".to_owned());
    }
    let (mut at, end, mut out) = (first, first + len, Vec::new());
    while at < end {
        let mut one = words.clone();
        one.fields
            .retain(|(name, _)| name != "seq" && name != "len");
        one.push("seq", at);
        one.push("len", by.min(end - at));
        out.push(one);
        at += by;
    }
    Ok(out)
}

impl When {
    /// Reads the time in front of a line: `+5`, `+5..10`, `+5..`, `+*`; none is `+0`.
    fn parse(text: &str) -> Result<(Self, &str), String> {
        let Some(rest) = text.strip_prefix('+') else {
            let zero = Some(Duration::ZERO);
            return Ok((
                Self {
                    low: Duration::ZERO,
                    high: zero,
                },
                text,
            ));
        };
        let (time, rest) = rest.split_once(' ').ok_or("a time and nothing else")?;
        let (low, high) = match time.split_once("..") {
            _ if time == "*" => (Duration::ZERO, None),
            Some((low, "")) => (duration(low)?, None),
            Some((low, high)) => (duration(low)?, Some(duration(high)?)),
            None => (duration(time)?, Some(duration(time)?)),
        };
        Ok((Self { low, high }, rest.trim_start()))
    }
}

/// A number of milliseconds, or of `us`, `s`, `m`, `h`, `d`.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let value = u64::try_from(number(digits)?).map_err(|_| "time does not run backwards")?;
    let micros = match unit {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(format!("{unit:?} is no unit of time")),
    };
    let micros = value.checked_mul(micros).ok_or("too long")?;
    Ok(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Line {
        Line::parse(1, text).unwrap().remove(0)
    }

    #[test]
    fn times_are_read() {
        let ms = Duration::from_millis;
        let when = |text| one(text).when;
        assert_eq!(when("nothing").low, ms(0));
        assert_eq!(when("+5 nothing").high, Some(ms(5)));
        let range = when("+1..2s nothing");
        assert_eq!((range.low, range.high), (ms(1), Some(ms(2_000))));
        assert_eq!(when("+3.. nothing").high, None);
        assert_eq!(when("+* nothing").high, None);
        for wrong in ["+5", "+x nothing", "+5y nothing", ""] {
            assert!(Line::parse(1, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_line_may_be_several_segments() {
        let lines = Line::parse(1, "+7 > ACK seq 1:3001 by 1460 ack 1").unwrap();
        let seqs: Vec<_> = lines
            .iter()
            .map(|line| match &line.step {
                Step::Expect(words) => (words.number("seq").unwrap(), words.number("len").unwrap()),
                other => panic!("{other:?}"),
            })
            .collect();
        let pair = |seq, len| (Some(seq), Some(len));
        assert_eq!(seqs, [pair(1, 1460), pair(1461, 1460), pair(2921, 80)]);
        assert_eq!(lines[1].when.high, Some(Duration::ZERO));
        assert_eq!(Line::parse(1, "< ACK seq 1 times 3").unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_of_the_script_is_for_the_host() {
        let Step::Call { words, answer } = one("write 1000 = 1000").step else {
            panic!("not a call");
        };
        assert_eq!((words.len(), answer.as_deref()), (2, Some("1000")));
        assert_eq!(without_comment("< SYN # why"), "< SYN");
        assert_eq!(without_comment("# T1"), "");
    }
}
