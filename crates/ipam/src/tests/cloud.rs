//! A model cloud: ENIs, limits, tokens, faults.
#![expect(clippy::result_large_err, reason = "the shell's own type of answer")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use tideway_cloud::{CloudError, CloudOp, EniStatus, EniView, ErrorKind, OpAnswer};
use tideway_model::{EniId, Family, InstanceId, Limits, Mac};

/// What happens to the next call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Done and answered.
    Good,
    /// Refused, nothing done.
    Refused(ErrorKind),
    /// Done, the answer is lost.
    LostAnswer,
    /// Not done, the answer is lost.
    LostCall,
    /// The answer is lost; done later.
    Late,
}

#[derive(Debug, Clone)]
pub(super) struct FakeCloud {
    pub(super) enis: BTreeMap<EniId, EniView>,
    pub(super) limits: Limits,
    pub(super) calls: Vec<CloudOp>,
    tokens: BTreeMap<String, OpAnswer>,
    next: u16,
    /// Subnets have single addresses and no whole prefix.
    pub(super) fragmented: bool,
    /// Subnets have single addresses, and no room for an ENI with more than these.
    pub(super) cramped: Option<u16>,
    /// Subnets give no more than this number of addresses at once of a family.
    pub(super) scarce: BTreeMap<Family, u16>,
    /// What was shown in the past: stale reads take from here.
    pub(super) history: Vec<(Duration, Vec<EniView>)>,
    /// Addresses by their last moment on an ENI of ours.
    pub(super) given: BTreeSet<IpAddr>,
}

pub(super) fn error(op: &CloudOp, kind: ErrorKind) -> CloudError {
    CloudError {
        action: format!("{op:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
        code: format!("{kind:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
        kind,
        message: "as told".into(),
        request_id: None,
    }
}

/// Places of the limit that are taken.
fn places(view: &EniView, family: Family) -> usize {
    let prefixes = view.prefixes.iter().filter(|p| Family::of(p.addr()) == family);
    view.of_family(family).count() + prefixes.count()
}

impl FakeCloud {
    pub(super) fn new(limits: Limits, instance: InstanceId, primary: EniId) -> Self {
        let view = EniView {
            id: primary.clone(),
            mac: Mac([2, 0, 0, 0, 0, 0]),
            status: EniStatus::InUse,
            primary: true,
            instance: Some(instance),
            subnet: "vsw-1".try_into().unwrap(),
            security_groups: vec!["sg-1".try_into().unwrap()],
            primary_ip: Some("10.0.0.2".parse().unwrap()),
            addresses: vec!["10.0.0.2".parse().unwrap()],
            prefixes: Vec::new(),
            tags: BTreeMap::new(),
            created: None,
        };
        Self {
            enis: BTreeMap::from([(primary, view)]),
            limits,
            calls: Vec::new(),
            tokens: BTreeMap::new(),
            next: 1,
            fragmented: false,
            cramped: None,
            scarce: BTreeMap::new(),
            history: Vec::new(),
            given: BTreeSet::new(),
        }
    }

    pub(super) fn fresh(&mut self, family: Family) -> IpAddr {
        self.next += 1;
        let [a, b] = self.next.to_be_bytes();
        let ip = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 1, a, b)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.next)),
        };
        self.given.insert(ip);
        ip
    }

    fn fresh_prefixes(&mut self, family: Family, count: u16) -> Vec<IpNet> {
        let mut fresh = || {
            self.next += 1;
            let text = match family {
                Family::V4 => format!("10.2.{}.{}/28", self.next / 16, self.next % 16 * 16),
                Family::V6 => format!("2001:db8:0:0:{:x}::/80", self.next),
            };
            text.parse().unwrap()
        };
        (0..count).map(|_| fresh()).collect()
    }

    /// What a look shows: ENIs of the instance, and those with our tags.
    pub(super) fn views(&self) -> Vec<EniView> {
        let shown = |v: &&EniView| v.instance.is_some() || !v.tags.is_empty();
        self.enis.values().filter(shown).cloned().collect()
    }

    pub(super) fn attached(&self) -> usize {
        self.enis.values().filter(|v| v.instance.is_some()).count()
    }

    /// Does it.
    pub(super) fn apply(&mut self, op: &CloudOp) -> Result<OpAnswer, CloudError> {
        self.calls.push(op.clone());
        let fail = |kind| Err(error(op, kind));
        match op {
            CloudOp::Create(c) => {
                if let Some(known) = self.tokens.get(&c.token) {
                    return Ok(known.clone());
                }
                if self.cramped.is_some_and(|most| 1 + c.secondary_v4 > most) {
                    return fail(ErrorKind::SubnetFull);
                }
                if self.fragmented && c.prefixes_v4 + c.prefixes_v6 > 0 {
                    return fail(ErrorKind::Fragmented);
                }
                let n = self.next;
                let id = EniId::try_from(format!("eni-{n}")).unwrap();
                let primary = self.fresh(Family::V4);
                let mut addresses = vec![primary];
                for _ in 0..c.secondary_v4 {
                    addresses.push(self.fresh(Family::V4));
                }
                for _ in 0..c.v6 {
                    addresses.push(self.fresh(Family::V6));
                }
                let mut prefixes = self.fresh_prefixes(Family::V4, c.prefixes_v4);
                prefixes.extend(self.fresh_prefixes(Family::V6, c.prefixes_v6));
                let [a, b] = n.to_be_bytes();
                let view = EniView {
                    id: id.clone(),
                    mac: Mac([2, 1, 0, 0, a, b]),
                    status: EniStatus::Available,
                    primary: false,
                    instance: None,
                    subnet: c.subnet.clone(),
                    security_groups: c.security_groups.clone(),
                    primary_ip: Some(primary),
                    addresses,
                    prefixes,
                    tags: c.tags.clone(),
                    created: None,
                };
                self.enis.insert(id, view.clone());
                self.tokens.insert(c.token.clone(), OpAnswer::Created(view.clone()));
                Ok(OpAnswer::Created(view))
            }
            CloudOp::Attach { eni, instance } => {
                let full = self.attached() >= usize::from(self.limits.enis);
                let Some(v) = self.enis.get_mut(eni) else { return fail(ErrorKind::NotFound) };
                if v.status != EniStatus::Available {
                    return fail(ErrorKind::Conflict);
                }
                if full {
                    return fail(ErrorKind::QuotaExceeded("EniPerInstance".into()));
                }
                v.status = EniStatus::InUse;
                v.instance = Some(instance.clone());
                Ok(OpAnswer::Done)
            }
            CloudOp::Detach { eni, .. } => {
                let Some(v) = self.enis.get_mut(eni) else { return fail(ErrorKind::NotFound) };
                if v.status != EniStatus::InUse {
                    return fail(ErrorKind::Conflict);
                }
                v.status = EniStatus::Available;
                v.instance = None;
                Ok(OpAnswer::Done)
            }
            CloudOp::Delete { eni } => match self.enis.get(eni).map(|v| v.status) {
                None => fail(ErrorKind::NotFound),
                Some(EniStatus::Available) => {
                    self.enis.remove(eni);
                    Ok(OpAnswer::Done)
                }
                Some(_) => fail(ErrorKind::Conflict),
            },
            CloudOp::Assign { eni, family, count, token } => {
                if let Some(known) = self.tokens.get(token) {
                    return Ok(known.clone());
                }
                let most = usize::from(self.limits.per_eni(*family));
                let Some(v) = self.enis.get(eni) else { return fail(ErrorKind::NotFound) };
                if places(v, *family) + usize::from(*count) > most {
                    return fail(ErrorKind::QuotaExceeded("PrivateIp".into()));
                }
                if self.scarce.get(family).is_some_and(|most| count > most) {
                    return fail(ErrorKind::SubnetFull);
                }
                let new: Vec<IpAddr> = (0..*count).map(|_| self.fresh(*family)).collect();
                self.enis.get_mut(eni).unwrap().addresses.extend(&new);
                self.tokens.insert(token.clone(), OpAnswer::Assigned(new.clone()));
                Ok(OpAnswer::Assigned(new))
            }
            CloudOp::Unassign { eni, addresses } => {
                let Some(v) = self.enis.get_mut(eni) else { return fail(ErrorKind::NotFound) };
                v.addresses.retain(|ip| !addresses.contains(ip));
                Ok(OpAnswer::Done)
            }
            CloudOp::AssignPrefixes { eni, family, count, token } => {
                if let Some(known) = self.tokens.get(token) {
                    return Ok(known.clone());
                }
                let most = usize::from(self.limits.per_eni(*family));
                let Some(v) = self.enis.get(eni) else { return fail(ErrorKind::NotFound) };
                if places(v, *family) + usize::from(*count) > most {
                    return fail(ErrorKind::QuotaExceeded("Prefix".into()));
                }
                if self.fragmented {
                    return fail(ErrorKind::Fragmented);
                }
                let new = self.fresh_prefixes(*family, *count);
                self.enis.get_mut(eni).unwrap().prefixes.extend(&new);
                let answer = OpAnswer::AssignedPrefixes(new);
                self.tokens.insert(token.clone(), answer.clone());
                Ok(answer)
            }
            CloudOp::UnassignPrefixes { eni, prefixes } => {
                let Some(v) = self.enis.get_mut(eni) else { return fail(ErrorKind::NotFound) };
                if prefixes.iter().any(|p| !v.prefixes.contains(p)) {
                    return fail(ErrorKind::NotFound);
                }
                v.prefixes.retain(|p| !prefixes.contains(p));
                Ok(OpAnswer::Done)
            }
            CloudOp::Describe { .. } => Ok(OpAnswer::Enis(self.views())),
        }
    }
}
