//! Keeps others off our ENIs.
//!
//! A hot-plugged ENI meets udev (which sets `rp_filter` a moment after the link appears), DHCP clients and network managers
//! (addresses, a second default route). They come late and again: with the last address that they take away, the kernel drops
//! every route through the link, the one to the gateway too. This watch compares the shared ENIs and the base every two seconds
//! in the first minute after a change and every fifteen afterwards, corrects, and remembers what it corrected.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tideway_datapath::{NetOp, SharedEniNet, plan, repair};
use tideway_model::{IfName, Mac};

use crate::{Datapath, DatapathError, apply::socket, datapath::Inner, observe};

const EAGER: Duration = Duration::from_secs(2);
const CALM: Duration = Duration::from_secs(15);
const FRESH: Duration = Duration::from_mins(1);
/// Reports that are kept until somebody fetches them.
const REPORTS: usize = 100;

/// What is watched, and what was corrected.
#[derive(Debug, Default)]
pub(crate) struct Guarded {
    shared: BTreeMap<u16, SharedEniNet>,
    idle: BTreeSet<Mac>,
    changed: Option<Instant>,
    looked: Option<Instant>,
    reports: Vec<String>,
}

impl Guarded {
    pub(crate) fn keep(&mut self, eni: SharedEniNet) {
        self.idle.remove(&eni.mac);
        self.shared.insert(eni.table_slot, eni);
        self.changed = Some(Instant::now());
    }

    pub(crate) fn forget(&mut self, slot: u16) {
        self.shared.remove(&slot);
    }

    /// A pod takes the ENI.
    pub(crate) fn taken(&mut self, mac: Mac) {
        self.idle.remove(&mac);
    }

    /// A pod gave the ENI back.
    pub(crate) fn returned(&mut self, mac: Mac) {
        self.idle.insert(mac);
        self.changed = Some(Instant::now());
    }

    pub(crate) fn replace(&mut self, enis: &[SharedEniNet]) {
        self.shared = enis.iter().map(|eni| (eni.table_slot, eni.clone())).collect();
        self.changed = Some(Instant::now());
    }

    /// The shared ENIs that are in use.
    pub(crate) fn shared(&self) -> Vec<SharedEniNet> {
        self.shared.values().cloned().collect()
    }

    /// Whether it is time for a look.
    fn due(&self) -> bool {
        let fresh = self.changed.is_some_and(|at| at.elapsed() < FRESH);
        let pause = if fresh { EAGER } else { CALM };
        self.looked.is_none_or(|at| at.elapsed() >= pause)
    }
}

impl Datapath {
    /// Names the attached ENIs that no pod and no shared pool uses; ADD and DEL of exclusive pods keep the list up. While they are named, their links are kept bare and down:
    /// a DHCP client that gives one of them a default route would take the node off the network.
    pub fn idle(&self, macs: BTreeSet<Mac>) {
        let mut guarded = self.inner().guarded();
        if guarded.idle != macs {
            guarded.idle = macs;
            guarded.changed = Some(Instant::now());
        }
    }

    /// What the watch over ENIs corrected since the last call.
    pub fn drift(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().guarded().reports)
    }

    /// Looks at the ENIs and the base at once; gives back what was corrected.
    pub async fn guard(&self) -> Result<Vec<String>, DatapathError> {
        self.blocking(Inner::guard).await
    }
}

impl Inner {
    pub(crate) fn guarded(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes changes of shared ENIs follow one another.
    pub(crate) fn eni_turn(&self) -> MutexGuard<'_, ()> {
        self.eni_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look, remembered.
    fn look(&self) {
        let found = self.guard();
        let mut guarded = self.guarded();
        guarded.looked = Some(Instant::now());
        match found {
            Ok(reports) => {
                for report in reports {
                    tracing::warn!("{report}");
                    if guarded.reports.len() < REPORTS {
                        guarded.reports.push(report);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "an ENI could not be kept in order"),
        }
    }

    fn guard(&self) -> Result<Vec<String>, DatapathError> {
        let _turn = self.eni_turn();
        let (shared, idle) = {
            let guarded = self.guarded();
            (guarded.shared(), guarded.idle.clone())
        };
        if shared.is_empty() && idle.is_empty() {
            return Ok(Vec::new());
        }
        let links = self.with_socket(|s| observe::links(s).map_err(socket("reading links")))?;
        let link_of = |mac| links.iter().find(|l| l.is_eni(mac)).map(|l| l.name.clone());
        let present: Vec<(SharedEniNet, IfName)> =
            shared.into_iter().filter_map(|eni| link_of(eni.mac).map(|link| (eni, link))).collect();
        let idle: Vec<IfName> = idle.into_iter().filter_map(link_of).collect();
        let names: Vec<IfName> = present.iter().map(|(_, l)| l).chain(&idle).cloned().collect();
        let view =
            self.with_socket(|s| observe::view(s, &names).map_err(socket("reading the host")))?;
        let facts = self.facts();
        let found = repair::enis(&present, &facts, &view);
        let mut reports = found.reports;
        let mut ops: Vec<NetOp> = Vec::new();
        let settings = |op: &NetOp| matches!(op, NetOp::Sysctl { .. });
        ops.extend(plan::base(&facts).into_iter().filter(settings));
        for (eni, link) in &present {
            ops.extend(plan::prepare(eni, link, &facts).into_iter().filter(settings));
        }
        ops.extend(found.ops);
        for link in &idle {
            let bare = repair::idle(link, &view);
            reports.extend(bare.iter().map(|op| format!("idle ENI: {op}")));
            ops.extend(bare);
        }
        let failed = self.job(|job| {
            let failed = job.run(&ops, false);
            reports.append(&mut job.reports);
            Ok(failed)
        })?;
        DatapathError::collect(failed)?;
        Ok(reports)
    }
}

/// The watch itself; ends with the datapath.
pub(crate) async fn watch(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(EAGER).await;
        let Some(strong) = inner.upgrade() else { return };
        if !strong.guarded().due() {
            continue;
        }
        if let Err(error) = tokio::task::spawn_blocking(move || strong.look()).await {
            tracing::error!(%error, "the watch over ENIs ended early");
        }
    }
}
