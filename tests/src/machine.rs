//! What the machine lends to a run: settings that the kubelet changes for everybody, and mount points.
//!
//! Runs may stand side by side (tests). So this is written down once for the machine, with a mark for each run that uses
//! it, and the last one gives it back: a mount point removed under a running node would take the node's mount with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::run_dir::RunDir;

/// The machine-wide record.
const RECORD: &str = "/run/tideway-machine";
/// What `kubelet` sets (pkg/kubelet/cm, `setupKernelTunables`).
const SETTINGS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
/// Paths that the nodes' private copies are mounted over. Those that were not there are removed at the end.
const MOUNT_POINTS: [&str; 8] = [
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/etc/cni",
    "/opt/cni",
    "/opt/cni/bin",
    "/etc/tideway",
    "/var/lib/tideway",
];

/// Marks the machine as used by a run; the first one writes down what is there and makes what is not.
pub fn borrow(run: &RunDir) -> Result<()> {
    let record = Path::new(RECORD);
    fs::create_dir_all(record.join("users"))?;
    let _one_at_a_time = lock()?;
    fs::write(mark(run), run.state().as_os_str().as_encoded_bytes())?;
    let made = record.join("made");
    if made.exists() {
        return Ok(());
    }
    let mut settings = Vec::new();
    for key in SETTINGS {
        let path = format!("/proc/sys/{key}");
        let value = fs::read_to_string(&path).with_context(|| path)?;
        settings.push(format!("{key} {}", value.trim()));
    }
    fs::write(record.join("settings"), settings.join("\n"))?;
    let absent: Vec<&str> =
        MOUNT_POINTS.into_iter().filter(|point| !Path::new(point).exists()).collect();
    // Written down first: a point that was not made in the end is no harm.
    fs::write(&made, absent.join("\n"))?;
    for point in absent {
        fs::create_dir_all(point).with_context(|| point.to_owned())?;
    }
    Ok(())
}

/// Takes the mark away; the last run puts everything back.
pub fn give_back(run: &RunDir) -> Result<()> {
    let record = Path::new(RECORD);
    let mark = mark(run);
    if !mark.exists() {
        return Ok(());
    }
    let _one_at_a_time = lock()?;
    fs::remove_file(mark)?;
    if fs::read_dir(record.join("users"))?.next().is_some() {
        return Ok(());
    }
    for (key, value) in lines(&record.join("settings")).iter().filter_map(|l| l.split_once(' ')) {
        fs::write(format!("/proc/sys/{key}"), value)
            .with_context(|| format!("cannot put back sysctl {key}={value}"))?;
    }
    for point in lines(&record.join("made")).iter().rev() {
        // Somebody else's file in it is a reason to leave it.
        drop(fs::remove_dir(point));
    }
    fs::remove_dir_all(record).context("the machine's record cannot be removed")
}

/// One file name for each run directory.
fn mark(run: &RunDir) -> PathBuf {
    let name = run.state().to_string_lossy().replace('/', "_");
    Path::new(RECORD).join("users").join(name)
}

/// Held until dropped. The directory itself is locked, so that no file is left behind.
fn lock() -> Result<fs::File> {
    let file = fs::File::open("/run")?;
    file.lock()?;
    Ok(file)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
