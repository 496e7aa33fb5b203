//! What a call does when it takes effect.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use tideway_cloud::{CloudError, CloudOp, CreateEni, EniStatus, EniView, ErrorKind, OpAnswer};
use tideway_model::{EniId, Family, Mac};

use super::{Changing, Kept, ModelCloud, error, places};
use crate::{dice::Dice, ids};

/// Longest ordinary attach, detach or delete.
const CHANGE: u64 = 6;

type Answer = Result<OpAnswer, Box<CloudError>>;

fn refuse(action: &str, kind: ErrorKind) -> Answer {
    Err(Box::new(error(action, kind)))
}

impl ModelCloud {
    /// The call takes effect now, or is refused.
    pub fn apply(&mut self, now: Duration, op: &CloudOp, dice: &mut Dice) -> Answer {
        if self.is_beyond_batch(op) {
            return refuse(op.action(), ErrorKind::Invalid);
        }
        match op {
            CloudOp::Create(request) => self.create(now, request, dice),
            CloudOp::Attach { eni, .. } => self.attach(now, eni, dice),
            CloudOp::Detach { eni, .. } => self.detach(now, eni, dice),
            CloudOp::Delete { eni } => self.delete(now, eni, dice),
            CloudOp::Assign { eni, family, count, token } => {
                self.assign(now, eni, *family, *count, token, dice)
            }
            CloudOp::Unassign { eni, addresses } => self.unassign(now, eni, addresses),
            CloudOp::AssignPrefixes { eni, family, count, token } => {
                self.assign_prefixes(now, eni, (*family, *count), token, dice)
            }
            CloudOp::UnassignPrefixes { eni, prefixes } => {
                self.unassign_prefixes(now, eni, prefixes)
            }
            CloudOp::Describe { .. } => Ok(OpAnswer::Done),
        }
    }

    fn create(&mut self, now: Duration, r: &CreateEni, dice: &mut Dice) -> Answer {
        const ACTION: &str = "CreateNetworkInterface";
        if let Some(kept) = self.tokens.get(&r.token).filter(|k| k.until > now) {
            return match self.enis.get(&kept.eni) {
                Some(view) => Ok(OpAnswer::Created(EniView::clone(view))),
                None => refuse(ACTION, ErrorKind::Conflict),
            };
        }
        let Some(subnet) = self.subnets.get_mut(&r.subnet) else {
            return refuse(ACTION, ErrorKind::Invalid);
        };
        let v4 = 1 + r.secondary_v4;
        let beyond = v4 + r.prefixes_v4 > self.limits.ipv4_per_eni
            || r.v6 + r.prefixes_v6 > self.limits.ipv6_per_eni;
        if beyond {
            return refuse(ACTION, ErrorKind::QuotaExceeded("addresses of an ENI".to_owned()));
        }
        let lacks = subnet.left(Family::V4) < usize::from(v4)
            || subnet.left(Family::V6) < usize::from(r.v6);
        if lacks {
            return refuse(ACTION, ErrorKind::SubnetFull);
        }
        let broken = subnet.whole(Family::V4).len() < usize::from(r.prefixes_v4)
            || subnet.whole(Family::V6).len() < usize::from(r.prefixes_v6);
        if broken {
            return refuse(ACTION, ErrorKind::Fragmented);
        }
        let mut prefixes: Vec<IpNet> =
            (0..r.prefixes_v4).filter_map(|_| subnet.take_prefix(Family::V4)).collect();
        prefixes.extend((0..r.prefixes_v6).filter_map(|_| subnet.take_prefix(Family::V6)));
        let mut addresses: Vec<IpAddr> =
            (0..v4).filter_map(|_| subnet.take(Family::V4, dice)).collect();
        let primary_ip = addresses.first().copied();
        addresses.extend((0..r.v6).filter_map(|_| subnet.take(Family::V6, dice)));
        let id = self.new_eni(now, |id, mac| EniView {
            id,
            mac,
            status: EniStatus::Available,
            primary: false,
            instance: None,
            subnet: r.subnet.clone(),
            security_groups: r.security_groups.clone(),
            primary_ip,
            addresses,
            prefixes,
            tags: r.tags.clone(),
            created: None,
        });
        let kept = Kept {
            until: now + self.token_life,
            eni: id.clone(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
        };
        self.tokens.insert(r.token.clone(), kept);
        match self.enis.get(&id) {
            Some(view) => Ok(OpAnswer::Created(EniView::clone(view))),
            None => refuse(ACTION, ErrorKind::Unavailable),
        }
    }

    fn new_eni(&mut self, now: Duration, view: impl FnOnce(EniId, Mac) -> EniView) -> EniId {
        self.remember(now);
        let number = self.next;
        self.next += 1;
        let mut mac = [2; 6];
        for (byte, of_number) in mac.iter_mut().skip(2).zip(number.to_be_bytes()) {
            *byte = of_number;
        }
        let id = ids::eni(&format!("eni-{number}"));
        self.enis.insert(id.clone(), Arc::new(view(id.clone(), Mac(mac))));
        id
    }

    /// An ENI of somebody else, attached to the instance.
    pub fn foreign_eni(&mut self, now: Duration) {
        if self.adapters() >= usize::from(self.limits.enis) {
            return;
        }
        let instance = Some(self.instance.clone());
        self.new_eni(now, |id, mac| EniView {
            id,
            mac,
            status: EniStatus::InUse,
            primary: false,
            instance,
            subnet: ids::subnet(1),
            security_groups: vec![ids::security_group()],
            primary_ip: None,
            addresses: Vec::new(),
            prefixes: Vec::new(),
            tags: BTreeMap::from([("owner".to_owned(), "somebody".to_owned())]),
            created: None,
        });
    }

    fn attach(&mut self, now: Duration, eni: &EniId, dice: &mut Dice) -> Answer {
        const ACTION: &str = "AttachNetworkInterface";
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if view.status != EniStatus::Available {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        if self.adapters() >= usize::from(self.limits.enis) {
            return refuse(ACTION, ErrorKind::QuotaExceeded("ENIs of the instance".to_owned()));
        }
        let instance = Some(self.instance.clone());
        self.edit(now, eni, |v| {
            v.status = EniStatus::Attaching;
            v.instance = instance;
        });
        self.begin(now, eni, dice);
        Ok(OpAnswer::Done)
    }

    fn begin(&mut self, now: Duration, eni: &EniId, dice: &mut Dice) {
        let by = now + Duration::from_secs(dice.between(1, CHANGE));
        self.changing.insert(eni.clone(), Changing { by });
    }

    fn detach(&mut self, now: Duration, eni: &EniId, dice: &mut Dice) -> Answer {
        const ACTION: &str = "DetachNetworkInterface";
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if view.status != EniStatus::InUse {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        self.edit(now, eni, |v| v.status = EniStatus::Detaching);
        self.begin(now, eni, dice);
        Ok(OpAnswer::Done)
    }

    fn delete(&mut self, now: Duration, eni: &EniId, dice: &mut Dice) -> Answer {
        const ACTION: &str = "DeleteNetworkInterface";
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if view.status != EniStatus::Available {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        self.edit(now, eni, |v| v.status = EniStatus::Deleting);
        self.begin(now, eni, dice);
        Ok(OpAnswer::Done)
    }

    /// What a former Assign with this token gave.
    fn assigned_by(&self, now: Duration, token: &str) -> Option<&Kept> {
        self.tokens.get(token).filter(|k| self.assign_tokens && k.until > now)
    }

    fn assign(
        &mut self,
        now: Duration,
        eni: &EniId,
        family: Family,
        count: u16,
        token: &str,
        dice: &mut Dice,
    ) -> Answer {
        const ACTION: &str = "AssignPrivateIpAddresses";
        if let Some(kept) = self.assigned_by(now, token) {
            return Ok(OpAnswer::Assigned(kept.addresses.clone()));
        }
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if !matches!(view.status, EniStatus::InUse | EniStatus::Available) {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        let has = places(view, family);
        if has + usize::from(count) > usize::from(self.limits.per_eni(family)) {
            return refuse(ACTION, ErrorKind::QuotaExceeded("addresses of an ENI".to_owned()));
        }
        let subnet_id = view.subnet.clone();
        let Some(subnet) = self.subnets.get_mut(&subnet_id) else {
            return refuse(ACTION, ErrorKind::Invalid);
        };
        let left = subnet.left(family);
        let mut count = usize::from(count);
        if left < count {
            // Some clouds give what there is.
            if left == 0 || dice.percent(50) {
                return refuse(ACTION, ErrorKind::SubnetFull);
            }
            count = left;
        }
        let got: Vec<IpAddr> = (0..count).filter_map(|_| subnet.take(family, dice)).collect();
        self.edit(now, eni, |v| v.addresses.extend(&got));
        let until = now + self.token_life;
        let prefixes = Vec::new();
        let kept = Kept { until, eni: eni.clone(), addresses: got.clone(), prefixes };
        self.tokens.insert(token.to_owned(), kept);
        Ok(OpAnswer::Assigned(got))
    }

    fn unassign(&mut self, now: Duration, eni: &EniId, addresses: &[IpAddr]) -> Answer {
        const ACTION: &str = "UnassignPrivateIpAddresses";
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if !matches!(view.status, EniStatus::InUse | EniStatus::Available) {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        if addresses.iter().any(|ip| Some(*ip) == view.primary_ip) {
            return refuse(ACTION, ErrorKind::Invalid);
        }
        if addresses.iter().any(|ip| !view.addresses.contains(ip)) {
            return refuse(ACTION, ErrorKind::NotFound);
        }
        let subnet = view.subnet.clone();
        self.edit(now, eni, |v| v.addresses.retain(|ip| !addresses.contains(ip)));
        if let Some(subnet) = self.subnets.get_mut(&subnet) {
            subnet.give_back(addresses);
        }
        Ok(OpAnswer::Done)
    }

    fn assign_prefixes(
        &mut self,
        now: Duration,
        eni: &EniId,
        (family, count): (Family, u16),
        token: &str,
        dice: &mut Dice,
    ) -> Answer {
        const ACTION: &str = "AssignPrivateIpAddresses";
        if let Some(kept) = self.assigned_by(now, token) {
            return Ok(OpAnswer::AssignedPrefixes(kept.prefixes.clone()));
        }
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if !matches!(view.status, EniStatus::InUse | EniStatus::Available) {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        if places(view, family) + usize::from(count) > usize::from(self.limits.per_eni(family)) {
            return refuse(ACTION, ErrorKind::QuotaExceeded("addresses of an ENI".to_owned()));
        }
        let subnet_id = view.subnet.clone();
        let Some(subnet) = self.subnets.get_mut(&subnet_id) else {
            return refuse(ACTION, ErrorKind::Invalid);
        };
        let left = subnet.whole(family).len();
        // Some clouds give what there is.
        if left == 0 || (left < usize::from(count) && dice.percent(50)) {
            return refuse(ACTION, ErrorKind::Fragmented);
        }
        let got: Vec<IpNet> = (0..count).filter_map(|_| subnet.take_prefix(family)).collect();
        self.edit(now, eni, |v| v.prefixes.extend(&got));
        let until = now + self.token_life;
        let addresses = Vec::new();
        let kept = Kept { until, eni: eni.clone(), addresses, prefixes: got.clone() };
        self.tokens.insert(token.to_owned(), kept);
        Ok(OpAnswer::AssignedPrefixes(got))
    }

    fn unassign_prefixes(&mut self, now: Duration, eni: &EniId, prefixes: &[IpNet]) -> Answer {
        const ACTION: &str = "UnassignPrivateIpAddresses";
        let Some(view) = self.enis.get(eni) else { return refuse(ACTION, ErrorKind::NotFound) };
        if !matches!(view.status, EniStatus::InUse | EniStatus::Available) {
            return refuse(ACTION, ErrorKind::Conflict);
        }
        if prefixes.iter().any(|p| !view.prefixes.contains(p)) {
            return refuse(ACTION, ErrorKind::NotFound);
        }
        let subnet = view.subnet.clone();
        self.edit(now, eni, |v| v.prefixes.retain(|p| !prefixes.contains(p)));
        if let Some(subnet) = self.subnets.get_mut(&subnet) {
            subnet.give_back_prefixes(prefixes);
        }
        Ok(OpAnswer::Done)
    }

    /// A change in work ends. `well`: as asked; otherwise an attach falls back.
    pub fn end_change(&mut self, now: Duration, eni: &EniId, well: bool) {
        if self.changing.remove(eni).is_none() {
            return;
        }
        match self.enis.get(eni).map(|v| v.status) {
            Some(EniStatus::Attaching) if well => {
                self.edit(now, eni, |v| v.status = EniStatus::InUse);
            }
            Some(EniStatus::Attaching | EniStatus::Detaching) => self.edit(now, eni, |v| {
                v.status = EniStatus::Available;
                v.instance = None;
            }),
            Some(EniStatus::Deleting) => self.drop_eni(now, eni),
            Some(EniStatus::Available | EniStatus::InUse) | None => {}
        }
    }
}
