//! The gate between the tasks that accept: a lock around the rules of [`gate`](super::gate), and places that are given
//! back by themselves.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::gate::{Answer, Gate, Origin, Pass, Refusal};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// The gate, shared by everybody who accepts.
#[derive(Clone)]
pub(super) struct Door(Arc<Mutex<Gate>>);

/// A place of somebody who is not known yet. Dropping it gives it back.
pub(super) struct Ticket {
    door: Door,
    pass: Option<Pass>,
}

/// What the door says.
pub(super) enum Said {
    Enter(Ticket),
    Prove,
    /// Why not, and how many were turned away since that was last worth telling, if it is now.
    Refused(Refusal, Option<u64>),
}

impl Door {
    /// A gate with dice that nobody outside can foresee.
    pub(super) fn new(limits: &Limits) -> Result<Self> {
        let mut seed = [0; 8];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| Error::Tls("no random bytes".to_owned()))?;
        Ok(Self(Arc::new(Mutex::new(Gate::new(limits.into(), u64::from_be_bytes(seed))))))
    }

    pub(super) fn knock(&self, origin: Origin) -> Said {
        let mut gate = self.lock();
        match gate.knock(origin) {
            Answer::Enter(pass) => Said::Enter(Ticket { door: self.clone(), pass: Some(pass) }),
            Answer::Prove => Said::Prove,
            Answer::Refused(refusal) => Said::Refused(refusal, gate.tell(Instant::now())),
        }
    }

    /// Whether nobody is inside who is not known yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        // Every change of the gate is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The address has been proved by now.
    pub(super) fn proved(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let Some(pass) = &mut self.pass else { return Ok(()) };
        self.door.lock().proved(pass, address)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.door.lock().leave(pass);
        }
    }
}
