//! The nodes' network state before and after, taken by the lab and compared within the time that is promised.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    binaries::Binaries,
    daemons,
    lab_process::LabProcess,
    pool,
    snapshot::{self, PoolWords, Snapshot},
};
use crate::{
    at_once::{at_once, task},
    cluster::Node,
    run_dir::RunDir,
    wait::{self, Look},
};

/// How long after the last DEL, and after uninstall, the nodes may still differ.
const SETTLE: Duration = Duration::from_secs(10);

/// Snapshots or words by node.
pub type ByNode<T> = BTreeMap<String, T>;

/// Who looks at what.
#[derive(Debug, Clone, Copy)]
pub struct Inspection<'a> {
    /// Takes the snapshots.
    pub lab: &'a LabProcess,
    /// Copies go to the logs, for people who look into a failure.
    pub dir: &'a RunDir,
    /// The nodes.
    pub nodes: &'a [Node<'a>],
    /// To ask the daemons.
    pub binaries: &'a Binaries,
}

impl Inspection<'_> {
    /// All nodes with these pools; `when` names the copies.
    pub fn take(&self, when: &str, pools: &ByNode<PoolWords>) -> Result<ByNode<Snapshot>> {
        let take = |name: &str| {
            let network = self.lab.snapshot(name)?;
            fs::write(self.dir.logs().join(format!("snapshot-{when}-{name}.txt")), &network)?;
            let pool = pools.get(name).cloned().unwrap_or_default();
            Ok((name.to_owned(), Snapshot { network, pool }))
        };
        let take = &take;
        let tasks = self.nodes.iter().map(|node| task(move || take(node.name())));
        Ok(at_once(tasks.collect())?.into_iter().collect())
    }

    /// What belongs to the pools now.
    pub fn pool(&self) -> Result<ByNode<PoolWords>> {
        let words = |node: &Node<'_>| {
            let shown = daemons::show(node, self.binaries)?;
            Ok((node.name().to_owned(), pool::words(&shown)))
        };
        self.nodes.iter().map(words).collect()
    }

    /// Waits until the nodes equal `before`, called `what`, but for the pools that are there now. The message names every
    /// difference that stays.
    pub fn equal(
        &self,
        before: &ByNode<Snapshot>,
        what: &str,
        when: &str,
        mut pool: impl FnMut() -> Result<ByNode<PoolWords>>,
    ) -> Result<()> {
        wait::until(&format!("leaked: the nodes equal {what}"), SETTLE, || {
            let mut found = Vec::new();
            for (node, after) in self.take(when, &pool()?)? {
                let before = before.get(&node).context("a node without a snapshot")?;
                let differences = snapshot::differences(before, &after);
                found.extend(differences.into_iter().map(|d| format!("{node}: {d}")));
            }
            if found.is_empty() {
                return Ok(Look::Seen(()));
            }
            Ok(Look::NotYet(format!("{} differences\n{}", found.len(), found.join("\n"))))
        })
    }
}
