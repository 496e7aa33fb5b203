//! The kernel's own tools, fed with batches: one process per change, not one per object.
//!
//! The lab is not on a hot path, and what `ip` and `nft` accept is what people can type to look at it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::{FabricError, netns};

/// Runs lines of `ip` commands in a namespace and stops at the first that fails.
pub(super) fn ip(namespace: &str, doing: &str, lines: &[String]) -> Result<(), FabricError> {
    if lines.is_empty() {
        return Ok(());
    }
    let output = feed(Command::new("ip").args(["-n", namespace, "-batch", "-"]), &lines.join("\n"));
    accepted("ip", namespace, doing, output).map(drop)
}

/// Runs lines of `ip` commands that remove things; what is gone already is no error.
pub(super) fn ip_remove(namespace: &str, doing: &str, lines: &[String]) -> Result<(), FabricError> {
    const GONE: [&str; 5] = [
        "No such process",
        "No such file or directory",
        "Cannot find device",
        "No such device", // a link group without links
        "Cannot assign requested address",
    ];
    if lines.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("ip");
    command.args(["-n", namespace, "-force", "-batch", "-"]);
    let output = feed(&mut command, &lines.join("\n")).map_err(|e| spawn_failed("ip", doing, e))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let refused = said
        .lines()
        .filter(|line| !line.starts_with("Command failed") && !line.trim().is_empty())
        .any(|line| !GONE.iter().any(|gone| line.contains(gone)));
    if refused { Err(refusal("ip", namespace, doing, &output)) } else { Ok(()) }
}

/// Applies an nftables script in a namespace as one transaction.
pub(super) fn nft(namespace: &str, doing: &str, script: &str) -> Result<(), FabricError> {
    let output = netns::run_in(namespace, || feed(Command::new("nft").args(["-f", "-"]), script))
        .and_then(std::convert::identity);
    accepted("nft", namespace, doing, output).map(drop)
}

/// The output of a tool that only looks.
pub(super) fn look(
    tool: &'static str,
    namespace: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String, FabricError> {
    let output = netns::run_in(namespace, || feed(Command::new(tool).args(arguments), input))
        .and_then(std::convert::identity);
    accepted(tool, namespace, "listing", output)
}

fn feed(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // On a thread of its own: a tool that talks before it has read everything must not block us.
        scope.spawn(move || {
            if let Some(mut pipe) = stdin.take() {
                // A tool that stops early closes the pipe; its exit status tells why.
                drop(pipe.write_all(input.as_bytes()));
            }
        });
        child.wait_with_output()
    })
}

fn accepted(
    tool: &'static str,
    namespace: &str,
    doing: &str,
    output: std::io::Result<Output>,
) -> Result<String, FabricError> {
    let output = output.map_err(|e| spawn_failed(tool, doing, e))?;
    if !output.status.success() {
        return Err(refusal(tool, namespace, doing, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn spawn_failed(tool: &str, doing: &str, source: std::io::Error) -> FabricError {
    FabricError::Io { doing: format!("running {tool} ({doing})"), source }
}

fn refusal(tool: &'static str, namespace: &str, doing: &str, output: &Output) -> FabricError {
    FabricError::Tool {
        tool,
        namespace: namespace.to_owned(),
        doing: doing.to_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
    }
}
