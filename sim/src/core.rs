//! The real allocator behind one door, so that a mutant can stand in the doorway (see [`crate::mutants`]).

use std::collections::BTreeMap;

use tideway_cloud::{CloudOp, ErrorKind};
use tideway_ipam::{Command, Effects, Event, IntentId, Ipam, Urgency};
use tideway_model::Now;

use crate::mutants::Mutant;

/// The allocator, true or mutated.
#[derive(Debug, Clone)]
pub struct Core {
    /// The real one.
    pub ipam: Ipam,
    /// What is wrong with it.
    pub mutant: Option<Mutant>,
    /// Operations that were ordered, for mutants that order them again.
    sent: BTreeMap<IntentId, CloudOp>,
}

impl Core {
    /// A door to an allocator.
    pub fn new(ipam: Ipam, mutant: Option<Mutant>) -> Self {
        Self { ipam, mutant, sent: BTreeMap::new() }
    }

    /// See [`Ipam::start`].
    pub fn start(&mut self, now: Now, out: &mut Effects) {
        self.ipam.start(now, out);
        self.alter(now, out, 0);
    }

    /// See [`Ipam::step`].
    pub fn step(&mut self, now: Now, event: Event, out: &mut Effects) {
        let Some(mutant) = self.mutant else { return self.ipam.step(now, event, out) };
        let begun = out.commands.len();
        if mutant == Mutant::SendsAgain
            && let Event::CloudDone { intent, result: Err(e) } = &event
            && e.kind == ErrorKind::Unknown
            && let Some(op) = self.sent.remove(intent)
        {
            out.commands.push(Command::Cloud { intent: *intent, op, urgency: Urgency::Warm });
            return;
        }
        for event in mutant.before(event, out) {
            self.ipam.step(now, event, out);
        }
        self.alter(now, out, begun);
    }

    fn alter(&mut self, now: Now, out: &mut Effects, begun: usize) {
        let Some(mutant) = self.mutant else { return };
        for command in out.commands.get(begun..).unwrap_or_default() {
            if let Command::Cloud { intent, op, .. } = command {
                self.sent.insert(*intent, op.clone());
            }
        }
        if mutant == Mutant::GivesBackLivePrefixes {
            let books = self.ipam.books(now);
            for command in out.commands.iter_mut().skip(begun) {
                let Command::Cloud { op: CloudOp::UnassignPrefixes { eni, prefixes }, .. } =
                    command
                else {
                    continue;
                };
                let book = books.enis.iter().find(|e| e.id.as_ref() == Some(&*eni));
                let all = book.into_iter().flat_map(|e| &e.prefixes);
                *prefixes = all.copied().filter(|p| p.addr().is_ipv4()).collect();
            }
        }
        mutant.after(out);
        if mutant == Mutant::SkipsFlush {
            let told = out.commands.iter().filter_map(|c| match c {
                Command::Quiesce { addresses } => Some(addresses.clone()),
                _ => None,
            });
            for addresses in told.collect::<Vec<_>>() {
                out.commands.retain(
                    |c| !matches!(c, Command::Quiesce { addresses: own } if *own == addresses),
                );
                self.ipam.step(now, Event::Quiet { begun: now.boot, addresses }, out);
            }
        }
    }
}
