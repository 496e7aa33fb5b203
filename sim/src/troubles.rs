//! Trouble from outside: strangers, neighbours, lying disks, clocks, reboots.

use std::{sync::Arc, time::Duration};

use tideway_cloud::{EniStatus, EniView};
use tideway_ipam::Effects;
use tideway_model::{EniId, Family, Limits};

use crate::{
    cloud::{all_of, hosts, places},
    coverage::Boundary,
    world::World,
};

impl World {
    pub(crate) fn crash_idle(&mut self) {
        self.crash(Boundary::Idle, &Effects::default(), 0, &[]);
    }

    fn some_eni(&mut self, fits: impl Fn(EniStatus) -> bool) -> Option<EniId> {
        let theirs = |v: &EniView| v.primary || v.tags.contains_key("owner");
        let all = self.cloud.enis.values().filter(|v| !theirs(v) && fits(v.status));
        let all: Vec<EniId> = all.map(|v| v.id.clone()).collect();
        self.dice.pick(&all).cloned()
    }

    /// Somebody else acts on our ENIs and our slots.
    pub(crate) fn stranger(&mut self) -> bool {
        if !self.profile.troubles.strangers {
            return false;
        }
        let now = self.time;
        self.oracle.strangers = true;
        match self.dice.below(11) {
            0..=2 => {
                let Some(eni) = self.some_eni(|s| s == EniStatus::InUse) else { return false };
                let Some(view) = self.cloud.enis.get(&eni).cloned() else { return false };
                if let Some(prefix) = view.prefixes.first().copied()
                    && self.dice.percent(50)
                {
                    self.note(|| format!("strange {prefix} is unassigned"));
                    self.oracle.foul_addresses.extend(hosts(&prefix));
                    self.cloud.edit(now, &eni, |v| v.prefixes.retain(|own| *own != prefix));
                    if let Some(subnet) = self.cloud.subnets.get_mut(&view.subnet) {
                        subnet.give_back_prefixes(&[prefix]);
                    }
                    return true;
                }
                let spare = view.addresses.iter().filter(|ip| Some(**ip) != view.primary_ip);
                let spare: Vec<_> = spare.copied().collect();
                let Some(ip) = self.dice.pick(&spare).copied() else { return false };
                self.note(|| format!("strange {ip} is unassigned"));
                self.oracle.foul_addresses.insert(ip);
                self.cloud.edit(now, &eni, |v| v.addresses.retain(|own| *own != ip));
                if let Some(subnet) = self.cloud.subnets.get_mut(&view.subnet) {
                    subnet.give_back(&[ip]);
                }
            }
            3..=5 => {
                let Some(eni) = self.some_eni(|s| s == EniStatus::InUse) else { return false };
                let Some(view) = self.cloud.enis.get(&eni).cloned() else { return false };
                let family =
                    if view.of_family(Family::V6).count() > 0 { Family::V6 } else { Family::V4 };
                let most = usize::from(self.cloud.limits.per_eni(family));
                if places(&view, family) >= most {
                    return false;
                }
                let prefix = self.profile.settings.prefixes && self.dice.percent(50);
                let Some(subnet) = self.cloud.subnets.get_mut(&view.subnet) else { return false };
                if prefix {
                    let Some(prefix) = subnet.take_prefix(family) else { return false };
                    self.note(|| format!("strange {prefix} is assigned to {eni}"));
                    self.cloud.edit(now, &eni, |v| v.prefixes.push(prefix));
                    return true;
                }
                let Some(ip) = subnet.take(family, &mut self.dice) else { return false };
                self.note(|| format!("strange {ip} is assigned to {eni}"));
                self.cloud.edit(now, &eni, |v| v.addresses.push(ip));
            }
            6 => {
                let Some(eni) = self.some_eni(|s| s == EniStatus::InUse) else { return false };
                self.note(|| format!("strange {eni} is detached"));
                self.oracle.foul_enis.insert(eni.clone());
                let lost = self.cloud.enis.get(&eni).map(|v| all_of(v));
                self.oracle.foul_addresses.extend(lost.unwrap_or_default());
                self.cloud.edit(now, &eni, |v| {
                    v.status = EniStatus::Available;
                    v.instance = None;
                });
                self.cloud.changing.remove(&eni);
                let lived = self.node.kernel.end_eni(&eni);
                self.oracle.lived(now, lived);
            }
            7 => {
                let Some(eni) = self.some_eni(|s| s == EniStatus::Available) else { return false };
                self.note(|| format!("strange {eni} is deleted"));
                self.oracle.foul_enis.insert(eni.clone());
                let lost = self.cloud.enis.get(&eni).map(|v| all_of(v));
                self.oracle.foul_addresses.extend(lost.unwrap_or_default());
                self.cloud.drop_eni(now, &eni);
            }
            8 => {
                let Some(eni) = self.some_eni(|s| s == EniStatus::InUse) else { return false };
                self.note(|| format!("strange {eni} has no tags any more"));
                self.oracle.nameless_enis.insert(eni.clone());
                self.cloud.edit(now, &eni, |v| v.tags.clear());
            }
            _ => {
                let foreign = |v: &EniView| v.tags.contains_key("owner");
                let theirs = self.cloud.enis.values().find(|v| foreign(v)).map(|v| v.id.clone());
                match theirs {
                    Some(id) => self.cloud.drop_eni(now, &id),
                    None => self.cloud.foreign_eni(now),
                }
                self.note(|| "strange an ENI of others comes or goes".to_owned());
            }
        }
        true
    }

    /// Other instances take addresses of our subnets and give them back.
    pub(crate) fn neighbour(&mut self) -> bool {
        let ids: Vec<_> = self.cloud.subnets.keys().cloned().collect();
        let Some(id) = self.dice.pick(&ids).cloned() else { return false };
        let n = self.dice.between(1, 8);
        let gives = self.dice.percent(45);
        let Some(subnet) = self.cloud.subnets.get_mut(&id) else { return false };
        for _ in 0..n {
            if gives {
                subnet.other_gives();
            } else {
                let family = if self.dice.percent(60) { Family::V4 } else { Family::V6 };
                subnet.other_takes(family, &mut self.dice);
            }
        }
        true
    }

    /// The daemon dies and finds a journal that is not the one it wrote.
    pub(crate) fn disk_lies(&mut self) -> bool {
        if !self.profile.troubles.disk || !self.dice.percent(40) {
            return false;
        }
        self.crash_idle();
        // Numbers of intents come back.
        self.twins.clear();
        if self.dice.percent(70) {
            let n = 1 + self.dice.below(8);
            let done = self.disk.roll_back(n);
            self.note(|| format!("DISK    {done} commits are taken back"));
            // A machine set back to a snapshot of its disk: nothing in memory tells, nor is anything there from before.
            if self.committed.is_none() || self.dice.percent(30) {
                self.reboot();
                self.oracle.snapshot_restored();
            }
            return true;
        }
        self.committed = None;
        self.note(|| {
            "DISK    the journal is another instance's; the operator rebuilds it".to_owned()
        });
        self.rebuild();
        true
    }

    pub(crate) fn clock_jumps(&mut self) -> bool {
        if !self.profile.troubles.clocks {
            return false;
        }
        let by = self.dice.between(1, 7_200_000);
        self.identities.jumped += Duration::from_millis(by);
        self.wall = if self.dice.percent(50) {
            self.wall.saturating_add(by)
        } else {
            self.wall.saturating_sub(by)
        };
        true
    }

    /// The machine reboots, perhaps as another instance type.
    pub(crate) fn reboots(&mut self) -> bool {
        if !self.profile.troubles.reboots || !self.dice.percent(40) {
            return false;
        }
        self.note(|| "REBOOT".to_owned());
        self.reboot();
        if self.dice.percent(40) {
            self.change_type();
        }
        true
    }

    fn change_type(&mut self) {
        let number = |n: u64| u16::try_from(n).unwrap_or(2);
        let per_eni = number(self.dice.between(2, 8));
        let enis = number(self.dice.between(2, 5));
        let most =
            |family: Family| self.cloud.enis.values().map(|v| places(v, family)).max().unwrap_or(0);
        let fits = self.cloud.adapters() <= usize::from(enis)
            && most(Family::V4).max(most(Family::V6)) <= usize::from(per_eni);
        if !fits {
            return;
        }
        let limits =
            Limits { enis, ipv4_per_eni: per_eni, ipv6_per_eni: per_eni, trunk: false, members: 0 };
        self.note(|| format!("TYPE    {enis} ENIs of {per_eni} addresses"));
        self.oracle.shifted = true;
        self.cloud.limits = limits;
        Arc::make_mut(&mut self.profile).facts.limits = limits;
    }

    pub(crate) fn kubelet_restarts(&mut self) -> bool {
        if self.daemon.is_none() {
            return false;
        }
        self.restart_kubelet();
        true
    }

    pub(crate) fn runtime_restarts(&mut self) -> bool {
        if !self.profile.troubles.runtime {
            return false;
        }
        self.node.runtime.blank = true;
        if let Some(d) = self.daemon.as_mut() {
            d.steady = false;
        }
        self.pass(Duration::from_secs(1));
        true
    }

    /// A task of the daemon dies and nobody hears of it.
    pub(crate) fn task_dies(&mut self) -> bool {
        let quiet = self.dice.percent(50);
        let dice = &mut self.dice;
        let Some(d) = self.daemon.as_mut() else { return false };
        if quiet && !d.quieting.is_empty() {
            d.quieting.remove(dice.below(d.quieting.len()));
        } else if !quiet && !d.preparing.is_empty() {
            d.preparing.remove(dice.below(d.preparing.len()));
        } else {
            return false;
        }
        true
    }

    /// A client that has not heard of a pod's end goes on sending: conntrack has the resting address again. Within the
    /// cooldown everybody has heard.
    pub(crate) fn stray_flow(&mut self) -> bool {
        let cooldown = self.profile.settings.cooldown;
        let resting = self.oracle.resting(self.time, cooldown, &self.node);
        let Some(ip) = self.dice.pick(&resting).copied() else { return false };
        self.note(|| format!("flow    {ip} is sent to by an old client"));
        self.node.kernel.conntrack.insert(ip);
        true
    }

    /// A disk is full: the one of the tickets, or, for a while, the one of the journal.
    pub(crate) fn disk_is_full(&mut self) -> bool {
        self.tickets_full = self.profile.troubles.disk && !self.tickets_full;
        if self.profile.troubles.storage {
            let span = Duration::from_secs(self.dice.between(2, 120));
            self.disk.ill_until = self.time + span;
            self.note(|| format!("DISK    takes nothing for {span:?}"));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        dice::Dice,
        profile::{Profile, Troubles},
        world::World,
    };

    #[test]
    fn no_flow_outlives_a_machine_that_was_set_back_to_a_snapshot() {
        let mut profile = Profile::of(1);
        profile.troubles = Troubles { disk: true, ..Troubles::CRASHES };
        let mut world = World::new(profile, 1, None, false);
        world.reboot();
        world.node.kernel.conntrack.insert("10.1.0.9".parse().expect("an address"));
        let is_set_back = |seed: &u64| {
            let mut dice = Dice::new(*seed);
            dice.percent(40) && dice.percent(70)
        };
        world.dice = Dice::new((0..100).find(is_set_back).expect("dice have every side"));
        assert!(world.disk_lies() && world.oracle.disk_lied);
        assert!(world.node.kernel.conntrack.is_empty());
    }
}
