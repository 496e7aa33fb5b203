//! Settings of the whole machine that the kubelet changes: written down before it starts, put back afterwards.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::run_dir::RunDir;

/// What `kubelet` sets (pkg/kubelet/cm, `setupKernelTunables`).
const CHANGED: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];

fn record(dir: &RunDir) -> PathBuf {
    dir.state().join("sysctls")
}

/// Writes the values down, unless an earlier start of the same run did.
pub fn save(dir: &RunDir) -> Result<()> {
    let file = record(dir);
    if file.exists() {
        return Ok(());
    }
    let mut lines = Vec::new();
    for key in CHANGED {
        let path = format!("/proc/sys/{key}");
        let value = fs::read_to_string(&path).with_context(|| path)?;
        lines.push(format!("{key} {}", value.trim()));
    }
    fs::write(file, lines.join("\n"))?;
    Ok(())
}

/// Puts the values back.
pub fn restore(dir: &RunDir) -> Result<()> {
    let Ok(text) = fs::read_to_string(record(dir)) else { return Ok(()) };
    for (key, value) in text.lines().filter_map(|l| l.split_once(' ')) {
        fs::write(format!("/proc/sys/{key}"), value)
            .with_context(|| format!("cannot put back sysctl {key}={value}"))?;
    }
    Ok(())
}
