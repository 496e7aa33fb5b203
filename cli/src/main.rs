//! The process around [`tideway_cli::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let status = tideway_cli::run(
        std::env::args_os().collect(),
        &mut std::io::stdout().lock(),
        &mut std::io::stderr().lock(),
    );
    ExitCode::from(status)
}
