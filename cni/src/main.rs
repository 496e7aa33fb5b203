//! The process: environment, stdin and stdout as they are, and the exit status that the specification asks for.

use std::process::ExitCode;

use tideway_cni::{ProcessEnvironment, run};

fn main() -> ExitCode {
    let fine = run(
        &ProcessEnvironment,
        &mut std::io::stdin().lock(),
        &mut std::io::stdout().lock(),
        &mut std::io::stderr().lock(),
    );
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
