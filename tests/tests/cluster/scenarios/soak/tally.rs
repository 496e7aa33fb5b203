//! What the daemons counted, over their restarts.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Context as _, Result};
use tideway_e2e::{cluster::Node, command};

use crate::{bed::Bed, say};

/// What the daemon counts of its answers to ADD, by the line of its page: how many by outcome, and how many in each bucket.
type Counts = BTreeMap<String, u64>;

const OUTCOMES: &str = "tideway_cni_requests_total{";
const BUCKETS: &str = "tideway_cni_request_duration_seconds_bucket{";
const OF_ADD: &str = "verb=\"ADD\"";
const GRANTED: &str = "code=\"0\"";

pub(super) struct Tally {
    since: Instant,
    /// KiB of each program.
    pub(super) began: BTreeMap<String, u64>,
    counts: Counts,
    /// As each node's daemon showed them last.
    last: BTreeMap<String, Counts>,
}

impl Tally {
    pub(super) fn new(bed: &Bed) -> Result<Self> {
        let mut tally = Self {
            since: Instant::now(),
            began: memory(bed)?,
            counts: Counts::new(),
            last: BTreeMap::new(),
        };
        tally.take(bed);
        // What came before does not count.
        tally.counts.clear();
        Ok(tally)
    }

    /// Adds what was counted since the last time. A daemon that does not answer is asked another time.
    pub(super) fn take(&mut self, bed: &Bed) {
        for node in bed.nodes() {
            let Ok(now) = counts(&node) else { continue };
            let last = self.last.insert(node.name().to_owned(), now.clone()).unwrap_or_default();
            for (line, count) in now {
                let before = last.get(&line).copied().unwrap_or_default();
                *self.counts.entry(line).or_default() += count.saturating_sub(before);
            }
        }
    }

    /// The daemon of this node counts from zero.
    pub(super) fn begins_anew(&mut self, node: &Node<'_>) {
        self.last.remove(node.name());
    }

    /// ADDs that were granted, and all that were answered.
    fn adds(&self) -> (u64, u64) {
        let outcomes = || self.counts.iter().filter(|(line, _)| line.starts_with(OUTCOMES));
        let granted = outcomes().filter(|(line, _)| line.contains(GRANTED));
        (granted.map(|(_, count)| count).sum(), outcomes().map(|(_, count)| count).sum())
    }

    /// The upper edge of the bucket in which so many percent of the answers were given.
    fn within(&self, percent: u64) -> String {
        let edge = |line: &str| line.split_once("le=\"")?.1.split('"').next()?.parse::<f64>().ok();
        let buckets = self.counts.iter().filter(|(line, _)| line.starts_with(BUCKETS));
        let mut buckets: Vec<(f64, u64)> =
            buckets.filter_map(|(line, count)| Some((edge(line)?, *count))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last().map(|(_, count)| *count).unwrap_or_default();
        let found = buckets.iter().find(|(_, count)| count * 100 >= percent * all);
        found.map_or_else(|| "?".to_owned(), |(edge, _)| edge.to_string())
    }

    pub(super) fn report(
        &self,
        rounds: usize,
        faults: usize,
        cloud: u64,
        memory: &BTreeMap<String, u64>,
    ) {
        let (granted, answered) = self.adds();
        let seconds = self.since.elapsed().as_secs().max(1);
        say(&format!(
            "  soak: {rounds} rounds in {seconds} s, {faults} faults, {granted} pods started ({} a minute and node), \
             ADD p50 <= {} s, p99 <= {} s, {} ADDs refused, {cloud} cloud calls",
            granted * 30 / seconds,
            self.within(50),
            self.within(99),
            answered - granted,
        ));
        for (program, kib) in memory {
            let began = self.began.get(program).copied().unwrap_or_default();
            say(&format!("  {program}: {began} KiB at the beginning, {kib} KiB at the end"));
        }
    }
}

fn counts(node: &Node<'_>) -> Result<Counts> {
    let mut ask = node.command("curl")?;
    ask.args(["--silent", "--fail", "--max-time", "2", "http://127.0.0.1:9841/metrics"]);
    let page = command::run(&mut ask)?;
    let of_add = |line: &&str| {
        (line.starts_with(OUTCOMES) || line.starts_with(BUCKETS)) && line.contains(OF_ADD)
    };
    let count = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    Ok(page.lines().filter(of_add).filter_map(count).collect())
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
