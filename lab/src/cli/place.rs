//! Where the files of a lab are: `/run/tideway-lab/ID`, or below `TIDEWAY_LAB_DIR`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tideway_lab::LabDescription;
use tideway_lab::config::check_id;

/// Files of one lab.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
}

impl Place {
    pub(crate) fn of(id: &str) -> Result<Self> {
        check_id(id)?;
        let parent = std::env::var_os("TIDEWAY_LAB_DIR")
            .map_or_else(|| PathBuf::from("/run/tideway-lab"), PathBuf::from);
        Ok(Self { id: id.to_owned(), dir: parent.join(id) })
    }

    pub(crate) fn description_file(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.dir.join("lab.log")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// The description, when the lab is ready.
    pub(crate) fn description(&self) -> Option<LabDescription> {
        let text = std::fs::read_to_string(self.description_file()).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The process of the lab, when it lives. A number that another program got meanwhile does not count.
    pub(crate) fn process(&self) -> Option<i32> {
        let pid: i32 = std::fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        is_living_lab(&stat).then_some(pid)
    }

    /// Removes the files; the log stays when `keep_log`.
    pub(crate) fn remove(&self, keep_log: bool) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        let context = || format!("{} cannot be removed", self.dir.display());
        if !keep_log {
            return std::fs::remove_dir_all(&self.dir).with_context(context);
        }
        for file in ["lab.json", "pid", "control.sock", "ca.pem"] {
            match std::fs::remove_file(self.dir.join(file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(context);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a process is a lab that has not ended, by its `/proc/PID/stat`. A zombie has ended and waits for its parent; but a
/// process whose first thread is a zombie has not as long as others live: a killed lab still holds its ports then.
fn is_living_lab(stat: &str) -> bool {
    let Some((name, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let first_ended = matches!(fields.next(), None | Some("Z" | "X"));
    let threads: u32 = fields.nth(16).and_then(|n| n.parse().ok()).unwrap_or(0);
    name.contains("tideway-lab") && (!first_ended || threads > 1)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn until(what: &str, mut so: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !so() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// As for a moment after a KILL. `prctl` 15 gives the program its name.
    #[test]
    fn a_lab_whose_first_thread_ended_runs_as_long_as_others_hold_its_ports() {
        let program = "import ctypes, sys, threading\n\
            libc = ctypes.CDLL(None)\n\
            libc.prctl(15, b'tideway-lab')\n\
            threading.Thread(target=sys.stdin.read).start()\n\
            libc.pthread_exit(None)";
        let mut child =
            Command::new("python3").args(["-c", program]).stdin(Stdio::piped()).spawn().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let place = Place { id: "t".to_owned(), dir: dir.path().to_owned() };
        let pid = i32::try_from(child.id()).unwrap();
        std::fs::write(place.pid_file(), pid.to_string()).unwrap();
        until("the first thread ends", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains("(tideway-lab) Z")
        });
        assert_eq!(place.process(), Some(pid), "a thread of it waits for input");
        drop(child.stdin.take());
        until("nobody waited for it yet, and it has ended", || place.process().is_none());
        child.wait().unwrap();
    }
}
