//! A thread that looks for lost links several times a second until it is dropped.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A vanished link is noticed within this time; a round costs a few system calls.
const PERIOD: Duration = Duration::from_millis(200);

/// The running watch; dropping it ends the thread and waits for it.
#[derive(Debug)]
pub(super) struct Monitor {
    /// Nothing is ever sent: the thread sees the other end go.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Calls `round` again and again.
    pub(super) fn start(mut round: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let (alive, ended) = mpsc::channel();
        // A channel, not `park_timeout`: a round runs scoped threads, whose ends leave a wake-up behind, and the pause
        // would end at once, every time.
        let thread = thread::Builder::new().name("lab-fabric".to_owned()).spawn(move || {
            loop {
                round();
                if ended.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // a panic of the watch was printed by its thread
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_round_that_runs_scoped_threads_does_not_make_the_watch_spin() {
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let begun = Instant::now();
        let monitor = Monitor::start(move || {
            thread::scope(|scope| drop(scope.spawn(|| ()).join()));
            counted.fetch_add(1, Ordering::AcqRel);
        })
        .unwrap();
        while rounds.load(Ordering::Acquire) < 4 {
            assert!(begun.elapsed() < Duration::from_mins(1), "no four rounds within a minute");
            thread::yield_now();
        }
        // Four rounds have three whole pauses between them, however slow the machine is.
        assert!(begun.elapsed() >= 3 * PERIOD, "four rounds in {:?}", begun.elapsed());
        drop(monitor);
    }
}
