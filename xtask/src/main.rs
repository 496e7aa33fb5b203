//! Chores of the repository. `cargo run -p xtask -- arrows` checks that dependencies point downwards only.

mod arrows;

use std::process::ExitCode;

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks to its caller"
)]
fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let result = match verb.as_str() {
        "arrows" => arrows::check(),
        other => Err(anyhow::anyhow!("unknown chore {other:?}; there is: arrows")),
    };
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}
