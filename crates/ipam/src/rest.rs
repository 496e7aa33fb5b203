//! Rest of released addresses: flushed, at rest for `cooldown`, and flushed again before they are handed out.

use std::{net::IpAddr, time::Duration};

use tideway_model::EniState;

use crate::{
    Command, Effects, Ipam, Record,
    effect::COMMAND_PATIENCE,
    eni::{Flush, Held},
    record::{self, CoolingRecord, Entry},
};

impl Ipam {
    /// Sends addresses to rest. Lost ones are dropped: there is nothing to hand out again. If others only detached their ENI,
    /// it keeps them from everybody until they have rested.
    pub(crate) fn rest(&mut self, t: Duration, number: u32, ips: &[IpAddr], out: &mut Effects) {
        let until = t + self.settings.cooldown;
        let Some(eni) = self.eni_mut(number) else { return };
        let mut cooling = Vec::new();
        for ip in ips {
            let Some(a) = eni.addresses.get_mut(ip) else { continue };
            cooling.push(*ip);
            if a.lost {
                eni.addresses.remove(ip);
                eni.delete_after = eni.delete_after.max(Some(until));
                continue;
            }
            a.held = Held::Cooling { until, flush: Flush::First(t) };
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

    /// A flush that began at `begun` is done: what was ordered before it is over.
    pub(crate) fn quiet(
        &mut self,
        t: Duration,
        begun: Duration,
        addresses: &[IpAddr],
        out: &mut Effects,
    ) {
        let keeps_primary = !self.settings.use_primary_address;
        for eni in self.enis.values_mut() {
            let (shared, primary) = (eni.is_shared(), eni.primary);
            for ip in addresses {
                let Some(a) = eni.addresses.get_mut(ip) else { continue };
                let Held::Cooling { flush, .. } = &mut a.held else { continue };
                match flush {
                    Flush::First(ordered) if begun >= *ordered => *flush = Flush::Done,
                    Flush::Last(ordered) if begun >= *ordered => {
                        let reserved = !shared || (keeps_primary && primary == Some(*ip));
                        a.held = if reserved { Held::Reserved } else { Held::Free { since: t } };
                        Self::forget_rest(*ip, out);
                    }
                    Flush::First(_) | Flush::Done | Flush::Last(_) => {}
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
                // The doubt of the last run counts as a look of this one.
                a.absent = a.absent.map(|_first| t);
                match &mut a.held {
                    Held::Cooling { until: end, flush } => {
                        *end = until;
                        *flush = Flush::First(t);
                        cooling.push(*ip);
                    }
                    Held::Free { since } => *since = t,
                    Held::Assigned(_) | Held::Leased | Held::Releasing | Held::Reserved => {}
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

    /// Rests that are over are flushed for the last time, all together; what nobody reports is flushed again.
    pub(crate) fn end_rests(&mut self, t: Duration, out: &mut Effects) {
        let mut addresses = Vec::new();
        for (ip, a) in self.enis.values_mut().flat_map(|e| &mut e.addresses) {
            let Held::Cooling { until, flush } = &mut a.held else { continue };
            if flush_due(*until, *flush) > t {
                continue;
            }
            *flush = match flush {
                Flush::First(_) => Flush::First(t),
                Flush::Done | Flush::Last(_) => Flush::Last(t),
            };
            addresses.push(*ip);
        }
        if !addresses.is_empty() {
            out.commands.push(Command::Quiesce { addresses });
        }
        self.buried.retain(|_k, until| *until > t);
        self.buried_enis.retain(|_k, until| *until > t);
    }

    pub(crate) fn rest_deadlines(&self) -> impl Iterator<Item = Duration> {
        let addresses = self.enis.values().flat_map(|e| e.addresses.values());
        addresses.filter_map(|a| match a.held {
            Held::Cooling { until, flush } => Some(flush_due(until, flush)),
            Held::Free { .. }
            | Held::Assigned(_)
            | Held::Leased
            | Held::Releasing
            | Held::Reserved => None,
        })
    }
}

/// When the next flush of a resting address is ordered.
fn flush_due(until: Duration, flush: Flush) -> Duration {
    match flush {
        Flush::First(ordered) | Flush::Last(ordered) => ordered + COMMAND_PATIENCE,
        Flush::Done => until,
    }
}
