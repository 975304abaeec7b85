//! Links by their text.

use super::applying::leads_out;

#[test]
fn a_link_leads_out_when_its_text_may_lead_above_the_top() {
    for (target, depth, out) in [
        ("/", 5, true),
        ("/etc/passwd", 5, true),
        ("a", 0, false),
        ("a/b/c", 0, false),
        ("./a//b/.", 0, false),
        ("..", 0, true),
        ("..", 1, false),
        ("../..", 1, true),
        ("../../x", 2, false),
        ("./../x", 0, true),
        // "a" may be a link to anywhere inside; what lies above where it points is not known.
        ("a/..", 3, true),
        ("a/../../..", 3, true),
        ("..a/b..", 0, false),
        ("...", 0, false),
    ] {
        assert_eq!(leads_out(target.as_bytes(), depth), out, "{target} at depth {depth}");
    }
}
