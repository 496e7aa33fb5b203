//! The end of a cluster, from what is written down: it works after a crash, and for a run that another process started.
//!
//! Order: what talks to the API and to pods first, then each node (containers by cgroup, shims by mount namespace,
//! namespaces with the last process), then the control plane, then what the machine lent. Errors are collected.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Cluster;
use crate::{
    cgroup::{Group, Hierarchies},
    machine,
    process::ProcessId,
    roster::Roster,
    run_dir::RunDir,
    wait,
};

/// Programs of the control plane, in the order of their end.
const CONTROL_PLANE: [&str; 5] =
    ["scheduler", "extender", "controller-manager", "apiserver", "etcd"];
/// How long a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(8);

impl Cluster {
    /// Puts the script that makes a node where a run keeps its files.
    pub(super) fn write_init_script(&self) -> Result<()> {
        let script = self.dir.state().join("node-init.sh");
        fs::write(script, include_str!("../../cluster/node-init.sh"))?;
        Ok(())
    }

    /// Writes a node down before it exists.
    pub(super) fn record_node(&self, name: &str, group: &str) -> Result<()> {
        let nodes = self.dir.state().join("nodes");
        fs::create_dir_all(&nodes)?;
        fs::write(nodes.join(name), group)?;
        Ok(())
    }

    /// Writes down the mount namespace of a node: shims outlive containerd and are found by it.
    pub(super) fn record_mount_namespace(&self, name: &str, init: ProcessId) -> Result<()> {
        let namespace = fs::read_link(format!("/proc/{}/ns/mnt", init.pid))?;
        let file = self.dir.state().join("mounts");
        fs::create_dir_all(&file)?;
        fs::write(file.join(name), namespace.to_string_lossy().as_bytes())?;
        Ok(())
    }
}

/// Ends everything that runs in `dir` and gives back what the machine lent. The directory itself stays.
/// Answers what could not be undone.
pub fn tear_down(dir: &RunDir) -> Vec<String> {
    let roster = Roster::new(dir);
    let mut problems = Vec::new();
    let nodes = entries(&dir.state().join("nodes"));
    let last = |name: &String| {
        CONTROL_PLANE.contains(&name.as_str())
            || nodes
                .iter()
                .any(|(n, _)| *name == format!("init-{n}") || *name == format!("containerd-{n}"))
    };
    let first: Vec<String> = roster.names().into_iter().filter(|n| !last(n)).collect();
    problems.extend(stop_at_once(&roster, &first));
    let ended: Vec<Vec<String>> = std::thread::scope(|scope| {
        let running: Vec<_> = nodes
            .iter()
            .map(|(name, group)| scope.spawn(|| end_node(dir, &roster, name, group)))
            .collect();
        running.into_iter().map(|t| t.join().unwrap_or_default()).collect()
    });
    problems.extend(ended.into_iter().flatten());
    let control = CONTROL_PLANE.map(str::to_owned);
    for name in &control {
        problems.extend(stop_at_once(&roster, std::slice::from_ref(name)));
    }
    problems.extend(machine::give_back(dir).err().map(|e| format!("{e:#}")));
    problems
}

fn stop_at_once(roster: &Roster, names: &[String]) -> Vec<String> {
    std::thread::scope(|scope| {
        let running: Vec<_> =
            names.iter().map(|name| scope.spawn(|| roster.stop(name, GRACE))).collect();
        running
            .into_iter()
            .filter_map(|t| t.join().ok().and_then(Result::err))
            .map(|e| format!("{e:#}"))
            .collect()
    })
}

fn end_node(dir: &RunDir, roster: &Roster, name: &str, group: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note =
        |outcome: Result<()>| problems.extend(outcome.err().map(|e| format!("node {name}: {e:#}")));
    let group = Hierarchies::detect().map(|h| Group::new(h, group));
    if let Ok(group) = &group {
        note(group.kill());
    }
    note(roster.stop(&format!("containerd-{name}"), GRACE));
    note(end_mount_namespace(dir, roster, name));
    if let Some(init) = roster.get(&format!("init-{name}")) {
        note(init.signal(Signal::SIGKILL));
    }
    note(roster.stop(&format!("init-{name}"), GRACE));
    if let Ok(group) = &group {
        note(group.remove());
    }
    problems
}

/// Ends what is left in the node's mount namespace. While its init runs the namespace is surely ours; afterwards its
/// number may have been given away, and only shims are ended.
pub(super) fn end_mount_namespace(dir: &RunDir, roster: &Roster, name: &str) -> Result<()> {
    let Ok(namespace) = fs::read_to_string(dir.state().join("mounts").join(name)) else {
        return Ok(());
    };
    let init = roster.get(&format!("init-{name}")).filter(|id| id.runs());
    let ours = || -> Vec<ProcessId> {
        processes()
            .filter(|pid| init.is_none_or(|i| i.pid != *pid))
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/ns/mnt"))
                    .is_ok_and(|ns| ns.to_string_lossy() == namespace)
            })
            .filter(|pid| init.is_some() || is_shim(*pid))
            .filter_map(|pid| ProcessId::of(pid).ok())
            .filter(|id| id.runs())
            .collect()
    };
    let gone = wait::settled(GRACE, || {
        let left = ours();
        for id in &left {
            drop(id.signal(Signal::SIGKILL));
        }
        left.is_empty()
    });
    if gone { Ok(()) } else { anyhow::bail!("processes {:?} do not end", ours()) }
}

fn is_shim(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.starts_with("containerd-shim"))
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
}

/// File names and contents of a directory of records.
fn entries(dir: &Path) -> Vec<(String, String)> {
    let Ok(found) = fs::read_dir(dir) else { return Vec::new() };
    found
        .filter_map(Result::ok)
        .filter_map(|e| {
            let text = fs::read_to_string(e.path()).ok()?;
            Some((e.file_name().to_string_lossy().into_owned(), text))
        })
        .collect()
}
