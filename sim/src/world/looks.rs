//! Looks: at the cloud, whose pictures may be old, and at what lives, by runtime and kernel.

use std::{collections::BTreeSet, time::Duration};

use tideway_cloud::{CloudOp, EniView, Outcome, Priority};
use tideway_ipam::{Event, Look, Source};
use tideway_model::{AttachmentKey, Family};

use super::World;
use crate::{
    cloud::error,
    daemon::{CloudLook, Listing},
    node::Progress,
};

/// Pause after a failed look.
const AGAIN: Duration = Duration::from_secs(5);

impl World {
    pub(crate) fn look_at_cloud(&mut self) {
        let begun = self.boot();
        if let Some(d) = self.daemon.as_mut() {
            let ticket = Some(d.limiter.ask(CloudOp::DESCRIBE, Priority::Describe));
            d.cloud_looks.push(CloudLook { begun, ticket, read: None, by: Duration::ZERO });
        }
    }

    /// How old a picture this read shows: a moment of true time.
    pub(crate) fn moment(&mut self) -> Duration {
        let oldest = u64::try_from(self.profile.stale.as_millis()).unwrap_or(0);
        let age = if self.strikes(50) { self.dice.between(0, oldest) } else { 0 };
        self.time.saturating_sub(Duration::from_millis(age))
    }

    /// The look has its turn: both lists are read, each as old as it likes.
    pub(crate) fn read_cloud(&mut self, at: usize) {
        let fails = !self.may_call() || self.strikes(5);
        let (first, second) = (self.moment(), self.moment());
        let (boot, random) = (self.boot(), self.dice.unit());
        let by = self.within(20, 3_000);
        let tags = self.profile.facts.tags.clone();
        let instance = self.profile.facts.instance.clone();
        let Some(d) = self.daemon.as_mut() else { return };
        let Some(look) = d.cloud_looks.get_mut(at) else { return };
        let ticket = look.ticket.take();
        let mut end = |outcome| {
            if let Some(id) = ticket {
                d.limiter.finished(boot, id, outcome, random);
            }
        };
        if fails {
            let kind = tideway_cloud::ErrorKind::Throttled { retry_after: None };
            end(Outcome::of::<()>(&Err(error(CloudOp::DESCRIBE, kind))));
            look.by = boot + AGAIN;
            return;
        }
        end(Outcome::Accepted);
        let mut views: Vec<EniView> = Vec::new();
        for view in self.cloud.picture(first) {
            if view.instance.as_ref() == Some(&instance) {
                views.push(EniView::clone(&view));
            }
        }
        for view in self.cloud.picture(second) {
            let ours = tags.iter().all(|(k, v)| view.tags.get(k) == Some(v));
            if ours && !views.iter().any(|v| v.id == view.id) {
                views.push(EniView::clone(&view));
            }
        }
        look.read = Some(views);
        look.by = by;
    }

    /// What was read arrives, or a failed look is put again.
    pub(crate) fn cloud_look_moves(&mut self, at: usize) {
        let boot = self.boot();
        let Some(d) = self.daemon.as_mut() else { return };
        let Some(look) = d.cloud_looks.get_mut(at) else { return };
        let Some(enis) = look.read.take() else {
            look.begun = boot;
            look.ticket = Some(d.limiter.ask(CloudOp::DESCRIBE, Priority::Describe));
            return;
        };
        let begun = look.begun;
        d.cloud_looks.remove(at);
        self.oracle.looked(begun + self.booted);
        self.tell(Event::CloudSeen { begun, enis });
        let subnets = self.cloud.subnets.iter();
        let room =
            subnets.map(|(id, s)| (id.clone(), u64::try_from(s.left(Family::V4)).unwrap_or(0)));
        let room = Event::Room(room.collect());
        self.tell(room);
    }

    /// Runtime and kernel are asked what lives.
    pub(crate) fn look_at_living(&mut self) {
        let begun = self.boot();
        let (first, second) = (self.within(5, 2_000), self.within(5, 4_000));
        let Some(d) = self.daemon.as_mut() else { return };
        let asked: BTreeSet<AttachmentKey> = d.promised.keys().cloned().collect();
        if asked.is_empty() {
            return;
        }
        for (source, by) in [(Source::Runtime, first), (Source::Kernel, second.max(first))] {
            d.listings.push(Listing { source, begun, asked: asked.clone(), by });
        }
    }

    /// One of them answers.
    pub(crate) fn listed(&mut self, at: usize) {
        let partial = self.profile.troubles.runtime && self.strikes(15);
        let silent = self.strikes(4);
        let Some(d) = self.daemon.as_mut() else { return };
        let listing = d.listings.remove(at);
        if silent {
            d.steady &= listing.source != Source::Runtime;
            return;
        }
        let kernel = &self.node.kernel;
        let live: BTreeSet<AttachmentKey> = match listing.source {
            Source::Kernel => {
                let lives = |key: &&AttachmentKey| {
                    kernel.links.contains_key(*key) || kernel.namespaces.contains(&key.container)
                };
                listing.asked.iter().filter(lives).cloned().collect()
            }
            Source::Runtime => {
                let runtime = &self.node.runtime;
                let mut listed = BTreeSet::new();
                for sandbox in runtime.sandboxes.values() {
                    // One that comes or goes may be ready or not; one that has ended is not, though its namespace may live.
                    let ready = match sandbox.progress {
                        Progress::Running => true,
                        Progress::Adding | Progress::Ending => self.dice.percent(50),
                        Progress::Ended => false,
                    };
                    if ready && !(runtime.blank || partial && self.dice.percent(50)) {
                        listed.insert(sandbox.key.clone());
                    }
                }
                let proves = d.steady || !listed.is_empty();
                d.steady = true;
                if !proves {
                    return;
                }
                d.promised.keys().filter(|key| listed.contains(*key)).cloned().collect()
            }
        };
        // The kernel is asked after the runtime, which may be slow: its question may be younger than the list of what is asked.
        let late = listing.source == Source::Kernel && self.strikes(30);
        let begun = if late { self.boot() } else { listing.begun };
        let (source, asked) = (listing.source, listing.asked);
        self.tell(Event::Seen(Look { source, begun, asked, live }));
    }

    /// What of the looks is due moves on.
    pub(crate) fn move_looks(&mut self, boot: Duration) {
        let settle = self.profile.settings.settle;
        if let Some(d) = self.daemon.as_mut()
            && d.next_listing <= boot
        {
            d.next_listing = boot + settle.max(Duration::from_secs(1));
            self.look_at_living();
        }
        while let Some(at) = self.due(|d| d.listings.iter().position(|l| l.by <= boot)) {
            self.listed(at);
        }
        let waits = |l: &CloudLook| l.ticket.is_none() && l.by <= boot;
        while let Some(at) = self.due(|d| d.cloud_looks.iter().position(waits)) {
            self.cloud_look_moves(at);
        }
    }
}
