//! What kind of node and how hostile a world a run has. Everything follows from the run's seed.

use std::{collections::BTreeMap, time::Duration};

use tideway_ipam::{NodeFacts, Settings};
use tideway_model::{
    Families, Limits, SubnetPlan,
    names::{TAG_CLUSTER, TAG_NODE},
};

use crate::{dice::Dice, identities::UNBOUNDED, ids};

/// Which kinds of trouble a run may meet. Crashes and the ordinary faults of cloud and runtime are in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, not states of one machine"
)]
pub struct Troubles {
    /// The daemon dies at any boundary.
    pub crashes: bool,
    /// Calls are refused, lost, late, done twice, done in part.
    pub calls: bool,
    /// Somebody else assigns, unassigns, detaches, deletes and attaches.
    pub strangers: bool,
    /// The cloud says yes and does nothing.
    pub empty_promises: bool,
    /// The journal is set back, or is another instance's.
    pub disk: bool,
    /// Commits fail for a while.
    pub storage: bool,
    /// The wall clock jumps.
    pub clocks: bool,
    /// The node reboots, also as another instance type.
    pub reboots: bool,
    /// The runtime's lists are partial or stale, `DEL`s are lost, late, doubled, too early.
    pub runtime: bool,
}

impl Troubles {
    /// Only the daemon dies.
    pub const CRASHES: Self = Self {
        crashes: true,
        calls: false,
        strangers: false,
        empty_promises: false,
        disk: false,
        storage: false,
        clocks: false,
        reboots: false,
        runtime: false,
    };
}

/// A run's node and world.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The operator's settings.
    pub settings: Settings,
    /// The node's facts; limits may change with a reboot.
    pub facts: NodeFacts,
    /// Addresses of each subnet that anybody may have.
    pub subnet_sizes: Vec<u32>,
    /// Longest late effect of a call that the client gave up.
    pub late: Duration,
    /// Oldest picture that a read may show.
    pub stale: Duration,
    /// Calls of one action that the account may make in a second, and at once.
    pub rate: (f64, f64),
    /// Whether Assign has client tokens; a cloud without them does what it is told twice.
    pub assign_tokens: bool,
    /// Longest wait of an ADD.
    pub add_timeout: Duration,
    /// Pods that the kubelet runs at most.
    pub max_pods: usize,
    /// Names of pods below this number are identities, every second one strict.
    pub identities: u32,
    /// Troubles.
    pub troubles: Troubles,
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn small(n: u64) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// The subnet with this number.
pub fn subnet(n: u8) -> SubnetPlan {
    let v4 = |last: u8| std::net::Ipv4Addr::new(10, n, last, 253);
    let v6 = |last: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, n.into(), 0, 0, 0, 0, last);
    SubnetPlan {
        id: ids::subnet(n),
        ipv4: ids::block(v4(0).into(), 16),
        ipv6: ids::block(v6(0).into(), 64),
        gateway_v4: Some(v4(255).into()),
        gateway_v6: Some(v6(1).into()),
    }
}

impl Profile {
    /// The profile of a run.
    pub fn of(seed: u64) -> Self {
        let mut d = Dice::new(seed ^ 0x7077_6f72_6c64);
        let families = match d.below(4) {
            0 => Families::Dual,
            1 => Families::V6,
            _ => Families::V4,
        };
        let enis = small(d.between(2, 5));
        let per_eni = small(d.between(2, 8));
        let low = small(d.between(0, 3));
        let subnets = small(d.between(1, 2));
        let stale = secs(d.between(0, 40));
        let late = secs(60).saturating_sub(stale);
        // Dual stack and IPv6 nodes need an IPv4 primary address for every ENI all the same.
        let min_shared = small(d.between(u64::from(enis == 2), 1));
        let mut settings = Settings {
            low,
            high: low + small(d.between(1, 5)),
            cooldown: secs(30),
            settle: secs(30),
            late_effect: secs(60),
            min_shared,
            max_shared: d.percent(20).then(|| small(d.between(1, 2))),
            use_primary_address: d.percent(60),
            create_secondary_max: if d.percent(30) { 2 } else { 49 },
            assign_batch: if d.percent(30) { 2 } else { 49 },
            lease_ttl: secs(86_400),
            lease_max: Some(UNBOUNDED),
            prefixes: false,
        };
        let big = d.percent(70);
        let sizes = (0..subnets).map(|_| u32::try_from(d.between(6, 24)).unwrap_or(6));
        let subnet_sizes = sizes.map(|n| if big { n + 60 } else { n }).collect();
        let nasty = |d: &mut Dice, percent| d.percent(percent);
        let mut troubles = Troubles {
            crashes: nasty(&mut d, 95),
            calls: nasty(&mut d, 85),
            strangers: nasty(&mut d, 30),
            empty_promises: nasty(&mut d, 20),
            disk: nasty(&mut d, 15),
            storage: false,
            clocks: nasty(&mut d, 30),
            reboots: nasty(&mut d, 40),
            runtime: nasty(&mut d, 85),
        };
        let rate = if d.percent(25) { (0.3, 3.0) } else { (5.0, 20.0) };
        let max_pods = usize::from(small(d.between(2, 14)));
        let identities = u32::from(small(d.between(0, 6)));
        settings.lease_ttl = if d.percent(40) { secs(d.between(20, 400)) } else { secs(86_400) };
        if d.percent(25) {
            settings.lease_max = d.percent(50).then(|| small(d.between(0, 4)));
        }
        settings.prefixes = d.percent(30);
        troubles.storage = d.percent(40);
        let assign_tokens = d.percent(50);
        Self {
            settings,
            facts: facts(enis, per_eni, families, subnets),
            subnet_sizes,
            late,
            stale,
            rate,
            assign_tokens,
            add_timeout: secs(60),
            max_pods,
            identities,
            troubles,
        }
    }
}

impl Profile {
    /// The same node, hungry for nothing: what is idle goes back at once, so that Unassign and Detach are frequent.
    #[must_use]
    pub fn giving_back(mut self) -> Self {
        self.settings.low = 0;
        self.settings.high = 1;
        self.settings.use_primary_address = false;
        self.settings.max_shared = None;
        self.subnet_sizes = self.subnet_sizes.iter().map(|n| n + 60).collect();
        self.facts.limits.enis = self.facts.limits.enis.max(3);
        self.rate = (5.0, 20.0);
        self.troubles =
            Troubles { calls: true, runtime: self.troubles.runtime, ..Troubles::CRASHES };
        self
    }
}

/// Facts of a node with so many ENIs of so many addresses.
pub fn facts(enis: u16, per_eni: u16, families: Families, subnets: u16) -> NodeFacts {
    let tags = [(TAG_CLUSTER, "sim"), (TAG_NODE, ids::INSTANCE)];
    NodeFacts {
        instance: ids::instance(),
        limits: Limits {
            enis,
            ipv4_per_eni: per_eni,
            ipv6_per_eni: per_eni,
            trunk: false,
            members: 0,
        },
        families,
        subnets: (1..=subnets).map(|n| subnet(u8::try_from(n).unwrap_or(1))).collect(),
        former_subnets: Vec::new(),
        security_groups: vec![ids::security_group()],
        tags: BTreeMap::from(tags.map(|(k, v)| (k.to_owned(), v.to_owned()))),
        primary_eni: ids::eni("eni-primary"),
        mtu: 1500,
    }
}
