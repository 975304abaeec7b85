//! Looking at bytes: the crate `hikyaku-inspect`, which must show whatever it is given.

use hikyaku_inspect::{Input, Inspector, limits, rule_names};

/// The first byte says what the rest is and how it is cut. Never panics, shows nothing that a terminal obeys, and says no
/// more of a message than its limit.
pub fn inspect(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let rules = rule_names();
    let input = match choice % 4 {
        _ if *choice >= 252 => Input::Bundle,
        0 => Input::Recording,
        1 => Input::Records,
        2 => Input::Stream,
        _ => Input::Message(rules.get(usize::from(choice / 4)).map(|rule| (*rule).to_owned())),
    };
    let piece = usize::from(choice / 4) + 1;
    let (mut lines, mut told) = (0_usize, 0_u64);
    let mut see = |line: hikyaku_inspect::Line| {
        lines += 1;
        told += u64::from(line.is_error);
        assert!(line.cbor.as_ref().is_none_or(|text| text.len() < limits::TEXT + 1000));
        let text = line.to_string();
        assert!(!text.contains(|c: char| c != '\n' && hikyaku_wire::text::is_hostile(c)), "{text:?}");
    };
    let mut inspector = Inspector::new(input);
    bytes.chunks(piece).for_each(|piece| inspector.push(piece, &mut see));
    let errors = inspector.finish(&mut see);
    assert_eq!(errors, told);
    // A byte is at most a frame, its end, and an error about each.
    assert!(lines <= 4 * bytes.len() + 4, "{lines} lines of {} bytes", bytes.len());
}
