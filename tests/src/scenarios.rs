//! A test program that runs scenarios one after the other on one bed: the words and the result line of cargo's own harness.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;

/// Runs the scenarios that the command line asks for: those whose name holds one of its words, all without one. `run` answers
/// how many passed and failed; an error of its own is an error of `bed`, and then all of them failed.
pub fn conduct<S: Copy>(
    bed: &str,
    scenarios: &[(&'static str, S)],
    run: impl FnOnce(&[(&'static str, S)]) -> Result<(usize, usize)>,
) -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    // Options of the standard harness are no words.
    let words: Vec<&String> = asked.iter().filter(|a| !a.starts_with('-')).collect();
    let ignored = asked.iter().any(|a| a == "--ignored");
    let wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let chosen: Vec<(&'static str, S)> =
        scenarios.iter().copied().filter(|(name, _)| !ignored && wanted(name)).collect();
    if asked.iter().any(|a| a == "--list") {
        for (name, _) in &chosen {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    say(&format!("\nrunning {} tests", chosen.len()));
    let (passed, failed) = match run(&chosen) {
        Ok(counts) => counts,
        Err(error) => {
            say(&format!("{bed}: {error:#}"));
            (0, chosen.len().max(1))
        }
    };
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("\ntest result: {outcome}. {passed} passed; {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for people.
pub fn say(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}
