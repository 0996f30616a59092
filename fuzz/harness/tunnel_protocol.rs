//! The tunnel's units: in any cut, never beyond their bound, and what is read is written the same.

use bytes::Bytes;
use weir::tunnel::protocol::{
    MAX_BODY, MAX_TEXT, Notice, Request, Unit, UnitReader, read_answer, write_answer,
};

/// Reads `data` as units, cut as its first byte says, and each unit as everything it may be.
pub fn run(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else {
        return;
    };
    let whole = units(rest, usize::MAX);
    let parts = units(rest, usize::from(*cut).max(1));
    assert_eq!(whole, parts, "the cut does not matter");
    for unit in &whole {
        one(unit);
    }
}

/// The units at the front of `data`, until they end or are none.
fn units(data: &[u8], cut: usize) -> Vec<Unit> {
    let mut reader = UnitReader::default();
    let mut units = Vec::new();
    for chunk in data.chunks(cut) {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            match reader.push(&mut input) {
                Ok(Some(unit)) => {
                    assert!(unit.body.len() <= MAX_BODY && !reader.is_partial());
                    units.push(unit);
                }
                Ok(None) => {
                    assert!(input.is_empty(), "all is taken when more is needed");
                    break;
                }
                Err(error) => {
                    assert!(error.to_string().len() < 400);
                    return units;
                }
            }
        }
    }
    units
}

fn one(unit: &Unit) {
    match Request::read(unit) {
        Ok(request) => {
            let mut out = Vec::new();
            request.write(&mut out);
            assert_eq!(Request::read(&single(&out)).as_ref(), Ok(&request));
            answer(&request, unit);
        }
        Err(error) => assert!(!error.status().as_str().is_empty()),
    }
    let listen = Request::ListenDatagrams {
        id: 1,
        bind: ([0; 4], 0).into(),
    };
    for request in [listen, Request::Control(Default::default())] {
        answer(&request, unit);
    }
    if let Ok(notice) = Notice::read(unit) {
        let mut out = Vec::new();
        notice.write(&mut out);
        assert_eq!(Notice::read(&single(&out)), Ok(notice));
    }
}

fn answer(request: &Request, unit: &Unit) {
    let Ok(answer) = read_answer(request, unit) else {
        return;
    };
    if let Err(refusal) = &answer {
        assert!(refusal.reason.len() <= MAX_TEXT);
        assert!(
            !refusal.reason.contains(char::is_control),
            "{:?}",
            refusal.reason
        );
    }
    let mut out = Vec::new();
    write_answer(&answer, &mut out);
    assert_eq!(read_answer(request, &single(&out)).as_ref(), Ok(&answer));
}

/// The one unit in `bytes`.
fn single(bytes: &[u8]) -> Unit {
    let mut input = Bytes::copy_from_slice(bytes);
    let unit = UnitReader::default().push(&mut input);
    assert!(input.is_empty(), "one unit is written");
    match unit {
        Ok(Some(unit)) => unit,
        other => unreachable!("a unit that was written reads as {other:?}"),
    }
}
