//! The program as people use it, without a network.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Key, call};

/// Runs the program; stops the lab of the test when it ends, however it ends.
struct Runner {
    dir: tempfile::TempDir,
}

impl Runner {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tideway-lab"))
            .args(arguments)
            .env("TIDEWAY_LAB_DIR", self.dir.path())
            .output()
            .unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn description(&self, id: &str) -> Value {
        let file = self.dir.path().join(id).join("lab.json");
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            drop(self.run(&["down", "--id", &id]));
        }
    }
}

#[test]
fn lab_starts_answers_takes_faults_and_stops_without_a_trace() {
    let runner = Runner::new();
    let said = runner.ok(&["up", "--id", "tda", "--no-fabric", "--latency", "none"]);
    assert!(said.contains("lab tda is up"), "{said}");
    let about = runner.description("tda");
    let endpoint = about["endpoints"]["ecs"].as_str().unwrap();
    assert!(Path::new(about["caFile"].as_str().unwrap()).exists());
    assert!(!runner.run(&["up", "--id", "tda", "--no-fabric"]).status.success(), "twice");

    runner.ok(&["faults", "--id", "tda", "add", r#"{"kind":"throttle","count":1}"#]);
    let answer = call(endpoint, &Key::test(), "DescribeVpcs", &[]).unwrap();
    assert_eq!(answer.json()["Code"], "Throttling.User");
    assert_eq!(call(endpoint, &Key::test(), "DescribeVpcs", &[]).unwrap().status, 200);
    assert!(!runner.run(&["faults", "--id", "tda", "add", r#"{"kind":"no"}"#]).status.success());

    let ledger: Value =
        serde_json::from_str(&runner.ok(&["ledger", "--id", "tda", "-o", "json", "--verify"]))
            .unwrap();
    assert_eq!(ledger["total"], 2);
    assert_eq!(ledger["violations"], Value::Array(Vec::new()));
    let status: Value =
        serde_json::from_str(&runner.ok(&["status", "--id", "tda", "-o", "json"])).unwrap();
    assert_eq!(status["lab"]["id"], "tda");
    let folder = runner.dir.path().join("tdr");
    runner.ok(&["requests", "--id", "tda", "-o", folder.to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    std::fs::remove_dir_all(&folder).unwrap();

    runner.ok(&["down", "--id", "tda"]);
    assert!(!runner.dir.path().join("tda").exists());
    runner.ok(&["down", "--id", "tda"]);
    let said = runner.run(&["status", "--id", "tda"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("does not run"));
}

#[test]
fn killed_lab_can_be_taken_down_and_started_again() {
    let runner = Runner::new();
    runner.ok(&["up", "--id", "tdb", "--no-fabric"]);
    let pid = i32::try_from(runner.description("tdb")["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while kill(Pid::from_raw(pid), None).is_ok() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        // Its first thread may be a zombie while others still end.
        if stat.contains(") Z ") && threads <= 1 {
            break;
        }
        assert!(Instant::now() < end, "process {pid} does not die");
        std::thread::sleep(Duration::from_millis(10));
    }
    runner.ok(&["up", "--id", "tdb", "--no-fabric"]);
    assert_ne!(runner.description("tdb")["pid"].as_i64().unwrap(), i64::from(pid));
    runner.ok(&["down", "--id", "tdb"]);
}

#[test]
fn broken_configuration_is_named_before_anything_starts() {
    let runner = Runner::new();
    let file = runner.dir.path().join("lab.yaml");
    std::fs::write(&file, "vswitches: []\ninstances: [{name: n1, vswitch: z}]\n").unwrap();
    let output = runner.run(&["up", "--no-fabric", "--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("instances.n1") && said.contains("not listed"), "{said}");
}
