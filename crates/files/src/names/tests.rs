use proptest::prelude::*;

use super::*;

/// Names that would leave the directory, hide in it, or be no name at all.
fn evil() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "",
        ".",
        "..",
        "/",
        "//",
        "///",
        "a/",
        "/a",
        "a/b",
        "../a",
        "..//a",
        "a/..",
        "a/../b",
        "./a",
        "a/.",
        "../..",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "/etc/shadow",
        "//server/share",
        "a//b",
        "/proc/self/root",
        "/proc/self/fd/3",
        "/dev/null",
        "/dev/stdin",
        "~/../x",
        "..\u{2f}..",
        "....//",
        "x/../../y",
        "/../",
        "/./",
        "a/\u{0}",
        "\u{0}",
        "a\u{0}",
        "\u{0}a",
        "a\u{0}b",
        "safe\u{0}/../../x",
        "..\u{0}",
        ".\u{0}",
        "name\u{0}.txt",
        ".bashrc",
        ".profile",
        ".ssh",
        ".ssh/authorized_keys",
        ".git",
        ".gitconfig",
        ".config",
        ".netrc",
        ".rhosts",
        ".forward",
        ".htaccess",
        ".env",
        "...",
        "....",
        ". ",
        ".. ",
        ". .",
        ".\t",
        "..\n",
        ".\u{200b}",
        "..\u{202e}",
        ".a",
        "..a",
        "...a",
        ".hikyaku",
        ".hikyaku-0",
        ".hikyaku-00.part",
        ".hikyaku-00.journal",
        ".hikyaku/x",
        ".hikyakuX",
        "\u{2e}\u{2e}",
        "\u{2e}x",
        "bin/../../x",
        "sub/./../..",
    ]
    .into_iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    all.push(vec![b'x'; 256]);
    all.push(vec![b'x'; 65_536]);
    all.push("é".repeat(128).into_bytes());
    all.push(b".\xff".to_vec());
    all.push(b"..\xff/".to_vec());
    all.push(b"\xff/\xff".to_vec());
    all
}

//= S5.20 (test)
#[test]
fn every_evil_name_is_refused() {
    let evil = evil();
    assert!(evil.len() >= 60, "{}", evil.len());
    for name in evil {
        assert!(SafeName::parse(&name, Dots::Refused).is_err(), "{}", escape(&name));
    }
}

#[test]
fn even_with_dots_allowed_nothing_leaves_and_nothing_of_ours_is_named() {
    for name in evil() {
        let Ok(name) = SafeName::parse(&name, Dots::Allowed) else { continue };
        let bytes = name.as_bytes();
        assert!(bytes.starts_with(b".") && bytes != b"." && bytes != b"..");
        assert!(!bytes.contains(&b'/') && !bytes.contains(&0) && !bytes.starts_with(b".hikyaku"));
    }
}

#[test]
fn what_a_unix_file_system_allows_is_kept_byte_for_byte() {
    for name in [
        &b"plain.txt"[..],
        b"with space",
        b"new\nline",
        b"\x1b[31mred",
        b"\xff\xfe\x80",
        b"-rf",
        b"--",
        b"*",
        b"~",
        b"a\\b",
        b"C:",
        b"CON",
        b"a:b",
        b" ",
        b"x.",
        "日本語".as_bytes(),
        "\u{202e}gpj.exe".as_bytes(),
        &[b'x'; 255],
        b"\x7f",
        b"a..b",
        b"a..",
    ] {
        assert_eq!(SafeName::parse(name, Dots::Refused).unwrap().as_bytes(), name);
    }
}

#[test]
fn the_limits_of_a_path_hold_at_n_and_fail_at_n_plus_1() {
    let names = |count: usize, len: usize| {
        let all = vec![vec![b'x'; len]; count];
        SafeRelPath::parse(all.iter().map(Vec::as_slice), Dots::Refused)
    };
    assert!(names(1, 255).is_ok());
    assert_eq!(names(1, 256), Err(NameError::TooLong(256)));
    assert!(names(64, 63).is_ok());
    assert_eq!(names(65, 1), Err(NameError::TooDeep(65)));
    assert_eq!(names(64, 64), Err(NameError::PathTooLong(64 * 65)));
}

//= S5.21 (test)
#[test]
fn one_bad_component_spoils_a_path() {
    for name in evil() {
        let path = [&b"ok"[..], &name, b"ok"];
        assert!(SafeRelPath::parse(path, Dots::Refused).is_err(), "{}", escape(&name));
    }
    assert_eq!(SafeRelPath::parse([&b"a"[..], b"b"], Dots::Refused).unwrap().to_os_string(), "a/b");
    assert_eq!(SafeRelPath::default().to_os_string(), ".");
}

//= S5.23 (test)
#[test]
fn what_is_printed_cannot_act_on_a_terminal() {
    for (name, printed) in [
        (&b"plain"[..], "plain"),
        (b"a\\b", "a\\\\b"),
        (b"\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
        (b"two\nlines\r\t", "two\\nlines\\r\\t"),
        (b"\xff\xc3", "\\xff\\xc3"),
        ("\u{202e}gpj.exe".as_bytes(), "\\u{202e}gpj.exe"),
        ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
        ("\u{2066}x\u{2069}".as_bytes(), "\\u{2066}x\\u{2069}"),
        ("日本語 ü".as_bytes(), "日本語 ü"),
        ("\u{e0041}\u{feff}".as_bytes(), "\\u{e0041}\\u{feff}"),
    ] {
        assert_eq!(escape(name).to_string(), printed);
    }
}

proptest! {
    #[test]
    fn any_name_is_safe_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(name) = SafeName::parse(&bytes, Dots::Allowed) {
            prop_assert_eq!(name.as_bytes(), &bytes[..]);
            prop_assert_eq!(std::path::Path::new(name.as_os_str()).components().count(), 1);
            let joined = std::path::Path::new("/root").join(name.as_os_str());
            prop_assert_eq!(joined.parent(), Some(std::path::Path::new("/root")));
        }
    }

    #[test]
    fn escaping_is_plain_and_tells_different_names_apart(a in proptest::collection::vec(any::<u8>(), 0..60),
                                                          b in proptest::collection::vec(any::<u8>(), 0..60)) {
        let (x, y) = (escape(&a).to_string(), escape(&b).to_string());
        prop_assert!(!x.chars().any(char::is_control));
        prop_assert_eq!(a == b, x == y);
    }
}
