//! Programs inside network namespaces, run to their end.

use std::{
    ffi::OsStr,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::wait::{Look, until};

/// The file of a named namespace.
pub fn named(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// A command inside the namespace at `path`. It replaces `nsenter`, so the child's pid is the program's own.
pub fn command(path: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path.display())).arg("--").arg(program);
    command.stdin(Stdio::null());
    command
}

/// Runs a command in the namespace and returns its standard output; fails when it fails.
pub fn run<S: AsRef<OsStr>>(
    path: &Path,
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String> {
    let mut command = command(path, program);
    checked(command.args(arguments))
}

/// Runs any command and returns its standard output; fails when it fails.
pub fn checked(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("{command:?}: {}: {}", output.status, said(&output))
}

/// What a command said, errors first.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    [text(&output.stderr), text(&output.stdout)].join(" ").trim().to_owned()
}

/// One ping, answered within a second.
pub fn pings(path: &Path, target: IpAddr) -> Result<bool> {
    let mut ping = command(path, "ping");
    ping.args(["-n", "-c", "1", "-W", "1", &target.to_string()]);
    Ok(ping.output().context("ping")?.status.success())
}

/// Pings until an answer comes.
pub fn reaches(what: &str, path: &Path, target: IpAddr) -> Result<()> {
    until(&format!("{what}: ping to {target}"), Duration::from_secs(6), || {
        Ok(Look::of(pings(path, target)?, || "no answer".to_owned()))
    })
}

/// Names of the links in a namespace.
pub fn links(path: &Path) -> Result<Vec<String>> {
    let text = run(path, "cat", ["/proc/net/dev"])?;
    Ok(text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}

/// MAC addresses of the links in a namespace.
pub fn macs(path: &Path) -> Result<Vec<String>> {
    let text = run(path, "ip", ["-o", "link", "list"])?;
    let mac = |line: &str| {
        let (_, rest) = line.split_once("link/ether ")?;
        rest.split(' ').next().map(str::to_owned)
    };
    Ok(text.lines().filter_map(mac).collect())
}
