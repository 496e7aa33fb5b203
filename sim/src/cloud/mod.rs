//! The model cloud: ENIs with asynchronous states, subnets that others use too, tokens that expire, pictures of the past.
//!
//! Whatever happens to a call on its way is the world's business ([`crate::world`]): here a call either takes effect or is
//! refused. Pictures of former states are kept, so that a read can be as old as the world says.

mod change;
mod subnet;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use tideway_cloud::{CloudError, CloudOp, EniStatus, EniView, ErrorKind};
use tideway_model::{EniId, Family, InstanceId, Limits, SubnetId};

pub use self::subnet::{Subnet, hosts};
use crate::{ids, profile::Profile};

/// An attach, detach or delete that the cloud works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Changing {
    /// Ends at the latest then.
    pub by: Duration,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kept {
    until: Duration,
    eni: EniId,
    addresses: Vec<IpAddr>,
    prefixes: Vec<IpNet>,
}

/// Most IPv6 addresses, and most prefixes, in one call.
const FEW: usize = 10;

/// Places of the limit that an ENI takes: single addresses and prefixes.
pub fn places(view: &EniView, family: Family) -> usize {
    let prefixes = view.prefixes.iter().filter(|p| Family::of(p.addr()) == family);
    view.of_family(family).count() + prefixes.count()
}

/// All addresses of an ENI.
pub fn all_of(view: &EniView) -> Vec<IpAddr> {
    view.addresses.iter().copied().chain(view.prefixes.iter().flat_map(hosts)).collect()
}

/// The whole account, as far as this node can see it.
#[derive(Debug, Clone)]
pub struct ModelCloud {
    /// Truth.
    pub enis: BTreeMap<EniId, Arc<EniView>>,
    /// Limits of the instance's type.
    pub limits: Limits,
    /// Changes in work.
    pub changing: BTreeMap<EniId, Changing>,
    /// Subnets.
    pub subnets: BTreeMap<SubnetId, Subnet>,
    /// Most secondary IPv4 addresses in one Create, and addresses in one Assign or Unassign.
    batches: (u16, u16),
    /// How long tokens live.
    pub token_life: Duration,
    /// Whether Assign has them.
    assign_tokens: bool,
    instance: InstanceId,
    tokens: BTreeMap<String, Kept>,
    /// Former states with the moment they ended, oldest first.
    past: VecDeque<(Duration, Vec<Arc<EniView>>)>,
    keep: Duration,
    next: u32,
}

/// An error of a call.
pub fn error(action: &str, kind: ErrorKind) -> CloudError {
    let code = match &kind {
        ErrorKind::Throttled { .. } => "Throttling",
        ErrorKind::SubnetFull => "SubnetFull",
        ErrorKind::Fragmented => "Fragmented",
        ErrorKind::QuotaExceeded(_) => "LimitExceeded",
        ErrorKind::Denied(_) => "Forbidden",
        ErrorKind::Credentials => "Credentials",
        ErrorKind::NotFound => "NotFound",
        ErrorKind::Conflict => "IncorrectStatus",
        ErrorKind::Unavailable => "InternalError",
        ErrorKind::Unknown => "Timeout",
        ErrorKind::Invalid => "Invalid",
    };
    let (action, code) = (action.to_owned(), code.to_owned());
    CloudError { action, kind, code, message: "as the model says".to_owned(), request_id: None }
}

impl ModelCloud {
    /// A cloud with the instance and its primary ENI.
    pub fn new(profile: &Profile) -> Self {
        let mut cloud = Self {
            enis: BTreeMap::new(),
            limits: profile.facts.limits,
            changing: BTreeMap::new(),
            subnets: BTreeMap::new(),
            batches: (profile.settings.create_secondary_max, profile.settings.assign_batch),
            token_life: Duration::from_mins(10),
            assign_tokens: profile.assign_tokens,
            instance: profile.facts.instance.clone(),
            tokens: BTreeMap::new(),
            past: VecDeque::new(),
            keep: profile.stale,
            next: 1,
        };
        for (plan, size) in profile.facts.subnets.iter().zip(&profile.subnet_sizes) {
            cloud.subnets.insert(plan.id.clone(), Subnet::new(plan, *size));
        }
        let view = EniView {
            id: profile.facts.primary_eni.clone(),
            mac: tideway_model::Mac([2, 0, 0, 0, 0, 0]),
            status: EniStatus::InUse,
            primary: true,
            instance: Some(cloud.instance.clone()),
            subnet: ids::subnet(1),
            security_groups: vec![ids::security_group()],
            primary_ip: Some(IpAddr::from([10, 1, 200, 1])),
            addresses: vec![IpAddr::from([10, 1, 200, 1])],
            prefixes: Vec::new(),
            tags: BTreeMap::new(),
            created: None,
        };
        cloud.enis.insert(view.id.clone(), Arc::new(view));
        cloud
    }

    /// ENIs that take part of the instance's limit: attached, and on their way there or away.
    pub fn adapters(&self) -> usize {
        self.enis.values().filter(|v| v.instance.is_some()).count()
    }

    /// Whether an ENI is attached to the instance.
    pub fn is_attached(&self, eni: &EniId) -> bool {
        self.enis.get(eni).is_some_and(|v| v.status == EniStatus::InUse)
    }

    /// Whether a call names more than one call may.
    pub fn is_beyond_batch(&self, op: &CloudOp) -> bool {
        let (create, assign) = self.batches;
        let most = |f: Family| match f {
            Family::V4 => usize::from(assign),
            Family::V6 => usize::from(assign).min(FEW),
        };
        match op {
            CloudOp::Create(r) => {
                r.secondary_v4 > create
                    || [r.v6, r.prefixes_v4, r.prefixes_v6].iter().any(|n| usize::from(*n) > FEW)
            }
            CloudOp::Assign { family, count, .. } => usize::from(*count) > most(*family),
            CloudOp::Unassign { addresses, .. } => Family::BOTH
                .iter()
                .any(|f| addresses.iter().filter(|ip| Family::of(**ip) == *f).count() > most(*f)),
            CloudOp::AssignPrefixes { count, .. } => usize::from(*count) > FEW,
            CloudOp::UnassignPrefixes { prefixes, .. } => prefixes.len() > FEW,
            CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Describe { .. } => false,
        }
    }

    /// Keeps a picture of what is true until now. Called before every change.
    pub(crate) fn remember(&mut self, now: Duration) {
        if self.keep.is_zero() {
            return;
        }
        while self.past.front().is_some_and(|(end, _)| *end + self.keep < now) {
            self.past.pop_front();
        }
        self.past.push_back((now, self.enis.values().map(Arc::clone).collect()));
    }

    /// What a read shows that sees the state of `moment`.
    pub fn picture(&self, moment: Duration) -> Vec<Arc<EniView>> {
        match self.past.iter().find(|(end, _)| *end > moment) {
            Some((_, views)) => views.clone(),
            None => self.enis.values().map(Arc::clone).collect(),
        }
    }

    /// The state of one ENI at a moment.
    pub fn status_at(&self, eni: &EniId, moment: Duration) -> Option<EniStatus> {
        let found =
            |views: &Vec<Arc<EniView>>| views.iter().find(|v| v.id == *eni).map(|v| v.status);
        match self.past.iter().find(|(end, _)| *end > moment) {
            Some((_, views)) => found(views),
            None => self.enis.get(eni).map(|v| v.status),
        }
    }

    /// Changes one ENI.
    pub(crate) fn edit(&mut self, now: Duration, id: &EniId, change: impl FnOnce(&mut EniView)) {
        self.remember(now);
        if let Some(view) = self.enis.get_mut(id) {
            change(Arc::make_mut(view));
        }
    }

    pub(crate) fn drop_eni(&mut self, now: Duration, id: &EniId) {
        self.remember(now);
        self.changing.remove(id);
        let Some(view) = self.enis.remove(id) else { return };
        if let Some(subnet) = self.subnets.get_mut(&view.subnet) {
            subnet.give_back(&view.addresses);
            subnet.give_back_prefixes(&view.prefixes);
        }
    }
}
