use super::*;

#[test]
fn every_name_is_unique_snake_case_and_has_its_own_counter() {
    let mut seen = std::collections::HashSet::new();
    for (index, name) in Name::ALL.iter().enumerate() {
        assert_eq!(*name as usize, index);
        assert!(seen.insert(name.as_str()), "{name}");
        assert!(name.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
    }
}

#[test]
fn what_a_peer_wrote_is_escaped_in_an_events_line_and_kept_as_it_was() {
    let event = Event::HelloReceived {
        agent: "evil\u{1b}[2J\n\u{202e}".into(),
        max_message: 1,
        max_metadata: 2,
        max_datagram: 3,
    };
    let line = event.to_string();
    assert_eq!(
        line,
        "hello_received agent=evil\\u{1b}[2J\\u{a}\\u{202e} max_message=1 max_metadata=2 max_datagram=3"
    );
    assert!(!format!("{event:?}").contains('\u{1b}'));
    let Event::HelloReceived { agent, .. } = event else { unreachable!() };
    assert_eq!(agent.as_str(), "evil\u{1b}[2J\n\u{202e}");
}

#[test]
fn an_event_counts_for_its_connection_and_for_the_endpoint_and_costs_no_fields_unless_somebody_listens() {
    let endpoint = Recorder::endpoint(None);
    let (one, other) = (endpoint.connection(), endpoint.connection());
    event!(one, GoawaySent { grace_ms: never() });
    event!(other, times = 3, DatagramDropped { reason: never(), count: 3 });
    assert_eq!((one.counts().of(Name::GoawaySent), one.counts().of(Name::DatagramDropped)), (1, 0));
    assert_eq!((endpoint.counts().of(Name::GoawaySent), endpoint.counts().of(Name::DatagramDropped)), (1, 3));
}

#[test]
fn a_connections_counter_that_is_full_stays_full_and_its_endpoint_counts_on() {
    let endpoint = Recorder::endpoint(None);
    let (one, most) = (endpoint.connection(), u64::from(u32::MAX));
    for times in [most - 1, 1, 7] {
        one.count(Name::DatagramDropped, times);
    }
    assert_eq!(one.counts().of(Name::DatagramDropped), most);
    assert_eq!(endpoint.counts().of(Name::DatagramDropped), most + 7);
}

#[test]
fn an_observer_of_the_endpoint_hears_what_happens_on_its_connections_with_their_numbers() {
    let log = Log::default();
    let endpoint = Recorder::endpoint(Some(std::sync::Arc::new(log.observer())));
    let connection = endpoint.connection();
    event!(endpoint, GoawaySent { grace_ms: 1 });
    event!(connection, GoawaySent { grace_ms: 2 });
    let records = log.records();
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].connection, &records[0].event), (0, &Event::GoawaySent { grace_ms: 1 }));
    assert!(records[1].connection > 0);
    assert_eq!(log.count(|event| matches!(event, Event::GoawaySent { grace_ms: 2 })), 1);
}

fn never<T>() -> T {
    panic!("a field was evaluated although nobody listens")
}
