//! How many beds stand at one time: each is a lab, a daemon and packets. A bed mostly waits, for cooldowns and for the pace at
//! which the daemon asks the cloud: six of them keep less than one core busy.

use std::sync::{Condvar, Mutex, PoisonError};

/// Beds at one time.
const LARGEST: usize = 6;

static STANDING: Mutex<Standing> = Mutex::new(Standing(0));
static LEFT: Condvar = Condvar::new();

#[derive(Debug)]
struct Standing(usize);

/// The right to a bed, until it is dropped.
#[derive(Debug)]
pub struct Turn(());

impl Turn {
    /// Waits for it.
    pub fn take() -> Self {
        let standing = STANDING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut standing =
            LEFT.wait_while(standing, |n| n.0 >= LARGEST).unwrap_or_else(PoisonError::into_inner);
        standing.0 += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        STANDING.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
        LEFT.notify_one();
    }
}
