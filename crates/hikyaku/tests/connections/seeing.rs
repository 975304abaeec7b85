//! Key logs and recordings: what an explicit call shows, and that nothing else does.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use hikyaku::{Exchange, Identity, KeyLog, Recording, Result, Router, Server, Transport};
use hikyaku_wire::recording::{Entry, Kind, MAGIC};
use hikyaku_wire::varint;

use super::common::echo;

/// What was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// The lines that hold a session's secrets; the order does not matter.
    fn lines(&self) -> BTreeSet<String> {
        String::from_utf8(self.bytes()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_key_log_has_the_same_secrets_on_both_sides_in_the_format_that_others_read() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (of_server, of_client) = (Written::default(), Written::default());
        let server = Server::builder(Identity::generate().unwrap())
            .key_log(&KeyLog::to_writer(of_server.clone()))
            .start()
            .await
            .unwrap();
        let keys = KeyLog::to_writer(of_client.clone());
        hikyaku::connect(server.address(), server.id()).transport(transport).key_log(&keys).await.unwrap();
        let lines = of_client.lines();
        assert_eq!(lines, of_server.lines());
        let labels: BTreeSet<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"] {
            assert!(labels.contains(label), "{labels:?}");
        }
        for label in ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] {
            assert!(labels.contains(label), "{labels:?}");
        }
        for line in &lines {
            let fields: Vec<_> = line.split(' ').collect();
            assert_eq!((fields.len(), fields[1].len(), fields[2].len()), (3, 64, 96), "{line}");
            assert!(fields[1..].iter().all(|hex| hex.chars().all(|c| c.is_ascii_hexdigit())), "{line}");
        }
    }
}

#[test]
fn the_files_of_key_logs_and_recordings_are_for_their_owner_alone_and_never_links() {
    let place = tempfile::tempdir().unwrap();
    let open = place.path().join("open");
    std::fs::write(&open, "before\n").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
    KeyLog::to_file(&open).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&open), std::fs::read(&open).unwrap()), (0o600, b"before\n".to_vec()));
    let link = place.path().join("link");
    std::os::unix::fs::symlink(&open, &link).unwrap();
    assert!(KeyLog::to_file(&link).unwrap_err().to_string().contains("link"));
    assert!(KeyLog::to_file(place.path()).is_err(), "a directory");
    let recording = place.path().join("recording");
    Recording::to_file(&recording).unwrap();
    assert_eq!(mode(&recording), 0o600);
    assert!(Recording::to_file(&recording).unwrap_err().to_string().contains("recording"), "it exists");
}

/// The entries of a recording.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut rest = bytes.strip_prefix(MAGIC).unwrap();
    let mut entries = Vec::new();
    while let Some((length, size)) = varint::decode(rest) {
        let end = size + usize::try_from(length).unwrap();
        entries.push(Entry::decode(&rest[size..end]).unwrap());
        rest = &rest[end..];
    }
    assert!(rest.is_empty(), "entries are whole");
    entries
}

#[tokio::test]
async fn a_recording_has_every_byte_of_both_directions_and_both_sides_recorded_the_same() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let (of_server, of_client) = (Written::default(), Written::default());
        let server = Server::builder(Identity::generate().unwrap())
            .router(Router::new().route("echo/1", echo))
            .record(&Recording::to_writer(of_server.clone()).unwrap())
            .start()
            .await
            .unwrap();
        let recording = Recording::to_writer(of_client.clone()).unwrap();
        let client = hikyaku::connect(server.address(), server.id())
            .transport(transport)
            .record(&recording)
            .await
            .unwrap();
        let answer: String = client.call("echo/1", "", &"found me").await.unwrap();
        assert_eq!(answer, "found me");
        client.close().await;
        while entries(&of_server.bytes()).last().map(|entry| entry.kind) != Some(Kind::End) {
            tokio::task::yield_now().await;
        }
        // Per direction and stream, what was sent is what was received.
        let joined = |written: &Written, received: bool| {
            let mut streams = std::collections::BTreeMap::<Option<u64>, Vec<u8>>::new();
            for entry in entries(&written.bytes()) {
                if let (true, Some(bytes)) = (entry.received == received, &entry.bytes) {
                    streams.entry(entry.stream).or_default().extend_from_slice(bytes);
                }
            }
            streams
        };
        assert_eq!(joined(&of_client, false), joined(&of_server, true), "{transport}");
        for (side, begins) in [(&of_client, "client over"), (&of_server, "server over")] {
            let entries = entries(&side.bytes());
            let first = entries.first().unwrap();
            assert_eq!(first.kind, Kind::Begin);
            assert!(first.text.as_ref().is_some_and(|text| text.starts_with(begins)), "{first:?}");
            assert!(entries.is_sorted_by_key(|entry| entry.at));
            for received in [false, true] {
                let all: Vec<u8> = joined(side, received).into_values().flatten().collect();
                assert!(all.windows(8).any(|window| window == b"found me"), "{transport} {received}");
            }
        }
    }
}

/// Says a word and two datagrams that come back.
async fn talk_back(mut exchange: Exchange) -> Result<()> {
    let datagrams = exchange.datagrams();
    exchange.send(&"ready").await?;
    for _ in 0..2 {
        let payload = datagrams.receive().await?;
        datagrams.send(&payload)?;
    }
    // Whoever answers before the other's end has come says that it wants no more, and then no end comes.
    exchange.ended().await?;
    exchange.reply(&"done").await
}

#[tokio::test]
async fn a_recording_says_how_streams_and_the_connection_ended_and_has_every_datagram() {
    let (of_server, of_client) = (Written::default(), Written::default());
    let server = Server::builder(Identity::generate().unwrap())
        .router(Router::new().route("talk/1", talk_back))
        .record(&Recording::to_writer(of_server.clone()).unwrap())
        .start()
        .await
        .unwrap();
    let recording = Recording::to_writer(of_client.clone()).unwrap();
    let connect = hikyaku::connect(server.address(), server.id()).transport(Transport::Quic);
    let client = connect.record(&recording).await.unwrap();
    let mut exchange = client.open("talk/1", "").await.unwrap();
    let datagrams = exchange.datagrams();
    exchange.flush().await.unwrap();
    assert_eq!(exchange.receive::<String>().await.unwrap(), "ready");
    for word in [b"here", b"back"] {
        datagrams.send(word).unwrap();
        assert_eq!(&datagrams.receive().await.unwrap()[..], word);
    }
    exchange.finish().await.unwrap();
    assert_eq!(exchange.receive::<String>().await.unwrap(), "done");
    exchange.ended().await.unwrap();
    client.close().await;
    while entries(&of_server.bytes()).last().map(|entry| entry.kind) != Some(Kind::End) {
        tokio::task::yield_now().await;
    }
    for (written, closed_by_peer) in [(&of_client, false), (&of_server, true)] {
        let entries = entries(&written.bytes());
        let of = |kind: Kind, received: bool| {
            entries
                .iter()
                .filter(move |entry| (entry.kind, entry.received) == (kind, received))
                .collect::<Vec<_>>()
        };
        for received in [false, true] {
            // The exchange's stream is the client's first.
            let fins = of(Kind::Fin, received);
            assert!(fins.iter().any(|entry| entry.stream == Some(0)), "{received}: {fins:?}");
            let words = of(Kind::Datagram, received);
            let ends: Vec<_> = words.iter().map(|entry| entry.bytes.as_ref().unwrap()).collect();
            assert_eq!(ends.len(), 2, "{received}: {words:?}");
            assert!(ends[0].ends_with(b"here") && ends[1].ends_with(b"back"), "{received}: {words:?}");
        }
        assert_eq!(
            (of(Kind::End, true).len(), of(Kind::End, false).len()),
            (usize::from(closed_by_peer), usize::from(!closed_by_peer))
        );
    }
}
