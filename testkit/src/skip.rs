//! Tests that cannot run here say so, and are counted: a silent pass would look like a proof.

use std::{fs::OpenOptions, io::Write};

/// Names the file that collects skipped tests, one line each.
pub const SKIPS_FILE: &str = "TIDEWAY_SKIPS";

/// Says on stderr, and in the file that [`SKIPS_FILE`] names, that `test` does not run here. The caller returns after it.
///
/// # Panics
/// When it cannot be said: a skip that nobody counts would look like a pass.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    let mut told = std::io::stderr().write_all(line.as_bytes()).is_ok();
    if let Some(path) = std::env::var_os(SKIPS_FILE) {
        // One write to a file in append mode: lines of parallel tests do not mix.
        told &= OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .is_ok();
    }
    assert!(told, "{test} could not be reported as skipped ({reason}): check {SKIPS_FILE}");
}

/// True when the test may go on: we are root. Otherwise reports the skip and is false.
pub fn requires_root(test: &str) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        skip(test, "needs root (network namespaces and mounts)");
    }
    root
}
