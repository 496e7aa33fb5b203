//! How many beds stand at one time: each is a lab, a daemon and packets, and the machine may have two cores.

use std::sync::{Condvar, Mutex, PoisonError};

/// Beds at one time.
const LARGEST: usize = 3;

static STANDING: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

/// The right to a bed, until it is dropped.
#[derive(Debug)]
pub struct Turn(());

impl Turn {
    /// Waits for it.
    pub fn take() -> Self {
        let standing = STANDING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut standing =
            LEFT.wait_while(standing, |n| *n >= LARGEST).unwrap_or_else(PoisonError::into_inner);
        *standing += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *STANDING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        LEFT.notify_one();
    }
}
