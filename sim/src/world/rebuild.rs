//! `--rebuild-journal`, as `daemon/src/rebuild.rs` does it: who lives is told by the runtime, addresses by the kernel, ENIs
//! by the cloud, devices by the kubelet.

use std::collections::BTreeSet;

use tideway_cloud::{EniStatus, EniView};
use tideway_ipam::{Entry, Record, rebuilt};
use tideway_model::Attachment;

use super::World;
use crate::{disk::Disk, identities::Identities};

impl World {
    /// A new journal that knows the living pods, and a start from it.
    pub(crate) fn rebuild(&mut self) {
        // Calls of which nobody knows any more may still take effect: nothing is looked at before that is over.
        self.pass(self.profile.settings.late_effect);
        if self.is_broken() || self.daemon.is_some() {
            return;
        }
        self.oracle.shifted = true;
        self.identities = Identities::default();
        self.runs_of_daemon += 1;
        self.disk = Disk::default();
        // Numbers of intents begin anew.
        self.twins.clear();
        self.committed = Some(0);
        let listed: BTreeSet<_> =
            self.node.runtime.sandboxes.values().map(|s| s.key.clone()).collect();
        let views = self.cloud.picture(self.time);
        let tags = self.profile.facts.tags.clone();
        let own = |v: &&std::sync::Arc<EniView>| {
            v.status == EniStatus::InUse && tags.iter().all(|(k, t)| v.tags.get(k) == Some(t))
        };
        let views: Vec<EniView> = views.iter().filter(own).map(|v| EniView::clone(v)).collect();
        let told = self.node.kubelet.told();
        let knows = |a: &Attachment| {
            let held = a.exclusive.as_ref().is_none_or(|x| told.get(&x.slot) == Some(&a.pod.key));
            listed.contains(&a.key) && held && views.iter().any(|v| v.id == a.eni)
        };
        let living: Vec<Attachment> = self
            .node
            .kernel
            .living()
            .filter_map(|link| {
                let a = &link.attachment;
                let first = a.addresses.iter().next()?;
                let view = views.iter().find(|v| v.has(first))?;
                Some(Attachment { eni: view.id.clone(), eni_mac: view.mac, ..a.clone() })
            })
            .filter(knows)
            .collect();
        let (living, _lost) = rebuilt::one_each(living);
        let slots = self.profile.facts.limits.slots();
        let entries = rebuilt::entries(living, &views, slots, self.profile.settings.min_shared);
        let record = |entry: Entry| Record { key: entry.key(), value: Some(entry) };
        let records: Vec<Record> = entries.into_iter().map(record).collect();
        if let Err(text) = self.disk.commit(&records) {
            self.oracle.broken("a rebuilt journal is written", || text);
            return;
        }
        self.committed = Some(self.disk.commits);
        match self.disk.load().and_then(|entries| self.restore_rebuilt(entries)) {
            Ok(()) => {}
            Err(text) => self.oracle.broken("a rebuilt journal makes books", || text),
        }
    }
}
