//! One fake node: what it has, what is in use, and the numbers that its daemon publishes.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use tideway_kubeapi::{
    AdapterStatus, ExclusiveStatus, InstanceStatus, NodeNetworkCondition, NodeNetworkStatus,
    SharedStatus, SubnetStatus,
};

/// From the address of a pod to numbers that account for it, as the daemon has it.
const SHOWN: Duration = Duration::from_secs(10);

/// What a pod needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

/// What a node has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Addresses of the shared ENI that is always there.
    pub(crate) base: u32,
    /// Places for further ENIs; each becomes an exclusive one, or a shared one with `per_adapter` addresses.
    pub(crate) adapters: u32,
    /// 0: they can only be exclusive.
    pub(crate) per_adapter: u32,
}

impl Shape {
    pub(crate) fn addresses(base: u32) -> Self {
        Self { base, ..Self::default() }
    }
    pub(crate) fn devices(adapters: u32) -> Self {
        Self { base: 2, adapters, per_adapter: 0 }
    }
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    shape: Shape,
    /// Adapters that became shared; they stay.
    grown: u32,
    /// Bound pods whose address is or will be theirs.
    alive: BTreeMap<String, Kind>,
    /// Sandboxes, also those of pods that are gone.
    sandboxes: BTreeMap<String, Kind>,
    cooling: u32,
    /// `resourceVersion` of the last change of this node's pods.
    pub(crate) version: String,
    /// Since when a pod shows its address that the numbers do not account for.
    shown: Option<Instant>,
    dirty: bool,
    writing: bool,
    written: Option<Instant>,
}

impl Node {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            grown: 0,
            alive: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            cooling: 0,
            version: String::new(),
            shown: None,
            // A node that has nothing says nothing: thousands of them are written only once.
            dirty: shape.base + shape.adapters > 0,
            writing: false,
            written: None,
        }
    }

    fn count(of: &BTreeMap<String, Kind>, kind: Kind) -> u32 {
        u32::try_from(of.values().filter(|k| **k == kind).count()).unwrap_or(u32::MAX)
    }

    fn leaving(&self, kind: Kind) -> u32 {
        let gone = |(uid, k): &(&String, &Kind)| **k == kind && !self.alive.contains_key(*uid);
        u32::try_from(self.sandboxes.iter().filter(gone).count()).unwrap_or(u32::MAX)
    }

    /// Units of bound pods, and of those that have left without being free yet.
    fn claimed(&self, kind: Kind) -> u32 {
        let cooling = if kind == Kind::Shared { self.cooling } else { 0 };
        Self::count(&self.alive, kind) + self.leaving(kind) + cooling
    }

    /// Adapters that so many shared units need.
    fn adapters_for(&self, shared: u32) -> u32 {
        let beyond = shared.saturating_sub(self.shape.base);
        match self.shape.per_adapter {
            0 if beyond > 0 => u32::MAX,
            0 => 0,
            each => beyond.div_ceil(each).max(self.grown),
        }
    }

    /// Whether one more pod of this kind has its unit.
    pub(super) fn fits(&self, kind: Kind) -> bool {
        let (mut shared, mut exclusive) =
            (self.claimed(Kind::Shared), self.claimed(Kind::Exclusive));
        match kind {
            Kind::Shared => shared += 1,
            Kind::Exclusive => exclusive += 1,
        }
        self.adapters_for(shared).saturating_add(exclusive) <= self.shape.adapters
    }

    /// Its numbers are published.
    pub(super) fn is_told(&self) -> bool {
        !self.dirty && !self.writing
    }

    pub(super) fn bind(&mut self, uid: &str, kind: Kind) {
        self.alive.insert(uid.to_owned(), kind);
    }

    /// The pod is gone or has ended; whether its sandbox is still there.
    pub(super) fn leaves(&mut self, uid: &str) -> bool {
        self.alive.remove(uid);
        // Also without a sandbox: the daemon says that it knows of the end.
        self.dirty = true;
        self.sandboxes.contains_key(uid)
    }

    /// A pod shows its address.
    pub(super) fn shows(&mut self, now: Instant) {
        self.shown.get_or_insert(now);
    }

    /// Makes the sandbox; false: it waits for a unit.
    pub(super) fn plumb(&mut self, uid: &str) -> bool {
        let Some(kind) = self.alive.get(uid).copied() else { return false };
        if self.sandboxes.contains_key(uid) {
            return true;
        }
        let exclusive = Self::count(&self.sandboxes, Kind::Exclusive);
        let places = self.shape.adapters.saturating_sub(self.grown).saturating_sub(exclusive);
        match kind {
            Kind::Exclusive if places == 0 => return false,
            Kind::Shared if self.ready() == 0 => {
                if places == 0 || self.shape.per_adapter == 0 {
                    return false;
                }
                self.grown += 1;
            }
            Kind::Shared | Kind::Exclusive => {}
        }
        self.sandboxes.insert(uid.to_owned(), kind);
        self.dirty = true;
        true
    }

    /// Bound pods without a sandbox.
    pub(super) fn waiting(&self) -> Vec<String> {
        self.alive.keys().filter(|uid| !self.sandboxes.contains_key(*uid)).cloned().collect()
    }

    /// Ends the sandbox; what it was.
    pub(super) fn tear_down(&mut self, uid: &str) -> Option<Kind> {
        self.alive.remove(uid);
        let kind = self.sandboxes.remove(uid)?;
        self.cooling += u32::from(kind == Kind::Shared);
        self.dirty = true;
        Some(kind)
    }

    pub(super) fn cooled(&mut self) {
        self.cooling = self.cooling.saturating_sub(1);
        self.dirty = true;
    }

    fn held(&self) -> u32 {
        self.shape.base + self.grown * self.shape.per_adapter
    }

    fn ready(&self) -> u32 {
        let taken = Self::count(&self.sandboxes, Kind::Shared) + self.cooling;
        self.held().saturating_sub(taken)
    }

    /// Takes the numbers for a write, if there is news and a write may go out.
    pub(crate) fn news(
        &mut self,
        now: Instant,
        coalesce: Duration,
        cooldown: Duration,
    ) -> Option<NodeNetworkStatus> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let rested = self.written.is_none_or(|at| since(at) >= coalesce);
        let shown = self.shown.is_some_and(|at| since(at) >= SHOWN);
        if !(self.dirty || shown) || self.writing || !rested {
            return None;
        }
        (self.dirty, self.writing, self.written) = (false, true, Some(now));
        self.shown = None;
        Some(self.status(cooldown))
    }

    /// A write ended.
    pub(crate) fn wrote(&mut self, done: bool) {
        self.writing = false;
        self.dirty |= !done;
    }

    fn status(&self, cooldown: Duration) -> NodeNetworkStatus {
        let exclusive = Self::count(&self.sandboxes, Kind::Exclusive);
        let places = self.shape.adapters.saturating_sub(self.grown).saturating_sub(exclusive);
        let held = self.held();
        let truth = |kind: &str| NodeNetworkCondition {
            kind: kind.into(),
            status: "True".into(),
            reason: "Fake".into(),
            ..NodeNetworkCondition::default()
        };
        NodeNetworkStatus {
            instance: InstanceStatus {
                id: "i-fake".into(),
                type_name: "ecs.fake".into(),
                ..InstanceStatus::default()
            },
            adapters: AdapterStatus {
                limit: self.shape.adapters + 1,
                shared: self.grown + 1,
                exclusive,
                foreign: 0,
                free: places,
                free_for_shared: if self.shape.per_adapter > 0 { places } else { 0 },
                addresses_per_adapter: self.shape.per_adapter,
            },
            shared: SharedStatus {
                capacity: held,
                held,
                ready: self.ready(),
                assigned: Self::count(&self.sandboxes, Kind::Shared),
                leaving: self.leaving(Kind::Shared),
                cooling: self.cooling,
                unusable: 0,
            },
            exclusive: ExclusiveStatus {
                offered: places,
                assigned: exclusive,
                leaving: self.leaving(Kind::Exclusive),
                ready: 0,
            },
            subnets: vec![SubnetStatus { id: "vsw-fake".into(), free: 60_000 }],
            cooldown_millis: u64::try_from(cooldown.as_millis()).unwrap_or_default(),
            pods_resource_version: Some(self.version.clone()).filter(|v| !v.is_empty()),
            conditions: ["Ready", "CloudReachable", "SubnetHasRoom"].map(truth).into(),
            ..NodeNetworkStatus::default()
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { base, adapters, per_adapter } = self.shape;
        let (shared, exclusive) = (self.claimed(Kind::Shared), self.claimed(Kind::Exclusive));
        write!(
            f,
            "{base} addresses and {adapters} adapters (of {per_adapter}); in use {shared} shared (leaving {}, cooling {}), {exclusive} exclusive (leaving {}), grown {}",
            self.leaving(Kind::Shared),
            self.cooling,
            self.leaving(Kind::Exclusive),
            self.grown,
        )
    }
}
