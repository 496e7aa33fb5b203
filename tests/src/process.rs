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
        let (_, start) = stat(pid).with_context(|| format!("process {pid} is not there"))?;
        Ok(Self { pid, start })
    }

    /// Whether it still runs. A zombie has ended: pid 1 of a container may reap it much later.
    pub fn runs(self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, start)| start == self.start && !matches!(state, 'Z' | 'X'))
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

/// State letter and start time; the name before them may hold anything, hence the last parenthesis.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
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
}
