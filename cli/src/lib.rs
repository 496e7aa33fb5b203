//! `tideway`: what a node does, for people and for scripts.
//!
//! It asks the daemon over its socket and never changes anything. People get tables; `-o json` gives the shapes of
//! [`view`], whose keys are a promise. Exit status: see [`exit`].

mod args;
mod capacity;
mod check;
mod lab;
mod maxpods;
mod node;
mod pod;
mod status;
mod table;
pub mod view;

use std::{ffi::OsString, io::Write};

use clap::Parser;

/// Exit statuses.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// The daemon refused, a check failed, or something else went wrong; the text tells.
    pub const FAILED: u8 = 1;
    /// The command line, or a file that it names, is wrong.
    pub const USAGE: u8 = 2;
    /// The daemon does not answer.
    pub const UNREACHABLE: u8 = 3;
    /// The daemon does not know the pod.
    pub const UNKNOWN_POD: u8 = 4;
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// No connection.
    #[error(
        "tidewayd does not answer on {socket}: {cause}\nSee whether it runs on this node (it is node-local; run this command there, as root), or name its socket with --socket."
    )]
    Unreachable {
        /// Path.
        socket: String,
        /// Cause.
        cause: String,
    },
    /// The daemon's refusal.
    #[error("tidewayd refused: {0}")]
    Refused(String),
    /// No such pod.
    #[error(
        "pod {0} has no interface of ours on this node and does not wait for one.\nA pod of another node is known to that node's tidewayd; hostNetwork pods have no interface of ours."
    )]
    UnknownPod(String),
    /// What was given to read says nothing of use.
    #[error("{0}")]
    Input(String),
    /// Settings are not as they should be; they were printed.
    #[error("checks that failed: {0}")]
    Failed(usize),
    /// The lab program could not be started.
    #[error("{0}")]
    Lab(String),
    /// Writing the answer failed.
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    fn exit(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => exit::UNREACHABLE,
            Self::UnknownPod(_) => exit::UNKNOWN_POD,
            Self::Input(_) => exit::USAGE,
            Self::Refused(_) | Self::Failed(_) | Self::Lab(_) | Self::Output(_) => exit::FAILED,
        }
    }
}

/// Runs a command line (the first element is the program's name) and returns the exit status.
pub fn run(args: Vec<OsString>, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let parsed = match args::CommandLine::try_parse_from(args::renamed(args)) {
        Ok(parsed) => parsed,
        Err(told) => {
            // Help and version are "errors" of the parser that belong on stdout.
            if told.use_stderr() {
                drop(write!(stderr, "{told}"));
                return exit::USAGE;
            }
            drop(write!(stdout, "{told}"));
            return exit::OK;
        }
    };
    let done = match parsed.command {
        args::Command::Status(options) => status::run(&options, stdout),
        args::Command::Pod(options) => pod::run(&options, stdout),
        args::Command::MaxPods(options) => maxpods::run(&options, stdout),
        args::Command::Check(options) => check::run(&options, stdout),
        args::Command::Lab { args } => lab::run(&args),
        args::Command::Version => {
            writeln!(stdout, "tideway {}", env!("CARGO_PKG_VERSION")).map_err(CommandError::from)
        }
    };
    match done {
        Ok(()) => exit::OK,
        // `tideway status | head` is no error.
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            exit::OK
        }
        Err(error) => {
            drop(writeln!(stderr, "tideway: {error}"));
            error.exit()
        }
    }
}
