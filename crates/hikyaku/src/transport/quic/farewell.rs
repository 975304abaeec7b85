//! Congestion control that lets a closed connection say so.
//!
//! quinn-proto 0.11.19 asks the congestion controller before it sends CONNECTION_CLOSE whenever something else waits that
//! would be acknowledged, such as the RESET_STREAM of an exchange that was let go. Once a connection is closed it looks at
//! no acknowledgement any more: a window that is full then stays full, the close is never sent, and the peer keeps the
//! connection until its idle timeout. A packet of CONNECTION_CLOSE alone is not in flight (RFC 9002, 2) and needs no
//! window, so the controller has no limit from the moment the connection is closed. Nothing but the close is sent then.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn::Connection;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};

/// Larger than whatever is in flight; quinn does not pace a window beyond 2^32.
const NO_LIMIT: u64 = 1 << 62;

/// Makes the controllers of new connections: Cubic, which is quinn's own choice, until the end.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    cubic: Arc<CubicConfig>,
}

impl ControllerFactory for Congestion {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = self.cubic.clone().build(now, current_mtu);
        Box::new(UntilClosed { inner, closed: Arc::default() })
    }
}

/// To be called right before the connection is closed.
pub(super) fn lift_limit(connection: &Connection) {
    // Every path of a connection has a controller of this type; the copy shares its flag.
    if let Ok(controller) = connection.congestion_state().into_any().downcast::<UntilClosed>() {
        controller.closed.store(true, Ordering::Relaxed);
    }
}

struct UntilClosed {
    inner: Box<dyn Controller>,
    closed: Arc<AtomicBool>,
}

impl Controller for UntilClosed {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closed.load(Ordering::Relaxed) { NO_LIMIT } else { self.inner.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), closed: self.closed.clone() })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
