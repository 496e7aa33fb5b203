//! A thread that looks for lost links several times a second until it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A vanished link is noticed within this time; a round costs a few system calls.
const PERIOD: Duration = Duration::from_millis(200);

/// The running watch; dropping it ends the thread and waits for it.
#[derive(Debug)]
pub(super) struct Monitor {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Calls `round` again and again.
    pub(super) fn start(mut round: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = thread::Builder::new().name("lab-fabric".to_owned()).spawn(move || {
            while !seen.load(Ordering::Acquire) {
                round();
                thread::park_timeout(PERIOD);
            }
        })?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join()); // a panic of the watch was printed by its thread
        }
    }
}
