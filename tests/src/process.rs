//! A process by pid and start time: a pid alone may belong to somebody else by now.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process of ours. Its text form is `PID START`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// Start time in clock ticks after boot (`/proc/PID/stat`, field 22).
    pub start: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Result<Self> {
        let stat = Stat::of(pid).with_context(|| format!("process {pid} is not there"))?;
        Ok(Self { pid, start: stat.start })
    }

    /// Whether it still runs. A zombie has ended: pid 1 of a container may reap it much later. But a process whose first
    /// thread is a zombie has not as long as others live: a killed program still holds its ports then.
    pub fn runs(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| {
            let ended = matches!(stat.state, 'Z' | 'X') && stat.threads <= 1;
            stat.start == self.start && !ended
        })
    }

    /// Sends a signal when it is still the same process.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(e) => bail!("signal {signal} to process {}: {e}", self.pid),
        }
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.start)
    }
}

impl FromStr for ProcessId {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        let (pid, start) = text.trim().split_once(' ').context("`PID START` is expected")?;
        Ok(Self { pid: pid.parse()?, start: start.parse()? })
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy)]
struct Stat {
    /// Of the first thread.
    state: char,
    /// Threads that have not ended, and the first one.
    threads: u32,
    start: u64,
}

impl Stat {
    /// The name before the fields may hold anything, hence the last parenthesis.
    fn of(pid: i32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let threads = fields.nth(16)?.parse().ok()?;
        Some(Self { state, threads, start: fields.nth(1)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_was_given_to_another_process_is_not_ours() {
        let me = ProcessId::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(me.runs());
        let earlier = ProcessId { start: me.start + 1, ..me };
        assert!(!earlier.runs());
        // Nothing is sent to it either: this would end the test.
        earlier.signal(Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = ProcessId::of(child.id().try_into().unwrap());
        assert!(crate::wait::settled(std::time::Duration::from_secs(5), || {
            id.as_ref().map_or(true, |id| !id.runs())
        }));
        child.wait().unwrap();
    }

    /// As for a moment after a KILL: the first thread is gone, the others still hold what the program has open.
    #[test]
    fn a_process_runs_as_long_as_one_of_its_threads_does() {
        let program = "import ctypes, sys, threading\n\
            threading.Thread(target=sys.stdin.read).start()\n\
            ctypes.CDLL(None).pthread_exit(None)";
        let mut child = std::process::Command::new("python3")
            .args(["-c", program])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let id = ProcessId::of(child.id().try_into().unwrap()).unwrap();
        let zombie = || Stat::of(id.pid).is_some_and(|stat| stat.state == 'Z');
        assert!(crate::wait::settled(std::time::Duration::from_secs(20), zombie));
        assert!(id.runs(), "a thread of it waits for input");
        drop(child.stdin.take());
        assert!(crate::wait::settled(std::time::Duration::from_secs(20), || !id.runs()));
        child.wait().unwrap();
    }
}
