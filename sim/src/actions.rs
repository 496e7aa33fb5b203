//! What can happen next. One choice is one operation; whatever is not possible now is replaced by another choice.

use std::time::Duration;

use tideway_ipam::Effects;

use crate::{
    coverage::{Boundary, Kind, State},
    daemon::Stage,
    node::Progress,
    world::{Cut, World},
};

/// One kind of thing that happens.
type Act = fn(&mut World) -> bool;

/// Kinds with their weights.
const ACTS: &[(u32, &str, Act)] = &[
    (8, "pod", World::new_pod),
    (3, "exclusive pod", World::new_exclusive),
    (10, "sandbox", World::run_sandbox),
    (7, "end of a pod", World::end_pod),
    (4, "sandbox killed", World::kill_sandbox),
    (3, "runtime gives up", World::give_up_add),
    (8, "DEL", World::stop_sandbox),
    (2, "DEL lost", World::lose_del),
    (2, "DEL of a former container", World::late_del),
    (5, "sandbox removed", World::remove_sandbox),
    (4, "device released", World::release_device),
    (1, "GC list", World::make_list),
    (1, "GC", World::deliver_list),
    (14, "ADD moves", World::some_add),
    (10, "DEL moves", World::some_del),
    (16, "call moves", World::some_call),
    (4, "call is lost", World::lose_call),
    (3, "ghost acts", World::some_ghost),
    (5, "change ends", World::some_change),
    (6, "withdrawal", World::some_withdrawal),
    (6, "preparation", World::some_preparation),
    (6, "quiet", World::some_quiet),
    (8, "look at the cloud", World::some_cloud_look),
    (4, "device look", World::some_device_look),
    (4, "listing", World::some_listing),
    (2, "early demand", World::tell_bound),
    (2, "looks", World::look_now),
    (12, "time", World::wait),
    (3, "long time", World::wait_long),
    (5, "crash", World::plan_crash),
    (6, "ambush", World::lie_in_wait),
    (1, "exodus", World::exodus),
    (8, "start", World::start_again),
    (3, "stranger", World::stranger),
    (2, "neighbour", World::neighbour),
    (1, "disk lies", World::disk_lies),
    (1, "clock", World::clock_jumps),
    (1, "reboot", World::reboots),
    (1, "kubelet restarts", World::kubelet_restarts),
    (1, "runtime restarts", World::runtime_restarts),
    (1, "disk is full", World::disk_is_full),
    (1, "task dies", World::task_dies),
    (3, "stray flow", World::stray_flow),
];

impl World {
    /// One operation. Answers its name.
    pub fn act(&mut self) -> &'static str {
        let total: u32 = ACTS.iter().map(|(w, _, _)| w).sum();
        // No two things happen at the very same moment.
        self.time += Duration::from_micros(1);
        if self.aim.is_some() && self.dice.percent(4) && self.exodus() {
            return "exodus";
        }
        for _try in 0..40 {
            let n = self.dice.roll() % u64::from(total);
            let mut left = u32::try_from(n).unwrap_or(0);
            let chosen = ACTS.iter().find(|(w, _, _)| {
                let hit = left < *w;
                left = left.saturating_sub(*w);
                hit
            });
            let Some((_, name, act)) = chosen else { continue };
            if act(self) {
                self.counts.operations += 1;
                if self.aims_at(Boundary::Idle, &Effects::default(), 0, &[]) {
                    self.crash_idle();
                }
                // Mostly the engine is quick; sometimes events collect, and more often where rare turns are waited for.
                let quick = if self.aim.is_some() { 40 } else { 80 };
                if self.cut.is_some() || self.dice.percent(quick) {
                    self.take_turn();
                    if self.cut.take().is_some() {
                        self.crash_idle();
                    }
                }
                return name;
            }
        }
        "nothing"
    }

    fn any(&mut self, n: usize) -> Option<usize> {
        (n > 0).then(|| self.dice.below(n))
    }

    fn some_add(&mut self) -> bool {
        let open: Vec<usize> = (0..self.adds.len())
            .filter(|at| self.adds.get(*at).is_some_and(|a| a.due().is_some()))
            .collect();
        let Some(at) = self.dice.pick(&open).copied() else { return false };
        self.move_add(at);
        true
    }

    fn some_del(&mut self) -> bool {
        let open: Vec<usize> = (0..self.dels.len())
            .filter(|at| self.dels.get(*at).is_some_and(|d| d.due().is_some()))
            .collect();
        let Some(at) = self.dice.pick(&open).copied() else { return false };
        self.move_del(at);
        true
    }

    fn some_call(&mut self) -> bool {
        let n = self.daemon.as_ref().map_or(0, |d| d.calls.len());
        let Some(at) = self.any(n) else { return false };
        self.pump_limiter();
        let queued = self.due(|d| {
            matches!(d.calls.get(at).map(|c| &c.stage), Some(Stage::Queued(_))).then_some(at)
        });
        if queued.is_some() {
            return false;
        }
        self.move_call(at);
        true
    }

    fn lose_call(&mut self) -> bool {
        if !self.profile.troubles.calls {
            return false;
        }
        let n = self.daemon.as_ref().map_or(0, |d| d.calls.len());
        let Some(at) = self.any(n) else { return false };
        self.give_up(at);
        true
    }

    fn some_ghost(&mut self) -> bool {
        let Some(at) = self.any(self.ghosts.len()) else { return false };
        self.ghost_acts(at);
        true
    }

    fn some_change(&mut self) -> bool {
        let ids: Vec<_> = self.cloud.changing.keys().cloned().collect();
        let Some(id) = self.dice.pick(&ids).cloned() else { return false };
        self.end_change(&id);
        true
    }

    fn some_withdrawal(&mut self) -> bool {
        let n = self.daemon.as_ref().map_or(0, |d| d.withdrawals.len());
        let Some(at) = self.any(n) else { return false };
        self.withdraw(at);
        true
    }

    fn some_preparation(&mut self) -> bool {
        let n = self.daemon.as_ref().map_or(0, |d| d.preparing.len());
        let Some(at) = self.any(n) else { return false };
        self.prepared(at);
        true
    }

    fn some_quiet(&mut self) -> bool {
        let n = self.daemon.as_ref().map_or(0, |d| d.quieting.len());
        let Some(at) = self.any(n) else { return false };
        self.quiet(at);
        true
    }

    fn some_cloud_look(&mut self) -> bool {
        self.pump_limiter();
        let read = |l: &crate::daemon::CloudLook| l.read.is_some();
        let Some(at) = self.due(|d| d.cloud_looks.iter().position(read)) else { return false };
        self.cloud_look_moves(at);
        true
    }

    fn some_device_look(&mut self) -> bool {
        let n = self.daemon.as_ref().map_or(0, |d| d.device_looks.len());
        let Some(at) = self.any(n) else { return false };
        self.devices_seen(at);
        true
    }

    fn some_listing(&mut self) -> bool {
        let n = self.daemon.as_ref().map_or(0, |d| d.listings.len());
        let Some(at) = self.any(n) else { return false };
        self.listed(at);
        true
    }

    fn look_now(&mut self) -> bool {
        if self.daemon.is_none() {
            return false;
        }
        if self.dice.percent(60) {
            self.look_at_living();
        } else {
            self.look_at_cloud();
        }
        true
    }

    fn wait(&mut self) -> bool {
        let millis = self.dice.between(1, 4_000);
        self.pass(Duration::from_millis(millis));
        true
    }

    fn wait_long(&mut self) -> bool {
        let seconds = self.dice.between(5, 45);
        self.pass(Duration::from_secs(seconds));
        true
    }

    fn plan_crash(&mut self) -> bool {
        if !self.profile.troubles.crashes || self.daemon.is_none() {
            return false;
        }
        let busy = self.daemon.as_ref().is_some_and(|d| !d.inbox.is_empty());
        if !busy {
            // A crash inside a turn needs an event to turn over: whatever is nearest.
            self.stir();
        }
        self.cut = match self.dice.below(10) {
            0..=3 => Some(Cut::BeforeCommit),
            4..=5 => Some(Cut::AfterCommit(0)),
            6..=8 => Some(Cut::AfterCommit(1 + self.dice.below(4))),
            _ => None,
        };
        if self.cut.is_none() {
            self.crash_idle();
        }
        true
    }

    /// A crash that waits for rare work: what gives back, mostly.
    fn lie_in_wait(&mut self) -> bool {
        if !self.profile.troubles.crashes || self.ambush.is_some() {
            return false;
        }
        let kinds = [
            Kind::Unassign,
            Kind::Unassign,
            Kind::Unassign,
            Kind::Delete,
            Kind::Detach,
            Kind::Assign,
            Kind::Create,
            Kind::Attach,
            Kind::Grant,
            Kind::Release,
        ];
        let states = [
            State::Recorded,
            State::Recorded,
            State::Queued,
            State::Sent,
            State::Effect,
            State::Refused,
        ];
        let kind = self.dice.pick(&kinds).copied();
        let state = self.dice.pick(&states).copied();
        self.ambush = kind.zip(state);
        true
    }

    /// Most pods leave at once, and the pool has time to shrink.
    fn exodus(&mut self) -> bool {
        if self.daemon.is_none() {
            return false;
        }
        let all: Vec<u32> = self.node.kubelet.pods.keys().copied().collect();
        for uid in all {
            self.remove_pod(uid);
        }
        while self.stop_one() {}
        let seconds = self.dice.between(60, 130);
        self.pass(Duration::from_secs(seconds));
        true
    }

    fn stop_one(&mut self) -> bool {
        let ending =
            self.node.runtime.sandboxes.values().find(|s| {
                s.progress == Progress::Ending && !self.dels.iter().any(|d| d.key == s.key)
            });
        let Some(key) = ending.map(|s| s.key.clone()) else { return false };
        self.send_del(key);
        true
    }

    /// Lets something end, so that the engine has an event.
    fn stir(&mut self) {
        for _try in 0..4 {
            let _done = match self.dice.below(8) {
                0 | 1 => self.some_call(),
                2 | 3 => self.some_add(),
                4 => self.some_del(),
                5 => self.some_cloud_look(),
                6 => self.some_quiet() || self.some_preparation(),
                _ => self.some_listing() || self.some_device_look(),
            };
            if self.daemon.as_ref().is_some_and(|d| !d.inbox.is_empty()) {
                return;
            }
        }
        self.tell(tideway_ipam::Event::Tick);
    }

    fn start_again(&mut self) -> bool {
        if self.daemon.is_some() {
            return false;
        }
        self.start();
        true
    }
}
