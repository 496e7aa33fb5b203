//! Rest of released addresses: `cooldown` and quiet, both, before they are handed out again.

use std::{net::IpAddr, time::Duration};

use tideway_model::EniState;

use crate::{
    Command, Effects, Ipam, Record,
    eni::Held,
    record::{self, CoolingRecord, Entry},
};

impl Ipam {
    /// Sends addresses to rest. Lost ones are dropped: there is nothing to hand out again.
    pub(crate) fn rest(&mut self, t: Duration, number: u32, ips: &[IpAddr], out: &mut Effects) {
        let until = t + self.settings.cooldown;
        let Some(eni) = self.eni_mut(number) else { return };
        let mut cooling = Vec::new();
        for ip in ips {
            let Some(a) = eni.addresses.get_mut(ip) else { continue };
            cooling.push(*ip);
            if a.lost {
                eni.addresses.remove(ip);
                continue;
            }
            a.held = Held::Cooling { until, quiet: false };
            Self::note_rest(*ip, number, out);
        }
        if !cooling.is_empty() {
            out.commands.push(Command::Quiesce { addresses: cooling });
        }
    }

    /// The address rests, on this ENI.
    pub(crate) fn note_rest(ip: IpAddr, number: u32, out: &mut Effects) {
        let value = Some(Entry::Cooling(CoolingRecord { ip, eni: number }));
        out.records.push(Record { key: record::cooling_key(ip), value });
    }

    /// The address rests no longer, or is no longer ours.
    pub(crate) fn forget_rest(ip: IpAddr, out: &mut Effects) {
        out.records.push(Record { key: record::cooling_key(ip), value: None });
    }

    pub(crate) fn quiet(&mut self, addresses: &[IpAddr]) {
        for eni in self.enis.values_mut() {
            for ip in addresses {
                if let Some(a) = eni.addresses.get_mut(ip)
                    && let Held::Cooling { quiet, .. } = &mut a.held
                {
                    *quiet = true;
                }
            }
        }
    }

    /// After a restart all rests start afresh.
    pub(crate) fn begin_rests(&mut self, t: Duration, out: &mut Effects) {
        let until = t + self.settings.cooldown;
        let mut cooling = Vec::new();
        for eni in self.enis.values_mut() {
            eni.born = t;
            if matches!(eni.state, EniState::Detaching | EniState::Deleting) {
                eni.delete_after = Some(until);
            }
            for (ip, a) in &mut eni.addresses {
                a.born = t;
                match &mut a.held {
                    Held::Cooling { until: end, quiet } => {
                        *end = until;
                        *quiet = false;
                        cooling.push(*ip);
                    }
                    Held::Free { since } => *since = t,
                    Held::Assigned(_) | Held::Releasing | Held::Reserved => {}
                }
            }
        }
        for granted in self.attachments.values_mut() {
            granted.touched = t;
        }
        if !cooling.is_empty() {
            out.commands.push(Command::Quiesce { addresses: cooling });
        }
    }

    /// Rests that are over: the address is free, or back to what its ENI is for.
    pub(crate) fn end_rests(&mut self, t: Duration, out: &mut Effects) {
        let mut over = Vec::new();
        for eni in self.enis.values_mut() {
            let (shared, primary) = (eni.is_shared(), eni.primary);
            let keeps_primary = !self.settings.use_primary_address;
            for (ip, a) in &mut eni.addresses {
                if let Held::Cooling { until, quiet: true } = a.held
                    && until <= t
                {
                    let reserved = !shared || (keeps_primary && primary == Some(*ip));
                    a.held = if reserved { Held::Reserved } else { Held::Free { since: t } };
                    over.push(*ip);
                }
            }
        }
        for ip in over {
            Self::forget_rest(ip, out);
        }
        self.buried.retain(|_k, until| *until > t);
        self.buried_enis.retain(|_k, until| *until > t);
    }

    pub(crate) fn rest_deadlines(&self) -> impl Iterator<Item = Duration> {
        let addresses = self.enis.values().flat_map(|e| e.addresses.values());
        addresses.filter_map(|a| match a.held {
            Held::Cooling { until, quiet: true } => Some(until),
            Held::Cooling { .. }
            | Held::Free { .. }
            | Held::Assigned(_)
            | Held::Releasing
            | Held::Reserved => None,
        })
    }
}
