//! Figures of the scheduler and of the extender, read from their pages.

use anyhow::Result;
use tideway_e2e::command;

use crate::stack::Pair;

/// One page.
#[derive(Debug)]
pub(crate) struct Figures(String);

impl Figures {
    pub(crate) fn of_scheduler() -> Result<Self> {
        Self::read(&Pair::First.schedulers_pages())
    }
    pub(crate) fn of_extender(pair: Pair) -> Result<Self> {
        Self::read(&pair.extenders_pages())
    }

    fn read(pages: &str) -> Result<Self> {
        let url = format!("{pages}/metrics");
        let words = ["--silent", "--show-error", "--fail", "--insecure", "--max-time", "5", &url];
        command::run(&mut command::line("curl", words)).map(Self)
    }

    /// The sum of all samples of this name whose labels hold each of the words.
    pub(crate) fn sum(&self, name: &str, words: &[&str]) -> f64 {
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) || !words.iter().all(|w| rest.contains(w)) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        };
        self.0.lines().filter_map(value).sum()
    }
}

/// Events of the first pair's extender that should not be: `overshoot`, `hold_ended`.
pub(crate) fn unwelcome(of: &str) -> Result<f64> {
    let page = Figures::of_extender(Pair::First)?;
    Ok(page.sum("tideway_extender_unwelcome_events_total", &[&format!("of=\"{of}\"")]))
}

/// Attempts of the scheduler that ended with "unschedulable" or an error.
pub(crate) fn failed_attempts() -> Result<f64> {
    let page = Figures::of_scheduler()?;
    let name = "scheduler_schedule_attempts_total";
    Ok(page.sum(name, &[]) - page.sum(name, &["result=\"scheduled\""]))
}
