//! Makes a failing run short: leaves out choices while the same promise is still broken.

use crate::run::{Outcome, Plan};

/// Most runs that are spent on one failure.
const RUNS: u32 = 4_000;

/// The shortest plan found that breaks the same promise, and how it ends.
pub fn shrink(plan: &Plan, run: impl Fn(&Plan) -> Outcome) -> (Plan, Outcome) {
    let mut best = plan.clone();
    let mut end = run(&best);
    let Some(rule) = end.violation.as_ref().map(|(v, _)| v.rule) else { return (best, end) };
    cut_tail(&mut best, &end);
    let mut spent = 0;
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < best.steps.len() && spent < RUNS {
            let mut trial = best.clone();
            let stop = (at + size).min(trial.steps.len());
            trial.steps.drain(at..stop);
            spent += 1;
            let outcome = run(&trial);
            if outcome.violation.as_ref().is_some_and(|(v, _)| v.rule == rule) {
                best = trial;
                cut_tail(&mut best, &outcome);
                end = outcome;
                shorter = true;
            } else {
                at += size;
            }
        }
        if !(shorter && size == 1) {
            size /= 2;
        }
        if spent >= RUNS {
            break;
        }
    }
    (best, end)
}

/// Choices after the broken promise played no part.
fn cut_tail(plan: &mut Plan, outcome: &Outcome) {
    if let Some((_, taken)) = &outcome.violation {
        plan.steps.truncate(usize::try_from(*taken).unwrap_or(usize::MAX));
    }
}
