//! `tideway lab …` is `tideway-lab …`: the lab stays a program of its own, so that nodes need not carry it.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
};

use crate::CommandError;

const PROGRAM: &str = "tideway-lab";

/// Becomes the lab's program: the one beside us, else the one on PATH.
pub(crate) fn run(args: &[OsString]) -> Result<(), CommandError> {
    let program = beside_us().map_or_else(|| OsString::from(PROGRAM), PathBuf::into_os_string);
    let error = Command::new(&program).args(args).exec();
    Err(CommandError::Lab(format!(
        "{} could not be started: {error}; build it with `cargo build -p {PROGRAM}`, or put it beside this program or on PATH",
        program.display()
    )))
}

fn beside_us() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let path = own.with_file_name(OsStr::new(PROGRAM));
    path.is_file().then_some(path)
}
