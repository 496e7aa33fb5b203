//! An ENI comes, goes, and changes its groups.

use super::wanted::Wanted;
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::latency::Work;
use crate::cloud::resources::{Eni, EniState, VSwitch};
use crate::cloud::vpc::{Effect, Vpc};

/// A new ENI with its addresses, not yet in the VPC: the action gives it its words and puts it in place.
pub fn create(
    vpc: &mut Vpc,
    subnet: &VSwitch,
    groups: Vec<String>,
    wanted: &Wanted,
    now: Millis,
) -> Result<Eni, Cause> {
    let secondary = vpc.enis().values().filter(|e| !e.primary).count();
    if secondary >= usize::try_from(vpc.config.quotas.enis).unwrap_or(usize::MAX) {
        return Err(Cause::EnisOfAccount);
    }
    check_address_quotas(vpc, &groups, wanted.slots_v4() + 1)?;
    if vpc.subnet_is_full(subnet, now) {
        return Err(wanted.lacking());
    }
    let chosen = wanted.choose(&subnet.space, true, &mut vpc.dice)?;
    let mut eni = vpc.blank_eni(&subnet.id, groups, now);
    for address in chosen.addresses {
        vpc.take(&mut eni, address, now).map_err(|r| r.of(&address.to_string()))?;
    }
    for prefix in chosen.prefixes {
        vpc.take_prefix(&mut eni, prefix).map_err(|r| r.of(&prefix.to_string()))?;
    }
    Ok(eni)
}

/// Begins to delete an ENI; once more changes nothing.
pub fn delete(vpc: &mut Vpc, id: &str, now: Millis) -> Result<(), Cause> {
    let mut eni = vpc.eni(id)?.clone();
    if eni.state == EniState::Deleting {
        return Ok(());
    }
    if eni.state != EniState::Available || eni.primary {
        return Err(Cause::EniState { id: id.to_owned(), state: eni.state });
    }
    let takes = vpc.draw(Work::Delete);
    eni.state = EniState::Deleting;
    eni.due = Some(now.saturating_add(takes));
    vpc.put(eni);
    vpc.tick(now);
    Ok(())
}

/// Gives an ENI other groups.
pub fn join(vpc: &Vpc, eni: &mut Eni, groups: Vec<String>) -> Result<(), Cause> {
    let joined: Vec<String> = groups.iter().filter(|g| !eni.groups.contains(g)).cloned().collect();
    check_groups(vpc, &joined, eni.v4.len())?;
    eni.groups = groups;
    Ok(())
}

/// Puts a modified ENI in place and tells the network.
pub fn modified(vpc: &mut Vpc, eni: Eni) {
    let attached = eni.instance.is_some();
    vpc.put(eni);
    if attached {
        vpc.order(Effect::Groups);
    }
}

/// Refuses when the VPC or a group would hold more addresses than the account may.
pub fn check_address_quotas(vpc: &Vpc, groups: &[String], more: usize) -> Result<(), Cause> {
    if !vpc.profile.address_quotas {
        return Ok(());
    }
    let limit = usize::try_from(vpc.config.quotas.addresses_per_vpc).unwrap_or(usize::MAX);
    let used: usize = vpc.enis().values().map(|e| e.v4.len()).sum();
    if used + more > limit {
        return Err(Cause::AddressesOfVpc);
    }
    check_groups(vpc, groups, more)
}

fn check_groups(vpc: &Vpc, groups: &[String], more: usize) -> Result<(), Cause> {
    if !vpc.profile.address_quotas {
        return Ok(());
    }
    let limit = usize::try_from(vpc.config.quotas.addresses_per_group).unwrap_or(usize::MAX);
    for group in groups {
        let members = vpc.enis().values().filter(|e| e.groups.contains(group)).map(|e| e.v4.len());
        if members.sum::<usize>() + more > limit {
            return Err(Cause::AddressesOfGroup(group.clone()));
        }
    }
    Ok(())
}
