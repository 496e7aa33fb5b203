//! `tideway-demo [up] [--keep]` runs the demo, `tideway-demo down` takes down what was kept.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use tideway_e2e::demo;

const USAGE: &str = "usage: tideway-demo [up] [--keep] | tideway-demo down";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] | ["up"] => demo::run(false),
        ["--keep"] | ["up", "--keep"] => demo::run(true),
        ["down"] => demo::down(),
        _ => demo::Outcome { ok: false, line: USAGE.into() },
    };
    // The exit status says it too when nobody reads.
    drop(writeln!(io::stdout(), "{}", outcome.line));
    if outcome.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
