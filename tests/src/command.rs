//! Short commands: run to the end, output as text, and a failure that names command and cause.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The command as a person would type it, for messages.
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs and returns everything, whatever the exit status.
pub fn output(command: &mut Command, stdin: Option<&[u8]>) -> Result<Output> {
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(command)))?;
    let feeder = match (child.stdin.take(), stdin) {
        (Some(mut pipe), Some(bytes)) => {
            let bytes = bytes.to_vec();
            Some(std::thread::spawn(move || pipe.write_all(&bytes)))
        }
        _ => None,
    };
    let output = child.wait_with_output().with_context(|| shown(command))?;
    if let Some(feeder) = feeder {
        // A command that ends without reading its input shows by its exit status.
        drop(feeder.join());
    }
    Ok(output)
}

/// Runs, expects success, returns standard output.
pub fn run(command: &mut Command) -> Result<String> {
    run_with(command, None)
}

/// As [`run`], with standard input.
pub fn run_with(command: &mut Command, stdin: Option<&[u8]>) -> Result<String> {
    let output = output(command, stdin)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
    // The cause comes first: the demo's last line shows the first line of an error.
    let said = if said.is_empty() { "it said nothing" } else { said };
    bail!("{said}\n  ({}, of: {})", output.status, shown(command));
}

/// A command line from a program and its arguments.
pub fn line<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    command
}

/// A program inside a named network namespace, with the host's file system.
pub fn in_netns(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = line("nsenter", [format!("--net=/run/netns/{namespace}"), "--".into()]);
    command.arg(program);
    command
}

/// Where a program is on `PATH` or in the usual places of root.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
