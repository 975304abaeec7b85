//! A cable that can be cut: a TCP proxy that counts what passes it and stops or breaks at a chosen byte.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::{PATIENCE, own_address};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    ToServer,
    ToClient,
}

/// What the cable does.
#[derive(Default)]
struct State {
    server: Option<SocketAddr>,
    to_server: u64,
    to_client: u64,
    connections: u64,
    /// Every connection is cut once so many bytes have gone to the server in all.
    cut_at: Option<u64>,
    /// Nothing passes to the client any more once so many bytes have gone to the server.
    mute_at: Option<u64>,
    /// Nothing passes either way once so many bytes have gone to the server.
    hold_at: Option<u64>,
    /// Nothing passes to the server any more once so many bytes have gone to clients.
    deaf_at: Option<u64>,
}

/// Listens in front of a server.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Proxy {
    pub fn start() -> Self {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let ours = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let mut state = ours.0.lock().unwrap();
                state.connections += 1;
                let Some(address) = state.server else { continue };
                drop(state);
                let Ok(server) = TcpStream::connect(address) else { continue };
                for (from, to, side) in
                    [(&client, &server, Side::ToServer), (&server, &client, Side::ToClient)]
                {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = ours.clone();
                    std::thread::spawn(move || carry(from, to, side, &shared));
                }
            }
        });
        Self { address, shared }
    }

    /// `HOST:PORT`, for `serve --advertise`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where it leads.
    pub fn lead_to(&self, server: SocketAddr) {
        self.change(|state| state.server = Some(server));
    }

    /// Bytes that have passed to the server.
    pub fn sent(&self) -> u64 {
        self.shared.0.lock().unwrap().to_server
    }

    /// Bytes that have passed to clients.
    pub fn received(&self) -> u64 {
        self.shared.0.lock().unwrap().to_client
    }

    /// Connections that clients have made.
    pub fn connections(&self) -> u64 {
        self.shared.0.lock().unwrap().connections
    }

    /// Cuts every connection, and every new one, when `bytes` more have gone to the server.
    pub fn cut_after(&self, bytes: u64) {
        self.change(|state| {
            state.cut_at = Some(state.to_server + bytes);
        });
    }

    /// From `bytes` more to the server on, clients hear nothing any more.
    pub fn mute_after(&self, bytes: u64) {
        self.change(|state| state.mute_at = Some(state.to_server + bytes));
    }

    /// From `bytes` more to clients on, the server hears nothing any more.
    pub fn deafen_after(&self, bytes: u64) {
        self.change(|state| state.deaf_at = Some(state.to_client + bytes));
    }

    /// From `bytes` more to the server on, nothing passes.
    pub fn hold_after(&self, bytes: u64) {
        self.change(|state| state.hold_at = Some(state.to_server + bytes));
    }

    /// Whole again; connections that were stopped go on, those that were cut stay so.
    pub fn mend(&self) {
        self.change(|state| {
            (state.cut_at, state.mute_at, state.hold_at, state.deaf_at) = (None, None, None, None);
        });
    }

    /// Waits until so many bytes have gone to the server in all.
    pub fn until_sent(&self, bytes: u64) {
        self.until(|state| state.to_server >= bytes);
    }

    /// Waits until so many bytes have come back in all.
    pub fn until_received(&self, bytes: u64) {
        self.until(|state| state.to_client >= bytes);
    }

    /// Waits until the cable is cut.
    pub fn until_cut(&self) {
        self.until(|state| state.cut_at.is_some_and(|at| state.to_server >= at));
    }

    /// Waits until nothing passes any more.
    pub fn until_held(&self) {
        self.until(|state| state.hold_at.is_some_and(|at| state.to_server >= at));
    }

    /// Whether nothing passes any more.
    pub fn is_held(&self) -> bool {
        let state = self.shared.0.lock().unwrap();
        state.hold_at.is_some_and(|at| state.to_server >= at)
    }

    fn until(&self, is: impl Fn(&State) -> bool) {
        let begun = Instant::now();
        let mut state = self.shared.0.lock().unwrap();
        while !is(&state) {
            assert!(begun.elapsed() < PATIENCE, "only {} bytes went to the server", state.to_server);
            state = self.shared.1.wait_timeout(state, PATIENCE).unwrap().0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
    }
}

/// Carries bytes one way until either end is gone or the cable is cut.
fn carry(mut from: TcpStream, mut to: TcpStream, side: Side, shared: &(Mutex<State>, Condvar)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let allowed = {
                let mut state = shared.0.lock().unwrap();
                loop {
                    let reached = |at: Option<u64>| at.is_some_and(|at| state.to_server >= at);
                    if reached(state.cut_at) {
                        break None;
                    }
                    let stopped = match side {
                        Side::ToServer => {
                            reached(state.hold_at) || state.deaf_at.is_some_and(|at| state.to_client >= at)
                        }
                        Side::ToClient => reached(state.hold_at) || reached(state.mute_at),
                    };
                    if !stopped {
                        let limits = [state.cut_at, state.hold_at].into_iter().flatten();
                        let room = limits.map(|at| at - state.to_server).min();
                        break Some(match side {
                            Side::ToServer => room.map_or(bytes.len(), |room| bytes.len().min(room as usize)),
                            Side::ToClient => bytes.len(),
                        });
                    }
                    state = shared.1.wait(state).unwrap();
                }
            };
            let Some(allowed) = allowed else {
                return cut(&from, &to);
            };
            let (now, later) = bytes.split_at(allowed);
            if to.write_all(now).is_err() {
                return cut(&from, &to);
            }
            bytes = later;
            let mut state = shared.0.lock().unwrap();
            match side {
                Side::ToServer => state.to_server += now.len() as u64,
                Side::ToClient => state.to_client += now.len() as u64,
            }
            shared.1.notify_all();
        }
    }
    // One end has said everything; the other may still have something to say.
    let _ = to.shutdown(Shutdown::Write);
}

fn cut(one: &TcpStream, other: &TcpStream) {
    // Either may be gone already.
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}
