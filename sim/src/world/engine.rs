//! A turn of the engine: every waiting event, one commit, then the commands. A planned crash strikes at its boundary.

use tideway_ipam::{Command, Effects, Event, RequestId, record::attachment_key};
use tideway_model::Attachment;

use super::{Cut, Uninstall, World, adds::AddStage};
use crate::coverage::Boundary;

/// How long a pod's ENI is waited for while its former container has it.
const ENI_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

impl World {
    /// Takes what is in the inbox.
    pub(crate) fn take_turn(&mut self) {
        let now = self.now();
        let Some(d) = self.daemon.as_mut() else {
            self.cut = None;
            return;
        };
        if d.inbox.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut d.inbox);
        let mut refused = Vec::new();
        if d.ledger.again.is_some() {
            events.retain(|event| match event {
                Event::Add(request) => {
                    refused.push(request.id);
                    false
                }
                _ => true,
            });
        }
        let mut out = Effects::default();
        for event in &events {
            d.core.step(now, event.clone(), &mut out);
        }
        self.counts.events += u64::try_from(events.len()).unwrap_or(0);
        if self.chronicle {
            for event in &events {
                self.note(|| format!("event   {}", brief(&format!("{event:?}"))));
            }
        }
        for id in refused {
            self.refused(id);
        }
        self.judge_books();
        self.carry_out(out, &events);
        self.judge_devices();
        self.overdue();
    }

    /// The books after a step.
    pub(crate) fn judge_books(&mut self) {
        let boot = self.boot();
        let Some(d) = self.daemon.as_ref() else { return };
        let (contradiction, due) = (d.core.ipam.check().err(), d.core.ipam.next_deadline());
        if let Some(text) = contradiction {
            self.oracle.broken("the books are whole", || text.to_string());
        }
        if let Some(due) = due.filter(|due| *due <= boot) {
            self.oracle
                .broken("deadlines lie ahead", || format!("next deadline {due:?} at {boot:?}"));
        }
    }

    /// Commits, then executes.
    pub(crate) fn carry_out(&mut self, mut out: Effects, events: &[Event]) {
        self.spring(&out);
        let cut = self.cut.take();
        let before = Boundary::BeforeCommit;
        if cut == Some(Cut::BeforeCommit) || self.aims_at(before, &out, 0, events) {
            self.crash(before, &out, 0, events);
            return;
        }
        self.owe(&mut out);
        if !self.commit() {
            self.make_do(out, cut);
            return;
        }
        self.withdrawn.clear();
        for command in &out.commands {
            if let Command::Unplumb { attachment, .. } = command {
                self.withdrawn.push(attachment.key.clone());
            }
        }
        let limit = match cut {
            Some(Cut::AfterCommit(done)) => Some(done.min(out.commands.len())),
            Some(Cut::BeforeCommit | Cut::AfterTurn) | None => None,
        };
        for done in 0..=out.commands.len() {
            let boundary = if done == 0 { Boundary::AfterCommit } else { Boundary::AmongCommands };
            if limit == Some(done) || self.aims_at(boundary, &out, done, &[]) {
                self.crash(boundary, &out, done, &[]);
                return;
            }
            if let Some(command) = out.commands.get(done) {
                self.execute(command.clone());
            }
        }
        let nothing = Effects::default();
        if cut == Some(Cut::AfterTurn) || self.aims_at(Boundary::Idle, &nothing, 0, &[]) {
            self.crash_idle();
        }
    }

    pub(crate) fn execute(&mut self, command: Command) {
        if self.chronicle && !matches!(command, Command::Devices(_)) {
            self.note(|| format!("command {}", brief(&format!("{command:?}"))));
        }
        match command {
            Command::Grant { id, attachment, again } => self.granted(id, *attachment, again),
            Command::Refuse { id, .. } => self.refused(id),
            Command::Unplumb { id, attachment } => self.unplumb(id, *attachment),
            Command::Unknown { id, .. } => self.del_answered(id),
            Command::Quiesce { addresses } => self.quiesce(addresses),
            Command::Cloud { intent, op, urgency } => self.send(intent, op, urgency),
            Command::Prepare(eni) => self.prepare(*eni),
            Command::Retire(eni) => self.retire(&eni),
            Command::Devices(list) => self.list_devices(list),
            Command::LookAtCloud => self.look_at_cloud(),
            Command::LookAtDevices => self.look_at_devices(),
            Command::Uninstalled => self.uninstall = Uninstall::Done,
        }
    }

    fn granted(&mut self, id: RequestId, a: Attachment, again: bool) {
        self.counts.grants += 1;
        // A promise that is taken back in the same turn is never plumbed.
        let durable = self.disk.has(&attachment_key(&a.key)) || self.withdrawn.contains(&a.key);
        if !durable {
            self.oracle.broken("no promise before it is durable", || format!("{:?}", a.key));
        }
        if !again {
            self.judge_promise(&a);
        }
        if let Some(d) = self.daemon.as_mut() {
            d.promised.insert(a.key.clone(), a.clone());
        }
        let by = self.within(20, 1_500);
        let waits = |add: &&mut super::Adding| add.stage == AddStage::Waiting(id);
        match self.adds.iter_mut().find(waits) {
            Some(add) => {
                add.stage = AddStage::Plumbing(Box::new(a));
                add.by = by;
                add.patience = by + ENI_WAIT;
            }
            None => self.oracle.broken("each request is answered once", || {
                format!("{id:?} of {:?} is granted and waits no more", a.key)
            }),
        }
    }

    /// The first promise of an attachment, by the oracle.
    pub(crate) fn judge_promise(&mut self, a: &Attachment) {
        if self.judged.insert(a.key.clone()) {
            let cooldown = self.profile.settings.cooldown;
            let identity = self.terms(&a.pod.key).is_some();
            self.oracle.handed_out(self.time, cooldown, (a, identity), &self.node, &self.cloud);
            self.judge_identity(a);
        }
    }

    pub(crate) fn refused(&mut self, id: RequestId) {
        match self.adds.iter().position(|a| a.stage == AddStage::Waiting(id)) {
            Some(at) => self.add_failed(at),
            None => self.oracle.broken("each request is answered once", || {
                format!("{id:?} is refused and waits no more")
            }),
        }
    }

    /// Every request has its answer by its deadline.
    fn overdue(&mut self) {
        let boot = self.boot();
        let late =
            |a: &&super::Adding| matches!(a.stage, AddStage::Waiting(_)) && a.deadline <= boot;
        let add = self.adds.iter().find(late).map(|a| format!("the ADD of {}", a.key.container));
        let late = |d: &&super::Deletion| d.due().is_none() && d.deadline <= boot;
        let del = self.dels.iter().find(late).map(|d| format!("the DEL of {}", d.key.container));
        if let Some(late) = add.or(del) {
            // The engine has taken its events, so the allocator knows the time.
            self.oracle.broken("every request is answered by its deadline", || {
                format!("{late} still waits at {boot:?}")
            });
        }
    }
}

/// Debug output that people can read.
fn brief(text: &str) -> String {
    let noise = ["AttachmentKey { container: ContainerId(", "ifname: IfName(\"eth0\")"];
    noise.iter().fold(text.to_owned(), |t, n| t.replace(n, "")).chars().take(700).collect()
}
