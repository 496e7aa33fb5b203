//! libcni, which this project did not write, drives the built program through every verb and version.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::runtime::Runtime;

/// Builds the judge; Go's own cache makes the second time cheap.
fn judge() -> PathBuf {
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libcni-judge");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir("../tests/judges/libcni")
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    binary
}

#[test]
fn libcni_gets_what_it_expects_from_every_verb_and_version() {
    const TEST: &str = "libcni_gets_what_it_expects_from_every_verb_and_version";
    let Some(runtime) = Runtime::start(TEST) else { return };
    if Command::new("go").arg("version").output().is_err() {
        return tideway_testkit::skip(TEST, "go is not installed");
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_tideway-cni")).parent().unwrap();
    let judged = Command::new(judge())
        .args(["judge", "-bin"])
        .arg(bin)
        .arg("-socket")
        .arg(runtime.node.socket())
        .arg("-tickets")
        .arg(runtime.tickets())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(
        judged.status.success() && said.ends_with("13 passed, 0 failed\n"),
        "{said}{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    assert!(runtime.node.attached().is_empty(), "the judge left containers behind");
}
