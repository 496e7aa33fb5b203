//! DEL, release tickets and CNI GC.

use std::{collections::BTreeSet, time::Duration};

use tideway_ipam::{Event, Look, RequestId, Source, record::attachment_key};
use tideway_model::AttachmentKey;

use super::World;
use crate::node::Progress;

/// Nothing that a DEL waits for takes so long: a withdrawal takes two seconds, and a disk that takes nothing is no reason.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// How far a DEL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DelStage {
    /// On its way to the daemon.
    Sent,
    /// The daemon has it.
    Waiting(RequestId),
}

/// A DEL.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// Attachment.
    pub key: AttachmentKey,
    /// How far.
    pub stage: DelStage,
    /// It is read from a ticket.
    pub ticket: bool,
    /// Moves on by itself then.
    pub by: Duration,
    /// The daemon answers by then.
    pub deadline: Duration,
}

impl Deletion {
    fn new(key: AttachmentKey, ticket: bool, by: Duration) -> Self {
        Self { key, stage: DelStage::Sent, ticket, by, deadline: Duration::MAX }
    }

    /// When it moves on by itself; none: the daemon has it.
    pub fn due(&self) -> Option<Duration> {
        (self.stage == DelStage::Sent).then_some(self.by)
    }
}

/// A CNI GC: the runtime's list of what is valid, made some time ago.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Valid attachments when the list was made.
    pub valid: BTreeSet<AttachmentKey>,
}

impl World {
    /// The runtime executes the plugin.
    pub(crate) fn send_del(&mut self, key: AttachmentKey) {
        let by = self.within(2, 1_000);
        self.note(|| format!("DEL     {}", key.container));
        self.dels.push(Deletion::new(key, false, by));
    }

    /// A DEL moves on by one step.
    pub(crate) fn move_del(&mut self, at: usize) {
        let Some(del) = self.dels.get(at).cloned() else { return };
        if del.stage != DelStage::Sent {
            return;
        }
        let deadline = self.boot() + ANSWERED_WITHIN;
        let Some(d) = self.daemon.as_mut() else {
            self.dels.remove(at);
            if !del.ticket {
                self.leave_ticket(del.key);
            }
            return;
        };
        let id = d.id();
        if let Some(del) = self.dels.get_mut(at) {
            del.stage = DelStage::Waiting(id);
            del.deadline = deadline;
        }
        self.tell(Event::Del { id, key: del.key });
    }

    /// The plugin finds no daemon: a ticket, or an error for the runtime when the directory is full.
    pub(crate) fn leave_ticket(&mut self, key: AttachmentKey) {
        if self.tickets_full && !self.calm {
            return;
        }
        self.note(|| format!("ticket  {}", key.container));
        if !self.tickets.contains(&key) {
            self.tickets.push(key.clone());
        }
        self.del_done(&key);
    }

    /// Tickets that nobody works on yet are read.
    pub(crate) fn drain_tickets(&mut self) {
        for key in self.tickets.clone() {
            if !self.dels.iter().any(|d| d.ticket && d.key == key) {
                let by = self.within(2, 1_000);
                self.dels.push(Deletion::new(key, true, by));
            }
        }
    }

    /// The daemon answers a DEL.
    pub(crate) fn del_answered(&mut self, id: RequestId) {
        let Some(at) = self.dels.iter().position(|d| d.stage == DelStage::Waiting(id)) else {
            self.oracle.broken("each request is answered once", || {
                format!("DEL {id:?} is answered and waits no more")
            });
            return;
        };
        let del = self.dels.remove(at);
        let doubted = self.daemon.as_mut().is_some_and(|d| d.ledger.doubted.remove(&id));
        if doubted {
            return self.del_failed(del);
        }
        // An ADD that comes after its DEL is promised anew. And a grant that was taken back before anybody heard of it may be in
        // the file: its DEL must not wait for the disk, and after a crash the looks free it.
        let anew = self.adds.iter().any(|add| add.key == del.key);
        if !anew && self.oracle.has_lived(&del.key) && self.disk.has(&attachment_key(&del.key)) {
            self.oracle.broken("the end of a pod is durable before its DEL succeeds", || {
                format!("{:?}", del.key)
            });
        }
        if del.ticket {
            self.tickets.retain(|key| *key != del.key);
        }
        self.del_done(&del.key);
    }

    /// The pod is withdrawn and nobody may remember that: a ticket does, or the runtime comes again.
    fn del_failed(&mut self, del: Deletion) {
        self.note(|| format!("DEL     of {} is not durable", del.key.container));
        if del.ticket {
            let by = self.within(2_000, 3_000);
            self.dels.push(Deletion::new(del.key, true, by));
        } else {
            self.leave_ticket(del.key);
            self.drain_tickets();
        }
    }

    fn del_done(&mut self, key: &AttachmentKey) {
        let found = self.node.runtime.sandboxes.values_mut().find(|s| s.key == *key);
        if let Some(s) = found
            && s.progress == Progress::Ending
        {
            s.progress = Progress::Ended;
        }
    }

    /// A CNI GC reaches the daemon. Its list is as old as it is: absence in it is a look, not a command.
    pub(crate) fn collect(&mut self, collection: Collection) {
        let begun = self.boot();
        let asked = self.daemon.iter().flat_map(|d| d.promised.keys().cloned()).collect();
        let live = collection.valid;
        self.tell(Event::Seen(Look { source: Source::Runtime, begun, asked, live }));
    }
}
