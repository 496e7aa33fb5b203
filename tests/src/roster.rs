//! Every long-lived process of a run: started detached with its own log, written down, and ended by exactly that record.
//!
//! A process gets its own session, so that Ctrl-C on the terminal reaches only us and the order of the teardown is ours.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{command, process::ProcessId, run_dir::RunDir, wait};

/// Processes of one run, also those that an earlier process of this program has started.
#[derive(Debug)]
pub struct Roster {
    pids: PathBuf,
    logs: PathBuf,
    /// Ours to reap. Those of an earlier run are reaped by pid 1.
    children: Mutex<BTreeMap<String, Child>>,
}

/// Lines of a log that a message shows.
const TAIL: usize = 12;

impl Roster {
    /// The roster of a run directory.
    pub fn new(dir: &RunDir) -> Self {
        Self { pids: dir.pids(), logs: dir.logs(), children: Mutex::default() }
    }

    /// Starts `command` under `name`. The command must keep its pid (exec only), since that is what is written down.
    pub fn start(&self, name: &str, command: &Command) -> Result<ProcessId> {
        // A program that is started again goes on in the log of its former life.
        let log = fs::File::options().create(true).append(true).open(self.log(name))?;
        let errors = log.try_clone()?;
        let mut detached = command::line("setsid", [command.get_program()]);
        detached.args(command.get_args()).stdin(Stdio::null());
        if let Some(dir) = command.get_current_dir() {
            detached.current_dir(dir);
        }
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => detached.env(key, value),
                None => detached.env_remove(key),
            };
        }
        detached.stdout(OwnedFd::from(log)).stderr(OwnedFd::from(errors));
        let child = detached.spawn().with_context(|| command::shown(command))?;
        let id = ProcessId::of(i32::try_from(child.id())?)?;
        fs::write(self.pids.join(name), id.to_string())?;
        self.children().insert(name.to_owned(), child);
        Ok(id)
    }

    /// Names of all that were started and not yet ended.
    pub fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.pids) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The record of a process.
    pub fn get(&self, name: &str) -> Option<ProcessId> {
        fs::read_to_string(self.pids.join(name)).ok()?.parse().ok()
    }

    /// Fails, with the end of its log, when a process that should run does not.
    pub fn must_run(&self, name: &str) -> Result<()> {
        self.reap(name);
        if self.get(name).is_some_and(ProcessId::runs) {
            return Ok(());
        }
        bail!("{name} has ended\n{}", self.tail(name));
    }

    /// Ends a process: TERM, and KILL after `grace`. No record: nothing to do.
    pub fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        let Some(id) = self.get(name) else { return Ok(()) };
        id.signal(Signal::SIGTERM)?;
        let ended = |limit| {
            wait::settled(limit, || {
                self.reap(name);
                !id.runs()
            })
        };
        if !ended(grace) {
            id.signal(Signal::SIGKILL)?;
            if !ended(Duration::from_secs(5)) {
                bail!("{name} (process {}) does not end, not even by KILL", id.pid);
            }
        }
        self.reap(name);
        fs::remove_file(self.pids.join(name))?;
        Ok(())
    }

    /// Ends a process as a crash would, by KILL, and waits until it is gone. It may be started again afterwards.
    pub fn kill(&self, name: &str) -> Result<()> {
        let id = self.get(name).with_context(|| format!("{name} was not started"))?;
        id.signal(Signal::SIGKILL)?;
        let gone = wait::settled(Duration::from_secs(5), || {
            self.reap(name);
            !id.runs()
        });
        if !gone {
            bail!("{name} (process {}) does not end, not even by KILL", id.pid);
        }
        fs::remove_file(self.pids.join(name))?;
        Ok(())
    }

    /// Path of a process' log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The end of a log, for messages.
    pub fn tail(&self, name: &str) -> String {
        let path = self.log(name);
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL);
        let end: Vec<String> = lines
            .iter()
            .skip(skipped)
            .map(|l| format!("  | {}", l.chars().take(300).collect::<String>()))
            .collect();
        format!("  {}:\n{}", path.display(), end.join("\n"))
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap(&self, name: &str) {
        let mut children = self.children();
        let ended = children.get_mut(name).is_some_and(|c| matches!(c.try_wait(), Ok(Some(_))));
        if ended {
            drop(children.remove(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_an_earlier_run_is_ended_by_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        run.create().unwrap();
        let first = Roster::new(&run);
        let id = first.start("sleeper", &command::line("sleep", ["600"])).unwrap();
        assert!(id.runs());
        let second = Roster::new(&run);
        assert_eq!(second.names(), ["sleeper"]);
        second.stop("sleeper", Duration::from_secs(5)).unwrap();
        assert!(!id.runs());
        assert!(second.names().is_empty());
    }

    #[test]
    fn an_early_end_shows_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        run.create().unwrap();
        let roster = Roster::new(&run);
        let id = roster
            .start("short", &command::line("sh", ["-c", "echo no such disk; exit 3"]))
            .unwrap();
        assert!(wait::settled(Duration::from_secs(5), || !id.runs()));
        let error = roster.must_run("short").unwrap_err().to_string();
        assert!(error.contains("no such disk"), "{error}");
    }
}
