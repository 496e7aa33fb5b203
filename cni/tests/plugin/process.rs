//! The same, as the process that a runtime starts: exit status, stdout, and nothing else on it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::runtime::Runtime;

fn start(runtime: &Runtime, verb: &str, stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tideway-cni"))
        .env_clear()
        .envs(runtime.env(verb))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn exit_status_and_stdout_are_what_runtimes_read() {
    let Some(mut runtime) = Runtime::start("exit_status_and_stdout_are_what_runtimes_read") else {
        return;
    };
    let conf = runtime.conf("1.0.0").to_string();
    let added = start(&runtime, "ADD", conf.as_bytes());
    assert_eq!(added.status.code(), Some(0));
    let result: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.64.0.10/32");
    assert!(added.stderr.is_empty(), "{added:?}");
    let truncated = start(&runtime, "ADD", &conf.as_bytes()[..20]);
    assert_eq!(truncated.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&truncated.stdout).unwrap();
    assert_eq!(error["code"], 6);
    runtime.node.crash().unwrap();
    let deleted = start(&runtime, "DEL", conf.as_bytes());
    assert_eq!(deleted.status.code(), Some(0));
    assert!(deleted.stdout.is_empty(), "{deleted:?}");
    assert_eq!(runtime.ticket_files().len(), 1);
}
