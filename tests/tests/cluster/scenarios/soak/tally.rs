//! What the daemons counted, over their restarts.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Context as _, Result};
use tideway_e2e::{cluster::Node, command};

use crate::{bed::Bed, say};

/// The daemon's histogram of its answers to ADD.
const BUCKET: &str = "tideway_cni_request_duration_seconds_bucket{";

/// Calls that took at most so many seconds, by the text of the bucket's edge.
type Buckets = BTreeMap<String, u64>;

pub(super) struct Tally {
    since: Instant,
    /// KiB of each program.
    pub(super) began: BTreeMap<String, u64>,
    calls: Buckets,
    /// As each node's daemon showed them last.
    last: BTreeMap<String, Buckets>,
}

impl Tally {
    pub(super) fn new(bed: &Bed) -> Result<Self> {
        let mut tally = Self {
            since: Instant::now(),
            began: memory(bed)?,
            calls: Buckets::new(),
            last: BTreeMap::new(),
        };
        tally.take(bed);
        // What came before does not count.
        tally.calls.clear();
        Ok(tally)
    }

    /// Adds what was counted since the last time. A daemon that does not answer is asked another time.
    pub(super) fn take(&mut self, bed: &Bed) {
        for node in bed.nodes() {
            let Ok(now) = buckets(&node) else { continue };
            let last = self.last.insert(node.name().to_owned(), now.clone()).unwrap_or_default();
            for (edge, count) in now {
                let before = last.get(&edge).copied().unwrap_or_default();
                *self.calls.entry(edge).or_default() += count.saturating_sub(before);
            }
        }
    }

    /// The daemon of this node counts from zero.
    pub(super) fn begins_anew(&mut self, node: &Node<'_>) {
        self.last.remove(node.name());
    }

    /// The upper edge of the bucket in which so many percent of the calls have ended.
    fn within(&self, percent: u64) -> &str {
        let all = self.calls.get("+Inf").copied().unwrap_or_default();
        let mut edges: Vec<(f64, &str, u64)> = self
            .calls
            .iter()
            .map(|(edge, count)| (edge.parse().unwrap_or(f64::INFINITY), edge.as_str(), *count))
            .collect();
        edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        let found = edges.iter().find(|(.., count)| count * 100 >= percent * all);
        found.map_or("?", |(_, edge, _)| edge)
    }

    pub(super) fn report(
        &self,
        rounds: usize,
        faults: usize,
        cloud: u64,
        memory: &BTreeMap<String, u64>,
    ) {
        let adds = self.calls.get("+Inf").copied().unwrap_or_default();
        let seconds = self.since.elapsed().as_secs().max(1);
        say(&format!(
            "  soak: {rounds} rounds in {seconds} s, {faults} faults, {adds} answered ADDs ({} a minute and node), \
             p50 <= {} s, p99 <= {} s, {cloud} cloud calls",
            adds * 30 / seconds,
            self.within(50),
            self.within(99),
        ));
        for (program, kib) in memory {
            let began = self.began.get(program).copied().unwrap_or_default();
            say(&format!("  {program}: {began} KiB at the beginning, {kib} KiB at the end"));
        }
    }
}

fn buckets(node: &Node<'_>) -> Result<Buckets> {
    let mut ask = node.command("curl")?;
    ask.args(["--silent", "--fail", "--max-time", "2", "http://127.0.0.1:9841/metrics"]);
    let page = command::run(&mut ask)?;
    let of_add = page.lines().filter_map(|line| {
        let (labels, count) = line.strip_prefix(BUCKET)?.split_once("} ")?;
        let edge = labels.split_once("le=\"")?.1.split('"').next()?;
        labels.contains("verb=\"ADD\"").then(|| Some((edge.to_owned(), count.parse().ok()?)))?
    });
    Ok(of_add.collect())
}

/// Anonymous memory of the daemons and the extender, in KiB.
pub(super) fn memory(bed: &Bed) -> Result<BTreeMap<String, u64>> {
    let roster = bed.cluster.roster();
    let daemons = bed.nodes().map(|node| node.process("tidewayd"));
    let mut all = BTreeMap::new();
    for program in daemons.into_iter().chain(["extender".to_owned()]) {
        let process = roster.get(&program).with_context(|| format!("{program} does not run"))?;
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid))?;
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok()
        });
        all.insert(program, kib.context("no RssAnon")?);
    }
    Ok(all)
}
