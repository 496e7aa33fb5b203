//! The daemon starts: from the journal and the outside world only, in the order of `daemon/src/assemble.rs`.

use tideway_ipam::{Effects, Entry, Event, Ipam, Use};
use tideway_model::{Attachment, EniId, Mode};

use super::World;
use crate::{core::Core, daemon::Daemon, dice::mix};

impl World {
    /// Starts the process.
    pub fn start(&mut self) {
        // On a disk that takes nothing the daemon waits at the door (`daemon/src/door.rs`).
        if self.daemon.is_some() || self.is_disk_ill() {
            return;
        }
        self.runs_of_daemon += 1;
        if self.committed.is_some_and(|n| n > self.disk.commits) {
            self.note(|| "the journal was set back; it is rebuilt".to_owned());
            return self.rebuild();
        }
        let entries = match self.disk.load() {
            Ok(entries) => entries,
            Err(text) => return self.refuses(&text),
        };
        match self.restore(entries) {
            Ok(ipam) => self.begin(ipam),
            Err(text) => self.refuses(&text),
        }
    }

    fn restore(&mut self, entries: Vec<(String, Entry)>) -> Result<Ipam, String> {
        let mut facts = self.profile.facts.clone();
        let mut settings = self.profile.settings.clone();
        if let Some(mutant) = self.mutant {
            mutant.misread(&mut settings, &mut facts);
        }
        let seed = mix(0x7465_7374, self.runs_of_daemon);
        Ipam::restore(settings, facts, seed, entries).map_err(|e| e.to_string())
    }

    pub(crate) fn restore_rebuilt(&mut self, entries: Vec<(String, Entry)>) -> Result<(), String> {
        let ipam = self.restore(entries)?;
        self.begin(ipam);
        Ok(())
    }

    /// A start that fails for good: with an honest disk it must not.
    fn refuses(&mut self, text: &str) {
        if !self.oracle.disk_lied {
            self.oracle.broken("a restart succeeds", || text.to_owned());
            return;
        }
        self.note(|| format!("start refused: {text}; the operator rebuilds the journal"));
        self.rebuild();
    }

    /// The parts are put together and the engine takes its first step.
    pub(crate) fn begin(&mut self, ipam: Ipam) {
        self.note(|| "START".to_owned());
        let boot = self.boot();
        let promises: Vec<Attachment> = ipam.attachments().cloned().collect();
        let books = ipam.books(self.now());
        let mut daemon = Daemon::new(Core::new(ipam, self.mutant), boot);
        for a in &promises {
            daemon.promised.insert(a.key.clone(), a.clone());
        }
        self.daemon = Some(Box::new(daemon));
        self.repair(&promises);
        let shared = books.enis.iter().filter(|e| e.usage == Use::Shared);
        let here: Vec<EniId> =
            shared.filter_map(|e| e.id.clone()).filter(|id| self.cloud.is_attached(id)).collect();
        let now = self.now();
        let mut out = Effects::default();
        if let Some(d) = self.daemon.as_mut() {
            d.prepared.extend(here);
            d.core.start(now, &mut out);
        }
        self.carry_out(out, &[]);
        self.drain_tickets();
    }

    /// The kernel is brought to what was promised: foreign links of pods go, promised ones whose namespace lives are
    /// plumbed.
    fn repair(&mut self, promises: &[Attachment]) {
        let stray: Vec<_> = self
            .node
            .kernel
            .living()
            .filter(|link| !promises.contains(&link.attachment))
            .map(|link| link.attachment.key.clone())
            .collect();
        let gone_by = self.time + std::time::Duration::from_secs(2);
        for key in stray {
            self.note(|| format!("repair  link of {} goes", key.container));
            let lived = self.node.kernel.withdraw(&key, gone_by);
            self.oracle.lived(self.time, lived);
        }
        for a in promises {
            let plumbed = self.node.kernel.living().any(|link| link.attachment == *a);
            if !plumbed {
                self.judge_promise(a);
            }
            let here = a.mode == Mode::Veth || self.cloud.is_attached(&a.eni);
            let lives = self.node.kernel.namespaces.contains(&a.key.container);
            if !plumbed && here && lives {
                self.make_live(a);
            }
            self.identity_of_many(a, promises);
        }
    }

    /// The kubelet comes back.
    pub(crate) fn restart_kubelet(&mut self) {
        self.node.kubelet.devices = None;
        let boot = self.boot();
        if let Some(d) = self.daemon.as_mut() {
            d.devices_told = false;
            d.kubelet_since = boot;
        }
        self.tell(Event::KubeletRestarted);
    }
}
