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
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&line).contains("tideway-lab");
        (ours && !is_zombie(pid)).then_some(pid)
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

/// A dead process that nobody waited for yet still has its command line's entry.
fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with('Z')))
        .unwrap_or(true)
}
