//! Commits, and what the engine does while they fail: as `daemon/src/engine.rs` does it, command by command.

use tideway_cloud::ErrorKind;
use tideway_ipam::{Command, Effects, Event, Record, RequestId};

use super::{Cut, World};
use crate::cloud::error;

impl World {
    /// Whether the disk takes nothing now.
    pub(crate) fn is_disk_ill(&self) -> bool {
        self.time < self.disk.ill_until
    }

    /// What is to be durable before the commands are executed.
    pub(crate) fn owe(&mut self, out: &mut Effects) {
        let Some(d) = self.daemon.as_mut() else { return };
        for record in out.records.drain(..) {
            d.ledger.owed.insert(record.key.clone(), record);
        }
    }

    /// Makes all that is owed durable in one commit; false while that is impossible.
    pub(crate) fn commit(&mut self) -> bool {
        let boot = self.boot();
        let Some(d) = self.daemon.as_ref() else { return false };
        if d.ledger.again.is_some_and(|again| boot < again) {
            return false;
        }
        let records: Vec<Record> = d.ledger.owed.values().cloned().collect();
        if records.is_empty() {
            return true;
        }
        let fails = self.is_disk_ill();
        let written = if fails {
            let lands = self.dice.percent(30);
            self.disk.fail(&records, lands)
        } else {
            self.disk.commit(&records)
        };
        if let Err(text) = written {
            self.oracle.broken("records are written", || text);
        }
        if self.chronicle {
            let sign = |r: &Record| if r.value.is_some() { "" } else { "-" };
            let keys: Vec<String> =
                records.iter().map(|r| format!("{}{}", sign(r), r.key)).collect();
            let how = if fails { "FAILED  " } else { "commit  " };
            self.note(|| format!("{how}{}", keys.join(" ")));
        }
        let again = fails.then(|| self.within(1_000, 10_000));
        let Some(d) = self.daemon.as_mut() else { return false };
        d.ledger.again = again;
        if fails {
            return false;
        }
        d.ledger.owed.clear();
        d.ledger.volatile.clear();
        self.counts.commits += 1;
        self.committed = Some(self.disk.commits);
        let Some(d) = self.daemon.as_mut() else { return false };
        if std::mem::take(&mut d.ledger.uninstalled) {
            self.execute(Command::Uninstalled);
        }
        true
    }

    /// What becomes of commands whose records are not durable. What follows from that is as little durable.
    pub(crate) fn make_do(&mut self, out: Effects, cut: Option<Cut>) {
        let mut commands = out.commands;
        while !commands.is_empty() {
            let mut out = Effects::default();
            for command in commands {
                self.make_do_with(command, &mut out);
            }
            self.judge_books();
            self.owe(&mut out);
            commands = out.commands;
        }
        if cut.is_some() {
            self.crash_idle();
        }
    }

    fn make_do_with(&mut self, command: Command, out: &mut Effects) {
        match command {
            Command::Grant { id, attachment, again } => {
                self.refused(id);
                if !again {
                    let key = attachment.key;
                    self.step(Event::PlumbFailed { key: key.clone() }, out);
                    let of_it = |c: &Command| matches!(c, Command::Unplumb { attachment, .. } if attachment.key == key);
                    out.commands.retain(|command| !of_it(command));
                }
            }
            Command::Cloud { intent, op, .. } => {
                let result = Err(error(op.action(), ErrorKind::Unavailable));
                self.step(Event::CloudDone { intent, result }, out);
            }
            Command::Unplumb { id, attachment } => {
                if let Some(d) = self.daemon.as_mut() {
                    d.ledger.volatile.insert(attachment.key.clone());
                }
                self.doubt(id);
                self.execute(Command::Unplumb { id, attachment });
            }
            Command::Unknown { id, key } => {
                let volatile = |d: &crate::daemon::Daemon| d.ledger.volatile.contains(&key);
                if self.daemon.as_deref().is_some_and(volatile) {
                    self.doubt(Some(id));
                }
                self.execute(Command::Unknown { id, key });
            }
            Command::Uninstalled => {
                if let Some(d) = self.daemon.as_mut() {
                    d.ledger.uninstalled = true;
                }
            }
            other @ (Command::Refuse { .. }
            | Command::Quiesce { .. }
            | Command::Prepare(_)
            | Command::Retire(_)
            | Command::Devices(_)
            | Command::LookAtCloud
            | Command::LookAtDevices) => self.execute(other),
        }
    }

    fn step(&mut self, event: Event, out: &mut Effects) {
        let now = self.now();
        if let Some(d) = self.daemon.as_mut() {
            d.core.step(now, event, out);
        }
    }

    /// This DEL is answered with a failure when its withdrawal has ended.
    fn doubt(&mut self, id: Option<RequestId>) {
        if let Some(d) = self.daemon.as_mut() {
            d.ledger.doubted.extend(id);
        }
    }
}
