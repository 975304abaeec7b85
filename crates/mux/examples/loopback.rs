//! How fast the state machine is alone: two connections, no transport, one thread doing the work of both. The figures
//! are for processor time, so that a busy machine does not change them much.
//!
//! ```text
//! cargo run --release -p hikyaku-mux --example loopback
//! ```

use bytes::Bytes;
use hikyaku_mux::{Config, Connection, Dir, Side, StreamId};
use std::time::{Duration, Instant};

/// Bytes handed over at once, as a shell over TLS would.
const CHUNK: usize = 128 * 1024;

fn main() {
    for length in [1 << 20, 16_384, 1024, 64] {
        let (bytes, time) = one_stream(length);
        let gigabytes = bytes as f64 / 1e9 / time.as_secs_f64();
        println!("one stream, writes of {length:>7} bytes: {gigabytes:6.2} GB/s");
    }
    let (exchanges, time) = echoes();
    let nanoseconds = time.as_nanos() as f64 / exchanges as f64;
    println!("streams opened, 64 bytes echoed, closed: {nanoseconds:6.0} ns each, 64 at a time");
    println!("an idle connection: {} bytes", size_of::<Connection>());
}

/// What this thread has used of a processor (Linux).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number");
    Duration::from_nanos(nanoseconds)
}

fn pair() -> (Connection, Connection, Instant) {
    let now = Instant::now();
    let mut client = Connection::new(Side::Client, Config::default(), now);
    let mut server = Connection::new(Side::Server, Config::default(), now);
    carry(&mut client, &mut server, now);
    carry(&mut server, &mut client, now);
    (client, server, now)
}

fn carry(from: &mut Connection, to: &mut Connection, now: Instant) {
    let mut out = Vec::with_capacity(CHUNK);
    while from.poll_transmit(now, &mut out, CHUNK) {
        // The copy that TLS would make is part of the figure.
        to.handle_input(now, Bytes::copy_from_slice(&out));
        out.clear();
    }
}

fn one_stream(length: usize) -> (u64, Duration) {
    let (mut client, mut server, now) = pair();
    let id = client.open(Dir::Uni).expect("allowed");
    let piece = Bytes::from(vec![7; length]);
    let (start, began) = (Instant::now(), processor_time());
    let mut received = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let mut data = piece.clone();
        while client.write(id, &mut data).is_ok_and(|taken| taken > 0) {
            if data.is_empty() {
                data = piece.clone();
            }
        }
        carry(&mut client, &mut server, now);
        received += drain(&mut server, id);
        carry(&mut server, &mut client, now);
    }
    (received, processor_time() - began)
}

fn drain(connection: &mut Connection, id: StreamId) -> u64 {
    let mut bytes = 0;
    while let Ok(Some(piece)) = connection.read(id, usize::MAX) {
        bytes += piece.len() as u64;
    }
    bytes
}

fn echoes() -> (u64, Duration) {
    let (mut client, mut server, now) = pair();
    let message = Bytes::from(vec![7; 64]);
    let (start, began) = (Instant::now(), processor_time());
    let mut done = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let ids: Vec<_> = (0..64).map_while(|_| client.open(Dir::Bi)).collect();
        for id in &ids {
            let _ = client.write(*id, &mut message.clone());
            let _ = client.finish(*id);
        }
        carry(&mut client, &mut server, now);
        while let Some(id) = server.accept(Dir::Bi) {
            while let Ok(Some(mut piece)) = server.read(id, usize::MAX) {
                let _ = server.write(id, &mut piece);
            }
            let _ = server.finish(id);
        }
        carry(&mut server, &mut client, now);
        for id in &ids {
            drain(&mut client, *id);
        }
        for connection in [&mut client, &mut server] {
            while connection.poll_event().is_some() {}
        }
        done += ids.len() as u64;
    }
    (done, processor_time() - began)
}
