//! The process: environment, stdin and stdout as they are, and the exit status that the specification asks for.

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;
use tideway_cni::{ProcessEnvironment, run};

/// One heap for the few milliseconds that the process lives: musl's own asks the kernel for memory twenty times, and gives it
/// back as often.
#[global_allocator]
static HEAP: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    let fine = run(
        &ProcessEnvironment,
        &mut std::io::stdin().lock(),
        &mut std::io::stdout().lock(),
        &mut std::io::stderr().lock(),
    );
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
