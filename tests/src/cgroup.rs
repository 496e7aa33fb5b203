//! The cgroup of a node: parent of all its pods, in every hierarchy of the machine.
//!
//! The kubelet wants its `cgroupRoot` to exist before it starts: with v1 in every hierarchy (also `name=systemd`), with v2
//! with the controllers switched on from the root down. What runs in there is ours by construction, so that teardown may end it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{process::ProcessId, wait};

/// Controllers without which the kubelet does not start.
const REQUIRED: [&str; 3] = ["cpu", "memory", "pids"];
/// Controllers that are passed on where they exist.
const WANTED: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "io", "hugetlb"];

/// How this machine mounts cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// One mount for each group of controllers. A cgroup2 mount beside them has no controllers and is no place for the
    /// kubelet, but runc puts its containers there too.
    V1 {
        /// Mounts with controllers, and `name=systemd`.
        mounts: Vec<PathBuf>,
        /// The cgroup2 mount of a hybrid machine.
        bare: Option<PathBuf>,
    },
    /// The unified hierarchy.
    V2(PathBuf),
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo`.
    pub fn detect() -> Result<Self> {
        Self::from_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?)
    }

    /// The same for a given text (`proc(5)`: fields, ` - `, type, source, options).
    pub fn from_mountinfo(text: &str) -> Result<Self> {
        let mut v1 = BTreeSet::new();
        let mut v2 = None;
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4) else { continue };
            match right.split(' ').next() {
                Some("cgroup") => drop(v1.insert(PathBuf::from(mount))),
                Some("cgroup2") => v2 = v2.or_else(|| Some(PathBuf::from(mount))),
                _ => {}
            }
        }
        match (v1.is_empty(), v2) {
            (false, bare) => Ok(Self::V1 { mounts: v1.into_iter().collect(), bare }),
            (true, Some(mount)) => Ok(Self::V2(mount)),
            (true, None) => bail!(
                "no cgroup file system is mounted; remedy: mount -t cgroup2 none /sys/fs/cgroup, or run in a machine or container that has it"
            ),
        }
    }

    /// Whether the controllers that the kubelet needs are there.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::V1 { mounts, .. } => {
                let have: BTreeSet<String> = mounts
                    .iter()
                    .filter_map(|m| m.file_name())
                    .flat_map(|n| {
                        n.to_string_lossy().split(',').map(str::to_owned).collect::<Vec<_>>()
                    })
                    .collect();
                missing(
                    |c| have.contains(c),
                    "boot with cgroup v2, or mount the v1 controllers below /sys/fs/cgroup",
                )
            }
            Self::V2(root) => {
                let have = fs::read_to_string(root.join("cgroup.controllers"))
                    .with_context(|| format!("{}", root.display()))?;
                let have: BTreeSet<&str> = have.split_whitespace().collect();
                missing(
                    |c| have.contains(c),
                    "delegate the controllers to this container, or run on the host itself",
                )
            }
        }
    }

    /// Where a group is made.
    fn mounts(&self) -> &[PathBuf] {
        match self {
            Self::V1 { mounts, .. } => mounts,
            Self::V2(root) => std::slice::from_ref(root),
        }
    }

    /// Where a group may be found afterwards.
    fn everywhere(&self) -> impl Iterator<Item = &PathBuf> {
        let bare = match self {
            Self::V1 { bare, .. } => bare.as_ref(),
            Self::V2(_) => None,
        };
        self.mounts().iter().chain(bare)
    }
}

fn missing(has: impl Fn(&str) -> bool, remedy: &str) -> Result<()> {
    let absent: Vec<&str> = REQUIRED.into_iter().filter(|c| !has(c)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    bail!("cgroup controllers {} are missing; remedy: {remedy}", absent.join(", "));
}

/// One group in all hierarchies.
#[derive(Debug, Clone)]
pub struct Group {
    hierarchies: Hierarchies,
    name: String,
}

impl Group {
    /// The group `name` (such as `tideway-demo/n1`); nothing is made yet.
    pub fn new(hierarchies: Hierarchies, name: &str) -> Self {
        Self { hierarchies, name: name.trim_matches('/').to_owned() }
    }

    /// The name as the kubelet's `cgroupRoot` wants it.
    pub fn root(&self) -> String {
        format!("/{}", self.name)
    }

    fn made(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.mounts().iter().map(|m| m.join(&self.name))
    }

    /// Makes it everywhere.
    pub fn create(&self) -> Result<()> {
        for path in self.made() {
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make cgroup {}", path.display()))?;
        }
        if let Hierarchies::V2(root) = &self.hierarchies {
            let mut at = root.clone();
            enable(&at)?;
            for part in Path::new(&self.name) {
                at.push(part);
                enable(&at)?;
            }
        }
        Ok(())
    }

    /// Every process in it and below.
    pub fn tasks(&self) -> BTreeSet<i32> {
        let mut tasks = BTreeSet::new();
        for mount in self.hierarchies.everywhere() {
            collect(&mount.join(&self.name), &mut tasks);
        }
        tasks
    }

    /// Ends every process in it.
    pub fn kill(&self) -> Result<()> {
        let empty = wait::settled(Duration::from_secs(10), || {
            let running: Vec<ProcessId> = self
                .tasks()
                .into_iter()
                .filter_map(|pid| ProcessId::of(pid).ok())
                .filter(|id| id.runs())
                .collect();
            for id in &running {
                // One that has just ended is no error; one that stays shows by the deadline.
                drop(id.signal(Signal::SIGKILL));
            }
            running.is_empty()
        });
        if empty {
            return Ok(());
        }
        bail!("processes {:?} in cgroup {} do not end", self.tasks(), self.root())
    }

    /// Removes it everywhere, and its parents when they are empty then.
    pub fn remove(&self) -> Result<()> {
        for mount in self.hierarchies.everywhere() {
            let path = mount.join(&self.name);
            if !wait::settled(Duration::from_secs(5), || {
                remove_below(&path);
                !path.exists()
            }) {
                bail!("cgroup {} cannot be removed: something still runs in it", path.display());
            }
            let mut parent = path.parent();
            while let Some(dir) = parent.filter(|d| *d != mount) {
                if fs::remove_dir(dir).is_err() {
                    break;
                }
                parent = dir.parent();
            }
        }
        Ok(())
    }
}

/// Passes the wanted controllers on to the children of `group`.
fn enable(group: &Path) -> Result<()> {
    let have = fs::read_to_string(group.join("cgroup.controllers"))?;
    let have: BTreeSet<&str> = have.split_whitespace().collect();
    let control = group.join("cgroup.subtree_control");
    let on = fs::read_to_string(&control)?;
    let on: BTreeSet<&str> = on.split_whitespace().collect();
    for controller in WANTED.into_iter().filter(|c| have.contains(c) && !on.contains(c)) {
        fs::write(&control, format!("+{controller}")).with_context(|| {
            format!(
                "cannot switch on cgroup controller {controller} in {}; remedy: no process may sit in that group itself (in a container: start it with its own cgroup namespace and move its processes to a child group)",
                control.display()
            )
        })?;
    }
    Ok(())
}

fn collect(path: &Path, into: &mut BTreeSet<i32>) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    into.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for child in children(path) {
        collect(&child, into);
    }
}

/// Deepest first. What does not go now is tried again by the caller.
fn remove_below(path: &Path) {
    for child in children(path) {
        remove_below(&child);
    }
    drop(fs::remove_dir(path));
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn a_bare_cgroup2_mount_beside_v1_is_not_taken_for_the_unified_hierarchy() {
        let hierarchies = Hierarchies::from_mountinfo(V1).unwrap();
        hierarchies.check().unwrap();
        let Hierarchies::V1 { mounts, bare } = hierarchies else { panic!("v1 is expected") };
        assert_eq!(bare, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mounts.len(), 4);
        assert!(mounts.contains(&"/sys/fs/cgroup/systemd".into()));
    }

    #[test]
    fn no_mount_and_missing_controllers_name_a_remedy() {
        let error = Hierarchies::from_mountinfo("").unwrap_err().to_string();
        assert!(error.contains("remedy"), "{error}");
        let only_cpu = Hierarchies::V1 { mounts: vec!["/sys/fs/cgroup/cpu".into()], bare: None };
        let error = only_cpu.check().unwrap_err().to_string();
        assert!(error.contains("memory, pids"), "{error}");
    }

    /// Files instead of a kernel: which controllers are switched on where.
    #[test]
    fn unified_controllers_are_switched_on_from_the_root_down() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let group = Group::new(Hierarchies::V2(root.into()), "tideway/n1");
        for at in ["", "tideway", "tideway/n1"] {
            let at = root.join(at);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("cgroup.controllers"), "cpu memory pids").unwrap();
            fs::write(at.join("cgroup.subtree_control"), "cpu memory").unwrap();
        }
        Hierarchies::V2(root.into()).check().unwrap();
        group.create().unwrap();
        for at in ["", "tideway", "tideway/n1"] {
            let written = fs::read_to_string(root.join(at).join("cgroup.subtree_control")).unwrap();
            assert_eq!(written, "+pids", "{at}");
        }
    }
}
