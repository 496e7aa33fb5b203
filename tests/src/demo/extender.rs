//! The scheduler's extender in the demo: its rights, its start, and whether it was really asked.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    cluster::Cluster,
    wait::{self, Look},
};

/// The extender counts once a second.
const SOON: Duration = Duration::from_secs(5);

/// Gives the scheduler's user the further rights, and starts the extender. Nobody waits for it here.
pub fn start(cluster: &Cluster) -> Result<()> {
    cluster.kubectl()?.apply(include_str!("../../../manifests/scheduler/rbac.yaml"))?;
    cluster.start_extender()
}

/// After all pods run: the extender was asked about each, and none was put where it saw no room. Answers a line for people.
pub fn was_asked(cluster: &Cluster, pods: u64) -> Result<String> {
    let figures = Figures(cluster.extenders_page("/metrics")?);
    let (filter, refused) = (figures.answers("filter", "ok"), figures.answers("filter", "refused"));
    ensure!(
        filter > 0,
        "the extender was never asked, or answered nothing: the scheduler went on without it; see scheduler.log and extender.log"
    );
    let errors = figures.answers("filter", "error") + figures.answers("prioritize", "error");
    let overshoot = figures.number("unwelcome_events_total{of=\"overshoot\"}");
    ensure!(
        errors == 0 && overshoot == 0,
        "the extender counts {errors} errors, {overshoot} pods too many"
    );
    let prioritize = figures.answers("prioritize", "ok");
    Ok(format!(
        "extender: {filter} filter and {prioritize} prioritize calls answered for {pods} pods, {refused} refused"
    ))
}

/// With the pods gone, nothing is held and nobody waits.
pub fn is_at_rest(cluster: &Cluster) -> Result<()> {
    wait::until("the extender holds nothing", SOON, || {
        let figures = Figures(cluster.extenders_page("/metrics")?);
        let books =
            ["in_flight", "refused"].map(|of| figures.number(&format!("books{{of=\"{of}\"}}")));
        Ok(if books == [0, 0] {
            Look::Seen(())
        } else {
            Look::NotYet(format!("{books:?} pods in flight and refused"))
        })
    })
}

/// A page of metrics.
struct Figures(String);

impl Figures {
    fn answers(&self, verb: &str, outcome: &str) -> u64 {
        self.number(&format!("requests_total{{verb=\"{verb}\",outcome=\"{outcome}\"}}"))
    }

    /// A whole number; one that was never counted is not on the page.
    fn number(&self, name: &str) -> u64 {
        let line = self.0.lines().find_map(|line| {
            line.strip_prefix("tideway_extender_")?.strip_prefix(name)?.strip_prefix(' ')
        });
        line.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_by_its_whole_name() {
        let page = "# TYPE x\n\
                    tideway_extender_requests_total{verb=\"filter\",outcome=\"ok\"} 12\n\
                    tideway_extender_books{of=\"refused\"} 3\n";
        let figures = Figures(page.to_owned());
        assert_eq!(figures.answers("filter", "ok"), 12);
        assert_eq!(figures.answers("filter", "refused"), 0);
        assert_eq!(figures.number("books{of=\"refused\"}"), 3);
    }
}
