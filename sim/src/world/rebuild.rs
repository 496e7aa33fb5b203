//! `--rebuild-journal`, as `daemon/src/rebuild.rs` does it: who lives is told by the runtime, addresses by the kernel, ENIs
//! by the cloud, devices by the kubelet.

use std::collections::{BTreeMap, BTreeSet};

use tideway_cloud::{EniStatus, EniView};
use tideway_ipam::{CoolingRecord, EniRecord, Entry, Record, Use};
use tideway_model::{Attachment, EniState, SlotId};

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
                let view = views.iter().find(|v| v.addresses.contains(&first))?;
                Some(Attachment { eni: view.id.clone(), eni_mac: view.mac, ..a.clone() })
            })
            .filter(knows)
            .collect();
        // An address that others moved to an ENI of one pod alone: its pod is lost.
        let alone: BTreeSet<_> =
            living.iter().filter(|a| a.exclusive.is_some()).map(|a| a.eni.clone()).collect();
        let living: Vec<Attachment> = living
            .into_iter()
            .filter(|a| a.exclusive.is_some() || !alone.contains(&a.eni))
            .collect();
        let entries = self.entries_of(&living, &views);
        let records: Vec<Record> =
            entries.into_iter().map(|(key, entry)| Record { key, value: Some(entry) }).collect();
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

    fn entries_of(&self, living: &[Attachment], views: &[EniView]) -> Vec<(String, Entry)> {
        let slots = self.profile.facts.limits.slots();
        let offered = slots.saturating_sub(self.profile.settings.min_shared);
        let exclusive: BTreeSet<SlotId> =
            living.iter().filter_map(|a| a.exclusive.as_ref().map(|x| x.slot)).collect();
        let mut shared = (offered..slots)
            .chain((0..offered).rev())
            .map(SlotId)
            .filter(|slot| !exclusive.contains(slot));
        let held: BTreeSet<_> = living.iter().flat_map(|a| a.addresses.iter()).collect();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (number, view) in (1_u16..).zip(views) {
            let Some(user) = living.iter().find(|a| a.eni == view.id) else { continue };
            let own = user.exclusive.as_ref().map(|x| x.slot);
            let Some(slot) = own.or_else(|| shared.next()) else { continue };
            let record = EniRecord {
                number: number.into(),
                id: Some(view.id.clone()),
                mac: Some(view.mac),
                state: EniState::Attaching,
                attached: true,
                leaving: false,
                usage: own.map_or(Use::Shared, Use::Exclusive),
                slot,
                subnet: view.subnet.clone(),
                security_groups: view.security_groups.clone(),
                table_slot: if own.is_some() { 0 } else { number },
                planned: 0,
                primary: view.primary_ip,
                addresses: view.addresses.iter().copied().collect(),
                releasing: BTreeSet::new(),
                doubted: BTreeSet::new(),
            };
            entries.insert(format!("eni/{number}"), Entry::Eni(Box::new(record)));
            if own.is_none() {
                for ip in view.addresses.iter().filter(|ip| !held.contains(ip)) {
                    let rest = CoolingRecord { ip: *ip, eni: number.into() };
                    entries.insert(format!("cooling/{ip}"), Entry::Cooling(rest));
                }
            }
        }
        for a in living {
            let key = super::engine::attachment_key(&a.key);
            entries.insert(key, Entry::Attachment(Box::new(a.clone())));
        }
        entries.into_iter().collect()
    }
}
