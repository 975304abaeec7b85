//! Files of receipts: anybody may have written them, and `hikyaku receipts verify` reads them.

use std::io::BufReader;

use hikyaku_files::receipts::printed::{MAX_LINE, Printed, Receipts};
use hikyaku_files::receipts::verify;

/// A file is read or refused, the same however it comes; what is read prints as it was read, and one byte of it that is
/// changed makes it worth nothing. The first byte says how much is read at a time.
pub fn receipts_file(data: &[u8]) {
    let Some((step, file)) = data.split_first() else { return };
    let mut found = Vec::new();
    let mut is_over = false;
    for receipt in Receipts::of(BufReader::with_capacity(usize::from(*step) + 1, file)) {
        assert!(!is_over, "after an error there is nothing");
        is_over = receipt.is_err();
        found.extend(receipt.ok());
    }
    let whole = Receipts::of(file).map_while(Result::ok);
    assert!(whole.eq(found.iter().cloned()), "the same in pieces");
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    assert!(found.len() <= lines.clone().count());
    assert!(lines.take(found.len()).all(|line| line.len() <= MAX_LINE), "no line is longer");
    for receipt in found {
        let checked = verify(&receipt);
        let told = checked.as_ref().map_err(ToString::to_string);
        let printed = Printed::new(1, "verified", &receipt, told.as_ref().copied());
        let line = serde_json::to_vec(&printed).expect("it has nothing that JSON has not");
        assert_eq!(Printed::read(&line).expect("what is printed is read"), receipt);
        if checked.is_ok() {
            let at = usize::from(*step) % receipt.statement.len();
            let mut changed = receipt.clone();
            changed.statement[at] ^= 1;
            assert!(verify(&changed).is_err());
        }
    }
}
