//! The model world with the daemon in it, and how time passes.
//!
//! Everything that is under way has a moment at which it moves on by itself, so nothing hangs for ever; within that, the
//! run's seed chooses what moves when, in any order.

mod adds;
mod calls;
mod crash;
mod dels;
mod engine;
mod hands;
mod ledger;
mod looks;
mod rebuild;
mod start;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tideway_cloud::CloudOp;
use tideway_ipam::Event;
use tideway_model::{AttachmentKey, Now, UnixMillis};

pub use self::{
    adds::{AddStage, Adding},
    crash::Cut,
    dels::{Collection, DelStage, Deletion},
};
use crate::{
    cloud::ModelCloud,
    coverage::{Cell, Coverage, Kind, State},
    daemon::Daemon,
    dice::Dice,
    disk::Disk,
    identities::Identities,
    mutants::Mutant,
    node::Node,
    oracle::Oracle,
    profile::Profile,
};

/// A call that nobody waits for any more and that may still take effect.
#[derive(Debug, Clone)]
pub struct Ghost {
    /// Operation.
    pub op: CloudOp,
    /// Is over at the latest then.
    pub by: Duration,
    /// Whether it takes effect or is lost.
    pub lands: bool,
}

/// An answer that comes once more, also when its process is gone.
#[derive(Debug, Clone)]
pub struct Twin {
    /// What was answered.
    event: Event,
    /// Comes then (true time).
    by: Duration,
}

/// How far an uninstall is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uninstall {
    /// Nobody asks for it.
    No,
    /// Ordered.
    Ordered,
    /// The allocator says that nothing is left.
    Done,
}

/// Counts of one or more runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Choices of the seed.
    pub operations: u64,
    /// Crashes.
    pub crashes: u64,
    /// Events that the allocator took.
    pub events: u64,
    /// Commits.
    pub commits: u64,
    /// Addresses promised.
    pub grants: u64,
    /// Cloud calls sent.
    pub calls: u64,
    /// Runs.
    pub runs: u64,
}

impl Counts {
    /// Adds another run's counts.
    pub fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.events += other.events;
        self.commits += other.commits;
        self.grants += other.grants;
        self.calls += other.calls;
        self.runs += other.runs;
    }
}

/// The world.
#[derive(Debug, Clone)]
pub struct World {
    /// The run's profile, shared by the clones of the world.
    pub profile: Arc<Profile>,
    /// True time; never jumps.
    pub time: Duration,
    /// True time of the last boot.
    pub booted: Duration,
    /// Wall clock minus true time, milliseconds.
    pub wall: u64,
    /// Cloud.
    pub cloud: ModelCloud,
    /// Node.
    pub node: Node,
    /// Disk.
    pub disk: Disk,
    /// The daemon, when it runs.
    pub daemon: Option<Box<Daemon>>,
    /// Judge.
    pub oracle: Oracle,
    /// Judge of leases.
    pub identities: Identities,
    /// Calls that still take effect.
    pub ghosts: Vec<Ghost>,
    /// Answers that come twice.
    pub twins: Vec<Twin>,
    /// ADDs on their way.
    pub adds: Vec<Adding>,
    /// DELs on their way.
    pub dels: Vec<Deletion>,
    /// CNI GC requests on their way.
    pub collections: Vec<Collection>,
    /// Release tickets in the directory.
    pub tickets: Vec<AttachmentKey>,
    /// The ticket directory takes no more files.
    pub tickets_full: bool,
    /// Containers of the past, for whom somebody may still say DEL.
    pub former: Vec<AttachmentKey>,
    /// The operator uninstalls: how far that is.
    pub uninstall: Uninstall,
    /// No more faults: the sources are truthful and everything works.
    pub calm: bool,
    /// Where crashes hit.
    pub coverage: Coverage,
    /// Counts.
    pub counts: Counts,
    /// What is wrong with the allocator.
    pub mutant: Option<Mutant>,
    /// A crash that strikes in the next turn of the engine.
    pub cut: Option<Cut>,
    /// A crash that strikes when this work is open.
    pub ambush: Option<(Kind, State)>,
    /// Crashes wait for this cell of the coverage table.
    pub aim: Option<Cell>,
    /// Chance of the present step.
    pub dice: Dice,
    /// The cloud refuses for speed: calls left, and when they were counted.
    bucket: (f64, Duration),
    /// What happened, for people; filled when `chronicle` is on.
    pub log: Vec<String>,
    /// Whether `log` is filled.
    pub chronicle: bool,
    /// Commits so far, kept where a reboot forgets it and a disk cannot change it: a journal that was set back shows.
    pub committed: Option<u64>,
    runs_of_daemon: u64,
    /// Attachments whose withdrawal the present turn orders.
    withdrawn: Vec<AttachmentKey>,
    /// Attachments that were judged when they were promised.
    pub(crate) judged: BTreeSet<AttachmentKey>,
}

impl World {
    /// The world of a profile, with the daemon started on an empty disk.
    pub fn new(profile: Profile, seed: u64, mutant: Option<Mutant>, chronicle: bool) -> Self {
        let cloud = ModelCloud::new(&profile);
        let burst = profile.rate.1;
        let mut world = Self {
            profile: Arc::new(profile),
            time: Duration::from_secs(1_000),
            booted: Duration::from_mins(15),
            wall: 1_700_000_000_000,
            cloud,
            node: Node::default(),
            disk: Disk::default(),
            daemon: None,
            oracle: Oracle::default(),
            identities: Identities::default(),
            ghosts: Vec::new(),
            twins: Vec::new(),
            adds: Vec::new(),
            dels: Vec::new(),
            collections: Vec::new(),
            tickets: Vec::new(),
            tickets_full: false,
            former: Vec::new(),
            uninstall: Uninstall::No,
            calm: false,
            coverage: Coverage::default(),
            counts: Counts::default(),
            mutant,
            cut: None,
            ambush: None,
            aim: None,
            dice: Dice::new(seed),
            bucket: (burst, Duration::ZERO),
            log: Vec::new(),
            chronicle,
            committed: None,
            runs_of_daemon: 0,
            withdrawn: Vec::new(),
            judged: BTreeSet::new(),
        };
        world.start();
        world
    }

    /// The clocks as the daemon reads them.
    pub fn now(&self) -> Now {
        let millis = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        Now { boot: self.boot(), wall: UnixMillis(self.wall.saturating_add(millis)) }
    }

    /// Starts of the daemon so far.
    pub(crate) fn runs(&self) -> u64 {
        self.runs_of_daemon
    }

    /// Time since the last boot.
    pub fn boot(&self) -> Duration {
        self.time.saturating_sub(self.booted)
    }

    /// Whether a promise was broken.
    pub fn is_broken(&self) -> bool {
        self.oracle.violation.is_some()
    }

    /// A line for people.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.chronicle {
            self.log.push(format!("[{:>9.3}] {}", self.boot().as_secs_f64(), text()));
        }
    }

    /// The allocator's state, at the end of what people read.
    pub(crate) fn note_books(&mut self) {
        let books = self.daemon.as_ref().filter(|_| self.chronicle);
        if let Some(text) = books.map(|d| format!("{:?}", d.core.ipam)) {
            self.note(|| format!("state   {text}"));
        }
    }

    /// Whether a fault of `percent` strikes now.
    pub(crate) fn strikes(&mut self, percent: u64) -> bool {
        !self.calm && self.dice.percent(percent)
    }

    /// Boot time in so many seconds, for work that moves on by itself then.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> Duration {
        self.boot() + Duration::from_millis(self.dice.between(low, high))
    }

    /// Lets time pass; what is due moves on.
    pub fn pass(&mut self, span: Duration) {
        let end = self.time + span;
        let mut turns = 0u32;
        while !self.is_broken() {
            self.take_turn();
            let due = self.next_due().max(self.time);
            if due > end {
                break;
            }
            if due == self.time {
                turns += 1;
                if turns > 5_000 {
                    let next = self.daemon.as_ref().and_then(|d| d.next_due());
                    let at = self.boot();
                    self.oracle.broken("time passes", || {
                        format!("something is due at {next:?} for ever, it is {at:?}")
                    });
                    return;
                }
            } else {
                turns = 0;
            }
            self.time = due;
            self.move_due();
        }
        self.time = end;
    }

    /// Lets time pass to what is due next.
    pub fn pass_to_next(&mut self) {
        let due = self.next_due();
        if due < Duration::MAX {
            self.pass(due.saturating_sub(self.time));
        }
    }

    fn next_due(&self) -> Duration {
        let boot = |at: Duration| at + self.booted;
        let daemon = self.daemon.as_ref().and_then(|d| d.next_due()).map(boot);
        let links = self.node.kernel.links.values().filter_map(|l| l.gone_by);
        let changes = self.cloud.changing.values().map(|c| c.by);
        daemon
            .into_iter()
            .chain(links)
            .chain(changes)
            .chain(self.ghosts.iter().map(|g| g.by))
            .chain(self.twins.iter().map(|t| t.by))
            .chain(self.adds.iter().filter_map(Adding::due).map(boot))
            .chain(self.dels.iter().filter_map(Deletion::due).map(boot))
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// Everything whose moment has come moves on by one step.
    fn move_due(&mut self) {
        let (time, boot) = (self.time, self.boot());
        self.node.kernel.sweep(time);
        let ended: Vec<_> = self
            .cloud
            .changing
            .iter()
            .filter(|(_, c)| c.by <= time)
            .map(|(id, _)| id.clone())
            .collect();
        for eni in ended {
            self.end_change(&eni);
        }
        while let Some(at) = self.ghosts.iter().position(|g| g.by <= time) {
            self.ghost_acts(at);
        }
        while let Some(at) = self.twins.iter().position(|t| t.by <= time) {
            let twin = self.twins.remove(at);
            self.tell(twin.event);
        }
        while let Some(at) = self.adds.iter().position(|a| a.due().is_some_and(|by| by <= boot)) {
            self.move_add(at);
            if self.is_broken() {
                return;
            }
        }
        while let Some(at) = self.dels.iter().position(|d| d.due().is_some_and(|by| by <= boot)) {
            self.move_del(at);
        }
        self.move_daemon(boot);
    }

    fn move_daemon(&mut self, boot: Duration) {
        let Some(d) = self.daemon.as_ref() else { return };
        let due = d.core.ipam.next_deadline().into_iter().chain(d.ledger.again).min();
        if due.is_some_and(|due| due <= boot) {
            self.tell(Event::Tick);
        }
        self.pump_limiter();
        self.move_calls(boot);
        self.move_hands(boot);
        self.move_looks(boot);
    }

    /// An event for the engine.
    pub(crate) fn tell(&mut self, event: Event) {
        if let Some(d) = self.daemon.as_mut() {
            d.inbox.push(event);
        }
    }
}
