use proptest::prelude::*;

use super::*;

fn link() -> InviteLink {
    InviteLink {
        addresses: vec!["example.org:4747".parse().unwrap(), "[2001:db8::1]:4747".parse().unwrap()],
        host: KeyId::from_bytes([7; 32]),
        invite: InviteId([8; 8]),
        secret: Secret::from_bytes([9; 16]),
    }
}

#[test]
fn a_link_is_one_line_in_one_spelling() {
    let text = link().to_string();
    let start = "hikyaku://example.org:4747,[2001:db8::1]:4747/#";
    let words =
        "a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dq.baeaqcaibaeaq.beeqscijbeeqscijbeeqscijbe";
    assert_eq!(text, format!("{start}{words}"));
    assert_eq!(text.parse(), Ok(link()));
}

#[test]
fn debug_hides_the_secret_of_a_link() {
    let shown = format!("{:?}", link());
    assert!(shown.contains("Secret(hidden)"), "{shown}");
    assert!(!shown.contains(&base32(&[9; 16])) && !shown.contains("9, 9"), "{shown}");
}

//= S6.10 (test)
#[test]
fn what_is_wrong_with_a_link_is_said_without_quoting_it() {
    let good = link().to_string();
    let cases = [
        (good.replace("hikyaku", "http"), LinkError::Scheme),
        (good.replace("/#", "/"), LinkError::Fragment),
        (format!("{good}.more"), LinkError::Words),
        (good.rsplit_once('.').unwrap().0.to_owned(), LinkError::Words),
        (good[..good.len() - 1].to_owned(), LinkError::Word { what: "secret", characters: 26 }),
        (format!("{good}\n"), LinkError::Word { what: "secret", characters: 26 }),
        (
            good.to_uppercase().replace("HIKYAKU", "hikyaku"),
            LinkError::Word { what: "host id", characters: 52 },
        ),
        (good.replace(":4747,", ","), LinkError::Address { number: 1, source: AddressError::NoPort }),
        (good.replace("example", "ex ample"), LinkError::Address { number: 1, source: AddressError::Host }),
        (
            good.replace("[2001:db8::1]", "2001:db8::1"),
            LinkError::Address { number: 2, source: AddressError::Brackets },
        ),
        ("hikyaku://".to_owned() + &"x".repeat(MAX_LINK), LinkError::TooLong),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<InviteLink>(), Err(error.clone()), "{text}");
        assert!(!error.to_string().contains("example.org"), "{error}");
    }
}

#[test]
fn bits_behind_the_last_byte_of_a_word_must_be_zero() {
    // 13 characters hold 65 bits; the last bit belongs to no byte.
    assert!(parse_invite_id("aaaaaaaaaaaaa").is_ok());
    assert!(parse_invite_id("aaaaaaaaaaaab").is_err());
}

#[test]
fn sixteen_addresses_fit_and_seventeen_do_not() {
    let list = |count: usize| vec!["h:1"; count].join(",");
    assert_eq!(split(&list(MAX_ADDRESSES)).map(|found| found.len()), Ok(MAX_ADDRESSES));
    assert_eq!(split(&list(MAX_ADDRESSES + 1)), Err(LinkError::Addresses));
}

#[test]
fn the_longest_link_may_be_read() {
    let name =
        [&"a".repeat(63), &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)].map(String::as_str).join(".");
    let addresses = vec![Address::new(&name, 65_535).unwrap(); MAX_ADDRESSES];
    let text = InviteLink { addresses, ..link() }.to_string();
    assert!(text.parse::<InviteLink>().is_ok(), "{} bytes", text.len());
}

#[test]
fn addresses_are_read_strictly() {
    for text in [
        "h:0",
        "h:65536",
        "h:+1",
        "h:01",
        "h:",
        ":1",
        "h",
        "[::1]",
        "[::1:1",
        "[1.2.3.4]:1",
        "::1:1",
        "1.2.3:1",
    ] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    for text in ["-h:1", "h-.x:1", "a..b:1", "h\u{202e}:1", "ドメイン:1", "user@h:1", "[fe80::1%eth0]:1"]
    {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    for text in ["h:1", "1.2.3.4:65535", "[::1]:4747", "my_host.local:80"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    assert_eq!(Address::new("::1", 1).unwrap().to_string(), "[::1]:1");
    assert!(Address::new("h", 0).is_err());
}

fn any_address() -> impl Strategy<Value = Address> {
    let host = prop_oneof![
        "[a-z][a-z0-9]{0,10}(\\.[a-z]{1,5}){0,3}",
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_string()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).to_string()),
    ];
    (host, 1u16..).prop_map(|(host, port)| Address::new(&host, port).unwrap())
}

proptest! {
    #[test]
    fn every_link_reads_back_as_itself(
        addresses in proptest::collection::vec(any_address(), 1..=MAX_ADDRESSES),
        host: [u8; 32], invite: [u8; 8], secret: [u8; 16],
    ) {
        let link = InviteLink {
            addresses,
            host: KeyId::from_bytes(host),
            invite: InviteId(invite),
            secret: Secret::from_bytes(secret),
        };
        prop_assert_eq!(link.to_string().parse(), Ok(link));
    }

    #[test]
    fn what_parses_prints_the_same_but_for_capitals_in_host_names(
        start in "(hikyaku://)?", middle in "[a-zA-Z0-9:.,\\[\\]-]{0,30}", end in "(/#)?[a-z2-7.]{0,100}",
    ) {
        let text = format!("{start}{middle}{end}");
        if let Ok(link) = text.parse::<InviteLink>() {
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }
    }
}
