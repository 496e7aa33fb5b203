//! A test program that runs scenarios one after the other on one bed: the words and the result line of cargo's own harness.

use std::{
    io::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Result, anyhow};

use crate::interrupt;

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

/// Runs scenarios one after the other; answers how many passed and failed. `act` runs one of them, `told` is said beside the
/// error of one that failed, and `recover` makes the bed fit for the next one then: when it cannot, the rest has failed too.
pub fn each<S: Copy>(
    bed: &str,
    chosen: &[(&'static str, S)],
    act: impl Fn(S) -> Result<()>,
    told: impl Fn() -> String,
    recover: impl Fn() -> Result<()>,
) -> Result<(usize, usize)> {
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in chosen {
        interrupt::check()?;
        let began = Instant::now();
        let outcome = guarded(|| act(*scenario));
        let seconds = began.elapsed().as_secs_f64();
        let Err(error) = outcome else {
            passed += 1;
            say(&format!("test {name} ... ok ({seconds:.1} s)"));
            continue;
        };
        failed += 1;
        say(&format!("test {name} ... FAILED ({seconds:.1} s)\n{error:#}\n{}", told()));
        if let Err(error) = guarded(&recover) {
            say(&format!("{bed} cannot be used any more: {error:#}\n{}", told()));
            failed = chosen.len() - passed;
            break;
        }
    }
    Ok((passed, failed))
}

/// A panic is a failure like any other: the bed is taken down after it.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Err(anyhow!("panicked: {}", text.unwrap_or_default()))
    })
}

/// A line for people.
pub fn say(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}
