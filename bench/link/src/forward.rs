//! One direction: packets in, the queue's rules, packets out when their time has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{GROTable, IDEAL_BATCH_SIZE, SyncDevice, VIRTIO_NET_HDR_LEN};

use crate::options::Options;

/// Larger than any packet of the device.
const PACKET: usize = 2048;
/// In front of each packet there is room for the device's own header.
const HEADER: usize = VIRTIO_NET_HDR_LEN;
/// What the system hands over at once: up to 64 KiB of segments, which are packets of their own here.
const SEGMENTS: usize = HEADER + 65_535;

/// What happened to packets.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handed to the other end.
    pub forwarded: AtomicU64,
    /// Found the queue full.
    pub dropped: AtomicU64,
    /// Lost by the seed's will.
    pub lost: AtomicU64,
}

/// When each packet leaves, or that it does not. Pure: time is given.
#[derive(Debug)]
pub struct Queue {
    rate: u64,
    limit: usize,
    delay: Duration,
    loss_ppm: u64,
    random: u64,
    /// When the last packet will have left the queue.
    free_at: Instant,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives then.
    Arrives(Instant),
    /// The queue was full.
    Dropped,
    /// It is lost.
    Lost,
}

impl Queue {
    /// An empty one; `direction` gives each its own losses.
    pub fn new(options: &Options, direction: u64, now: Instant) -> Self {
        let random = options.seed.wrapping_mul(2).wrapping_add(direction);
        let Options { rate, delay, queue, loss_ppm, .. } = *options;
        Self { rate, limit: queue, delay, loss_ppm, random, free_at: now }
    }

    /// Takes a packet of so many bytes.
    pub fn take(&mut self, length: usize, now: Instant) -> Fate {
        let random = self.next_random();
        let begins = self.free_at.max(now);
        let waiting = (begins - now).as_secs_f64() * self.rate as f64 / 8.0;
        if waiting + length as f64 > self.limit as f64 {
            return Fate::Dropped;
        }
        self.free_at = begins + Duration::from_secs_f64(length as f64 * 8.0 / self.rate as f64);
        // A lost packet has taken its place on the way nevertheless.
        if random % 1_000_000 < self.loss_ppm {
            return Fate::Lost;
        }
        Fate::Arrives(self.free_at + self.delay)
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Starts the two threads of one direction; they end with the process.
pub fn start(
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    options: &Options,
    direction: u64,
    counts: Arc<Counts>,
) {
    let mut queue = Queue::new(options, direction, Instant::now());
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let arrived = counts.clone();
    thread::spawn(move || {
        let (mut whole, mut lengths) = (vec![0; SEGMENTS], [0; IDEAL_BATCH_SIZE]);
        let mut packets = vec![vec![0; HEADER + PACKET]; IDEAL_BATCH_SIZE];
        while let Ok(count) = from.recv_multiple(&mut whole, &mut packets, &mut lengths, HEADER) {
            let now = Instant::now();
            for (packet, length) in packets.iter().zip(lengths).take(count) {
                match queue.take(length, now) {
                    // The channel is bounded by the queue's limit and the delay.
                    Fate::Arrives(at) => {
                        if sender.send((at, packet[..HEADER + length].to_vec())).is_err() {
                            return;
                        }
                    }
                    Fate::Dropped => drop(counts.dropped.fetch_add(1, Ordering::Relaxed)),
                    Fate::Lost => drop(counts.lost.fetch_add(1, Ordering::Relaxed)),
                }
            }
        }
    });
    thread::spawn(move || {
        let (mut table, mut later) = (GROTable::default(), None);
        while let Some((at, packet)) = later.take().or_else(|| receiver.recv().ok()) {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // Whatever is due by now goes in one call: at a gigabit a second some packets are, after every sleep.
            let (now, mut due) = (Instant::now(), vec![packet]);
            while later.is_none() && due.len() < IDEAL_BATCH_SIZE {
                match receiver.try_recv() {
                    Ok((at, packet)) if at <= now => due.push(packet),
                    Ok(packet) => later = Some(packet),
                    Err(_) => break,
                }
            }
            arrived.forwarded.fetch_add(due.len() as u64, Ordering::Relaxed);
            // A device that is down loses them, as a cable would.
            let _ = to.send_multiple(&mut table, &mut due, HEADER);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_leave_at_the_rate_after_the_delay_and_a_full_queue_drops() {
        let now = Instant::now();
        let options = Options { rate: 8_000_000, queue: 3000, ..Options::standard() };
        let mut queue = Queue::new(&options, 0, now);
        let ms = |ms: u64| Fate::Arrives(now + Duration::from_millis(ms));
        assert_eq!(
            [queue.take(1000, now), queue.take(1000, now), queue.take(1000, now)],
            [ms(11), ms(12), ms(13)]
        );
        assert_eq!(queue.take(1000, now), Fate::Dropped);
        assert_eq!(queue.take(1000, now + Duration::from_millis(1)), ms(14));
    }

    #[test]
    fn the_same_seed_loses_the_same_packets_and_about_as_many_as_asked_for() {
        let options = Options { loss_ppm: 100_000, queue: usize::MAX, ..Options::standard() };
        let now = Instant::now();
        let lost = |direction| -> Vec<usize> {
            let mut queue = Queue::new(&options, direction, now);
            (0..10_000).filter(|_| queue.take(100, now) == Fate::Lost).collect()
        };
        assert_eq!(lost(0), lost(0));
        assert_ne!(lost(0), lost(1));
        assert!((900..1100).contains(&lost(0).len()), "{}", lost(0).len());
    }
}
