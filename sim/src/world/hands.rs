//! The daemon's hands on the host: withdrawals, preparations, quiet work, device lists.

use std::{net::IpAddr, time::Duration};

use tideway_ipam::{DeviceState, Event, RequestId, SharedEni, record::attachment_key};
use tideway_model::{Attachment, EniId};

use super::World;
use crate::daemon::{DeviceLook, Preparing, Quieting, Withdrawal};

/// After so long the worker deletes the link of a withdrawn pod.
const GRACE: Duration = Duration::from_secs(2);
/// How long addresses are waited for together.
const TOGETHER: Duration = Duration::from_secs(15);
/// Pause after a failed try.
const AGAIN: Duration = Duration::from_secs(5);
/// After that an address is left alone until it is ordered again.
const PATIENCE: Duration = Duration::from_secs(100);

impl World {
    pub(crate) fn unplumb(&mut self, answer: Option<RequestId>, attachment: Attachment) {
        // Nobody said DEL: the allocator found it dead.
        if answer.is_none() && self.node.kernel.living().any(|l| l.attachment == attachment) {
            let text = format!("{:?} is withdrawn while its link lives", attachment.key);
            self.oracle.broken("nothing is taken from a living pod", || text);
        }
        self.oracle.told_to_withdraw(self.time, &attachment, &self.node);
        // What the file still has is no new promise of the next run.
        if !self.disk.has(&attachment_key(&attachment.key)) {
            self.judged.remove(&attachment.key);
        }
        self.identity_ended(&attachment);
        let by = self.within(5, 2_000);
        if let Some(d) = self.daemon.as_mut() {
            d.promised.remove(&attachment.key);
            d.withdrawals.push(Withdrawal { attachment, answer, by });
        }
    }

    /// One withdrawal is done.
    pub(crate) fn withdraw(&mut self, at: usize) {
        let Some(d) = self.daemon.as_mut() else { return };
        let done = d.withdrawals.remove(at);
        let gone_by = self.time + GRACE;
        let lived = self.node.kernel.withdraw(&done.attachment.key, gone_by);
        self.oracle.lived(self.time, lived);
        if let Some(id) = done.answer {
            self.del_answered(id);
        }
    }

    pub(crate) fn retire(&mut self, eni: &EniId) {
        if let Some(d) = self.daemon.as_mut() {
            d.prepared.remove(eni);
        }
    }

    pub(crate) fn prepare(&mut self, eni: SharedEni) {
        let by = self.within(5, 3_000);
        if let Some(d) = self.daemon.as_mut() {
            d.preparing.push(Preparing { eni, by });
        }
    }

    /// One preparation ends.
    pub(crate) fn prepared(&mut self, at: usize) {
        let fails = self.strikes(3);
        let Some(d) = self.daemon.as_mut() else { return };
        let eni = d.preparing.remove(at).eni;
        let result = if !self.cloud.is_attached(&eni.id) {
            Err("no link with this MAC is on the host".to_owned())
        } else if fails {
            Err("the kernel is busy".to_owned())
        } else {
            let lives = |ip: &IpAddr| self.node.kernel.owners(*ip).next().is_some();
            let known = d.mapped.get(&eni.id).cloned().unwrap_or_default();
            let new: Vec<IpAddr> = eni
                .addresses
                .iter()
                .copied()
                .filter(|ip| !known.contains(ip) && !lives(ip))
                .collect();
            self.node.kernel.conntrack.retain(|ip| !new.contains(ip));
            d.mapped.insert(eni.id.clone(), eni.addresses.iter().copied().collect());
            d.prepared.insert(eni.id.clone());
            Ok(())
        };
        self.tell(Event::EniPrepared { eni: eni.id, result });
    }

    pub(crate) fn quiesce(&mut self, addresses: Vec<IpAddr>) {
        let next = self.within(500, 600);
        if let Some(d) = self.daemon.as_mut() {
            d.quieting.push(Quieting { addresses, next, end: next + TOGETHER });
        }
    }

    /// Quiet work is tried.
    pub(crate) fn quiet(&mut self, at: usize) {
        let boot = self.boot();
        let fails = self.strikes(5);
        let Some(d) = self.daemon.as_mut() else { return };
        let Some(work) = d.quieting.get(at).cloned() else { return };
        let withdrawing = |ip: &IpAddr| {
            d.withdrawals.iter().any(|w| w.attachment.addresses.iter().any(|own| own == *ip))
        };
        let loud = |ip: &IpAddr| withdrawing(ip) || self.node.kernel.is_linked(*ip) || fails;
        let (left, done): (Vec<IpAddr>, Vec<IpAddr>) =
            work.addresses.iter().partition(|ip| loud(ip));
        if !left.is_empty() && boot < work.end {
            // All together or none, until the wait is over.
            if let Some(w) = d.quieting.get_mut(at) {
                w.next = boot + Duration::from_millis(250);
            }
            return;
        }
        d.quieting.remove(at);
        if !left.is_empty() && boot < work.end + PATIENCE {
            let next = boot + AGAIN;
            d.quieting.push(Quieting { addresses: left, next, end: work.end });
        }
        for ip in &done {
            self.node.kernel.conntrack.remove(ip);
        }
        if !done.is_empty() {
            self.tell(Event::Quiet { begun: boot, addresses: done });
        }
    }

    pub(crate) fn list_devices(&mut self, list: Vec<DeviceState>) {
        self.node.kubelet.devices = Some(list);
    }

    /// After a turn: the plugin's list shows what is held as healthy.
    pub(crate) fn judge_devices(&mut self) {
        let told = self.daemon.as_ref().is_some_and(|d| d.devices_told);
        let Some(list) = self.node.kubelet.devices.as_ref().filter(|_| told) else { return };
        let holders = &self.node.kubelet.holders;
        let ill = list.iter().find(|d| !d.healthy && holders.contains_key(&d.slot));
        if let Some(slot) = ill.map(|d| d.slot) {
            self.oracle.broken("a held device is listed healthy", || {
                format!("{slot} is held and listed unhealthy")
            });
        }
    }

    pub(crate) fn look_at_devices(&mut self) {
        let (begun, then) = (self.boot(), self.node.kubelet.told());
        let by = self.within(5, 3_000);
        if let Some(d) = self.daemon.as_mut() {
            d.device_looks.push(DeviceLook { begun, then, by });
        }
    }

    /// The kubelet answers, or does not.
    pub(crate) fn devices_seen(&mut self, at: usize) {
        let silent = self.strikes(5);
        let old = self.dice.percent(50);
        let Some(d) = self.daemon.as_mut() else { return };
        let look = d.device_looks.remove(at);
        if silent {
            return;
        }
        d.devices_told |= look.begun > d.kubelet_since;
        let holders = if old { look.then } else { self.node.kubelet.told() };
        self.tell(Event::DevicesSeen { begun: look.begun, holders });
    }

    /// What of the hands is due moves on.
    pub(crate) fn move_hands(&mut self, boot: Duration) {
        while let Some(at) = self.due(|d| d.withdrawals.iter().position(|w| w.by <= boot)) {
            self.withdraw(at);
        }
        while let Some(at) = self.due(|d| d.preparing.iter().position(|p| p.by <= boot)) {
            self.prepared(at);
        }
        while let Some(at) = self.due(|d| d.quieting.iter().position(|q| q.next <= boot)) {
            self.quiet(at);
        }
        while let Some(at) = self.due(|d| d.device_looks.iter().position(|l| l.by <= boot)) {
            self.devices_seen(at);
        }
    }

    pub(crate) fn due(
        &self,
        find: impl FnOnce(&crate::daemon::Daemon) -> Option<usize>,
    ) -> Option<usize> {
        self.daemon.as_deref().and_then(find)
    }
}
