//! What the vectors' checks promise.

use super::cddl::Cddl;
use super::*;

fn cddl() -> Cddl {
    Cddl::load(&root().join("spec/hikyaku.cddl")).unwrap()
}

#[test]
fn a_message_of_another_shape_fails_the_cddl() {
    let cddl = cddl();
    for (ty, bytes) in [
        ("open", &b"\xa1\x00\x65chat!"[..]),                        // no method
        ("open", b"\xa2\x00\x60\x01\x60"),                          // empty protocol
        ("open", b"\xa3\x00\x61x\x01\x60\x02\x61x"),                // a deadline that is text
        ("open", b"\xa3\x00\x61x\x01\x60\x05\x00"),                 // a key below 24 that nobody defined
        ("hello", b"\xa3\x00\xa2\x00\x01\x01\x01\x01\x80\x02\x60"), // limits without max_datagram
        ("answer", b"\x82\x02\xa0"),                                // a tag that nobody defined
        ("goaway", b"\xa3\x00\x0b\x01\x20\x02\x60"),                // a negative time
    ] {
        assert!(cddl.judge(ty, bytes).is_err(), "{ty}: {}", hex(bytes));
    }
    assert!(cddl.judge("open", b"\xa3\x00\x61x\x01\x60\x18\x21\x00").is_ok(), "grease is permitted");
}

#[test]
fn every_sample_satisfies_the_profile_and_its_type() {
    let cddl = cddl();
    for (_, _, samples) in samples::families() {
        for sample in samples {
            sample.vector(&cddl).unwrap();
        }
    }
}
