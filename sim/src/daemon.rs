//! The model of the daemon's shell: what is in memory and on its way, and dies with the process.
//!
//! It follows `daemon/`: one engine turn takes every waiting event, one commit, then the commands; every command is a task
//! of its own that ends whenever the world lets it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_cloud::{CallId, CloudError, CloudOp, EniView, Limiter, OpAnswer, Pace, Priority};
use tideway_ipam::{Event, IntentId, Record, RequestId, SharedEni, Source};
use tideway_model::{Attachment, AttachmentKey, EniId, PodKey, SlotId};

use crate::core::Core;

/// How far a cloud call is.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// Waits for its turn.
    Queued(CallId),
    /// On the wire, no effect yet.
    Sent(CallId),
    /// Had its effect or was refused; the answer is on the wire.
    Applied(CallId, Result<OpAnswer, Box<CloudError>>),
    /// Attach or detach was accepted; the shell asks until it shows.
    Settling(Settling),
}

/// Asking whether an attach or detach has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Settling {
    /// The question that waits for its turn.
    pub asked: Option<CallId>,
    /// Next question.
    pub next: Duration,
    /// Counts as stuck then.
    pub end: Duration,
    /// A state between the two was seen.
    pub moved: bool,
    /// Shows the former state since then.
    pub still: Option<Duration>,
}

/// A cloud call of the shell.
#[derive(Debug, Clone)]
pub struct Call {
    /// Intent.
    pub intent: IntentId,
    /// Operation.
    pub op: CloudOp,
    /// Urgency.
    pub urgency: Priority,
    /// How far.
    pub stage: Stage,
    /// Moves on by itself then.
    pub by: Duration,
}

/// A look at the cloud.
#[derive(Debug, Clone)]
pub struct CloudLook {
    /// When the question was put.
    pub begun: Duration,
    /// The turn it waits for.
    pub ticket: Option<CallId>,
    /// What was read and is on its way.
    pub read: Option<Vec<EniView>>,
    /// Moves on by itself then.
    pub by: Duration,
}

/// A question to the kubelet.
#[derive(Debug, Clone)]
pub struct DeviceLook {
    /// When it was put.
    pub begun: Duration,
    /// What was true then.
    pub then: BTreeMap<SlotId, PodKey>,
    /// Moves on by itself then.
    pub by: Duration,
}

/// A look at what lives.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Who is asked.
    pub source: Source,
    /// When.
    pub begun: Duration,
    /// Promises at that time (the kernel is asked about these).
    pub asked: BTreeSet<AttachmentKey>,
    /// Moves on by itself then.
    pub by: Duration,
}

/// An attachment that is being withdrawn.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    /// What.
    pub attachment: Attachment,
    /// The DEL that waits for it.
    pub answer: Option<RequestId>,
    /// Moves on by itself then.
    pub by: Duration,
}

/// Addresses that are to become quiet.
#[derive(Debug, Clone)]
pub struct Quieting {
    /// Which.
    pub addresses: Vec<IpAddr>,
    /// Tried next then.
    pub next: Duration,
    /// Tried together for so long.
    pub end: Duration,
}

/// A shared ENI that is being prepared.
#[derive(Debug, Clone)]
pub struct Preparing {
    /// Which.
    pub eni: SharedEni,
    /// Moves on by itself then.
    pub by: Duration,
}

/// What the engine owes to the journal, as `daemon/src/ledger.rs` and `daemon/src/engine.rs` keep it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Records that are not durable, the last of each key.
    pub owed: BTreeMap<String, Record>,
    /// Commits fail; the next try is then.
    pub again: Option<Duration>,
    /// Attachments that have ended, which the journal does not know yet.
    pub volatile: BTreeSet<AttachmentKey>,
    /// DELs that are told a failure although their pod is withdrawn.
    pub doubted: BTreeSet<RequestId>,
    /// An uninstall that is complete and not durable.
    pub uninstalled: bool,
}

/// The process.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// The real allocator.
    pub core: Core,
    /// Events that the engine has not taken.
    pub inbox: Vec<Event>,
    /// What is to be durable.
    pub ledger: Ledger,
    /// Promises, as the hands know them.
    pub promised: BTreeMap<AttachmentKey, Attachment>,
    /// The real limiter.
    pub limiter: Limiter,
    /// Cloud calls.
    pub calls: Vec<Call>,
    /// Shared ENIs that are prepared on the host.
    pub prepared: BTreeSet<EniId>,
    /// Addresses of shared ENIs that the host's map has.
    pub mapped: BTreeMap<EniId, BTreeSet<IpAddr>>,
    /// Preparations.
    pub preparing: Vec<Preparing>,
    /// Withdrawals.
    pub withdrawals: Vec<Withdrawal>,
    /// Quiet work.
    pub quieting: Vec<Quieting>,
    /// Looks at the cloud.
    pub cloud_looks: Vec<CloudLook>,
    /// Questions to the kubelet.
    pub device_looks: Vec<DeviceLook>,
    /// Looks at what lives.
    pub listings: Vec<Listing>,
    /// The kubelet has told its devices since its last restart.
    pub devices_told: bool,
    /// When the kubelet was last seen to restart.
    pub kubelet_since: Duration,
    /// The runtime answered the last time too.
    pub steady: bool,
    /// The next looks at what lives.
    pub next_listing: Duration,
    next_id: u64,
}

impl Daemon {
    /// A process that begins.
    pub fn new(core: Core, boot: Duration) -> Self {
        Self {
            core,
            inbox: Vec::new(),
            ledger: Ledger::default(),
            promised: BTreeMap::new(),
            limiter: Limiter::new(Pace::default()),
            calls: Vec::new(),
            prepared: BTreeSet::new(),
            mapped: BTreeMap::new(),
            preparing: Vec::new(),
            withdrawals: Vec::new(),
            quieting: Vec::new(),
            cloud_looks: Vec::new(),
            device_looks: Vec::new(),
            listings: Vec::new(),
            devices_told: false,
            kubelet_since: Duration::ZERO,
            steady: false,
            next_listing: boot,
            next_id: 0,
        }
    }

    /// A request id.
    pub fn id(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    /// The moment at which something of this process moves on by itself.
    pub fn next_due(&self) -> Option<Duration> {
        let calls = self.calls.iter().filter_map(|c| match &c.stage {
            Stage::Settling(s) if s.asked.is_some() => None,
            Stage::Queued(_) | Stage::Sent(_) | Stage::Applied(..) | Stage::Settling(_) => {
                Some(c.by)
            }
        });
        let looks = self.cloud_looks.iter().filter(|l| l.ticket.is_none()).map(|l| l.by);
        calls
            .chain(looks)
            .chain(self.preparing.iter().map(|p| p.by))
            .chain(self.withdrawals.iter().map(|w| w.by))
            .chain(self.quieting.iter().map(|q| q.next))
            .chain(self.device_looks.iter().map(|l| l.by))
            .chain(self.listings.iter().map(|l| l.by))
            .chain(self.limiter.wake())
            .chain(self.core.ipam.next_deadline())
            .chain(self.ledger.again)
            .chain([self.next_listing])
            .min()
    }
}
