//! The harness without a cluster: what it finds on the machine, and that its teardown ends what is ours and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking; helpers stand outside of #[test] functions"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command},
    time::Duration,
};

use tideway_e2e::{
    cgroup::{Group, Hierarchies},
    cluster, command, preflight,
    process::ProcessId,
    roster::Roster,
    run_dir::RunDir,
    source, wait,
};

/// Ends a helper process of a test whatever happens.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Sleeper {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn id(&self) -> ProcessId {
        ProcessId::of(self.0.id().try_into().unwrap()).unwrap()
    }
}

fn ends(id: ProcessId) -> bool {
    wait::settled(Duration::from_secs(5), || !id.runs())
}

#[test]
fn what_the_machine_lacks_is_named_in_one_message_with_remedies() {
    let script = source("machine.sh");
    // Not root and without Rust on PATH: nothing may be installed, everything must be named.
    let mut bare = command::line("env", ["-i", "PATH=/usr/bin:/bin", "HOME=/nonexistent"]);
    bare.args(["setpriv", "--reuid=65534", "--clear-groups", "bash", "-s"]);
    if !tideway_testkit::requires_root(
        "what_the_machine_lacks_is_named_in_one_message_with_remedies",
    ) {
        return;
    }
    let output = command::output(&mut bare, Some(&fs::read(script).unwrap())).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("Rust: install"), "{said}");
    assert_eq!(said.matches("this machine lacks").count(), 1, "{said}");
}

#[test]
fn toolchains_that_are_too_old_are_named_with_the_version_that_is_needed() {
    let word = |file: &str, key: &str| {
        let text = fs::read_to_string(source(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_matches([' ', '=', '"']).to_owned()
    };
    let rust = word("../Cargo.toml", "rust-version");
    let go = word("cluster/kubebed/go.mod", "go ");
    let old = tempfile::tempdir().unwrap();
    let stand_in = |name: &str, says: &str| {
        let path = old.path().join(name);
        fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let said = || {
        let path = format!("PATH={}:/usr/bin:/bin:/usr/sbin", old.path().display());
        let mut script = command::line("env", [path.as_str(), "bash"]);
        script.arg(source("machine.sh"));
        String::from_utf8_lossy(&command::output(&mut script, None).unwrap().stderr).into_owned()
    };
    stand_in("cargo", "cargo 1.94.9 (0123456 2026-01-01)");
    stand_in("go", "go version go1.9.7 linux/amd64");
    let text = said();
    let [major, minor] = [0, 1].map(|n| go.split('.').nth(n).unwrap());
    for wanted in [
        format!("Rust: 1.94.9 on PATH is too old; install {rust} or newer"),
        format!("Go: 1.9.7 on PATH is too old; install {major}.{minor} or newer"),
    ] {
        assert!(text.contains(&wanted), "{wanted} is not in: {text}");
    }
    stand_in("cargo", &format!("cargo {rust}.0 (0123456 2026-01-01)"));
    stand_in("go", &format!("go version go{go} linux/amd64"));
    let text = said();
    assert!(!text.contains("too old"), "{text}");
}

#[test]
fn this_kernel_has_what_a_node_needs() {
    let test = "this_kernel_has_what_a_node_needs";
    if !tideway_testkit::requires_root(test) {
        return;
    }
    let findings = preflight::kernel::missing();
    if !findings.is_empty() {
        tideway_testkit::skip(test, &findings.join("; "));
    }
}

#[test]
fn a_group_is_emptied_and_removed_from_every_hierarchy() {
    let test = "a_group_is_emptied_and_removed_from_every_hierarchy";
    let Ok(hierarchies) = Hierarchies::detect() else {
        tideway_testkit::skip(test, "no cgroup file system is mounted");
        return;
    };
    let name = format!("tideway-test-{}", std::process::id());
    let group = Group::new(hierarchies.clone(), &format!("{name}/n1"));
    if let Err(error) = group.create() {
        tideway_testkit::skip(test, &format!("cgroups cannot be made: {error:#}"));
        return;
    }
    let mounts = match &hierarchies {
        Hierarchies::V1 { mounts, .. } => mounts.clone(),
        Hierarchies::V2(root) => vec![root.clone()],
    };
    // One process below the group in each hierarchy, as containers are.
    let sleepers: Vec<Sleeper> = mounts
        .iter()
        .map(|mount| {
            let pod = mount.join(&name).join("n1/pod");
            fs::create_dir_all(&pod).unwrap();
            let sleeper = Sleeper::start(&mut command::line("sleep", ["600"]));
            if mount.ends_with("cpuset") {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    for at in [mount.join(&name), mount.join(&name).join("n1"), pod.clone()] {
                        fs::write(at.join(file), fs::read(mount.join(file)).unwrap()).unwrap();
                    }
                }
            }
            fs::write(pod.join("cgroup.procs"), sleeper.id().pid.to_string()).unwrap();
            sleeper
        })
        .collect();
    assert_eq!(group.tasks().len(), sleepers.len());
    group.kill().unwrap();
    assert!(sleepers.iter().all(|s| ends(s.id())));
    drop(sleepers);
    group.remove().unwrap();
    assert!(mounts.iter().all(|mount| !mount.join(&name).exists()), "the parent is gone too");
}

#[test]
fn teardown_after_a_crash_ends_the_nodes_shims_and_nobody_else() {
    let test = "teardown_after_a_crash_ends_the_nodes_shims_and_nobody_else";
    if !tideway_testkit::requires_root(test) {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let shim = temporary.path().join("containerd-shim-test");
    fs::copy(command::find_program("sleep").unwrap(), &shim).unwrap();
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
    for init_is_gone in [false, true] {
        let dir = RunDir::at(&temporary.path().join(format!("run-{init_is_gone}")));
        dir.create().unwrap();
        let roster = Roster::new(&dir);
        let init = roster
            .start("init-n1", &command::line("unshare", ["--mount", "sleep", "600"]))
            .unwrap();
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        let own = namespace(std::process::id().try_into().unwrap());
        assert!(wait::settled(Duration::from_secs(5), || namespace(init.pid) != own));
        for (kind, text) in [
            ("nodes", format!("/tideway-test-none-{}", std::process::id())),
            ("mounts", namespace(init.pid).to_string_lossy().into_owned()),
        ] {
            fs::create_dir_all(dir.state().join(kind)).unwrap();
            fs::write(dir.state().join(kind).join("n1"), text).unwrap();
        }
        let inside = |program: &str| {
            let mut command = command::line("nsenter", ["-t", &init.pid.to_string(), "-m", "--"]);
            Sleeper::start(command.args([program, "600"]))
        };
        let orphan = inside(shim.to_str().unwrap());
        let stranger = Sleeper::start(&mut command::line("sleep", ["600"]));
        assert!(wait::settled(Duration::from_secs(5), || {
            namespace(orphan.id().pid) == namespace(init.pid)
        }));
        let id = orphan.id();
        if init_is_gone {
            roster.stop("init-n1", Duration::ZERO).unwrap();
            // The record stays, as it does after a crash.
            fs::write(dir.pids().join("init-n1"), init.to_string()).unwrap();
        }
        assert_eq!(cluster::tear_down(&dir), Vec::<String>::new());
        assert!(ends(id), "init gone: {init_is_gone}");
        assert!(ends(init));
        assert!(stranger.id().runs());
        dir.remove().unwrap();
    }
}
