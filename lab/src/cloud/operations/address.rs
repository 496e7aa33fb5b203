//! Assign and Unassign of addresses and prefixes: all of a call or nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::eni::check_address_quotas;
use super::wanted::{Chosen, Wanted};
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::latency::Work;
use crate::cloud::resources::{Eni, EniState, VSwitch};
use crate::cloud::vpc::Vpc;

/// The ENI, when addresses of it may be changed now.
pub fn changeable(vpc: &Vpc, id: &str, now: Millis) -> Result<Eni, Cause> {
    let eni = vpc.eni(id)?.clone();
    match eni.state {
        EniState::Available | EniState::InUse => {}
        EniState::Attaching | EniState::Detaching | EniState::Deleting => {
            return Err(Cause::EniState { id: id.to_owned(), state: eni.state });
        }
    }
    if let Some(instance) = eni.instance.as_deref().and_then(|i| vpc.instances.get(i))
        && eni.primary
        && !instance.status.settled()
    {
        return Err(Cause::InstanceState { id: instance.id.clone(), state: instance.status });
    }
    if now < eni.busy_until {
        return Err(Cause::EniBusy(id.to_owned()));
    }
    Ok(eni)
}

/// Puts the changed ENI in place and tells the network. How long this takes; until then another change conflicts where
/// the cloud has it so.
fn changed(vpc: &mut Vpc, mut eni: Eni, now: Millis) {
    if vpc.profile.one_change_at_a_time {
        let takes = vpc.draw(Work::Assign);
        eni.busy_until = now.saturating_add(takes);
    }
    vpc.order_update(&eni);
    vpc.put(eni);
}

/// Assigns what is wanted; answers only what this call added.
pub fn assign(vpc: &mut Vpc, mut eni: Eni, wanted: &Wanted, now: Millis) -> Result<Chosen, Cause> {
    let limits = vpc.type_of(&eni);
    let limit = |published: Option<u32>, loose: u32| {
        usize::try_from(published.unwrap_or(loose)).unwrap_or(usize::MAX)
    };
    let v4 = limit(limits.map(|t| t.eni_private_ip_address_quantity), vpc.profile.loose_v4);
    let v6 = limit(limits.map(|t| t.eni_ipv6_address_quantity), vpc.profile.loose_v6);
    if wanted.slots_v4() > 0 && eni.slots_v4() + wanted.slots_v4() > v4 {
        return Err(Cause::AddressesOfEni { ipv6: false });
    }
    if wanted.slots_v6() > 0 && eni.slots_v6() + wanted.slots_v6() > v6 {
        return Err(Cause::AddressesOfEni { ipv6: true });
    }
    if wanted.slots_v4() > 0 {
        check_address_quotas(vpc, &eni.groups, wanted.slots_v4())?;
    }
    let subnet = vpc.vswitch(&eni.vswitch)?.clone();
    if vpc.subnet_is_full(&subnet, now) {
        return Err(wanted.lacking());
    }
    let moved = moved(vpc, &eni, wanted, &subnet)?;
    let mut space = subnet.space;
    for (address, _) in &moved {
        space.release(*address);
    }
    let chosen = wanted.choose(&space, false, &mut vpc.dice)?;
    for (address, other) in moved {
        let mut other = vpc.eni(&other)?.clone();
        vpc.give_back(&mut other, address, now);
        vpc.order_update(&other);
        vpc.put(other);
    }
    for address in &chosen.addresses {
        vpc.take(&mut eni, *address, now).map_err(|r| r.of(&address.to_string()))?;
    }
    for prefix in &chosen.prefixes {
        vpc.take_prefix(&mut eni, *prefix).map_err(|r| r.of(&prefix.to_string()))?;
    }
    changed(vpc, eni, now);
    Ok(chosen)
}

/// Named addresses that another ENI has and must give up, each with that ENI. A primary address stays where it is.
fn moved(
    vpc: &Vpc,
    eni: &Eni,
    wanted: &Wanted,
    subnet: &VSwitch,
) -> Result<Vec<(IpAddr, String)>, Cause> {
    if !wanted.reassign {
        return Ok(Vec::new());
    }
    let mut moved = Vec::new();
    for named in &wanted.v4 {
        let address = IpAddr::V4(*named);
        let Some(holder) = subnet.space.holder(address).filter(|holder| *holder != eni.id) else {
            continue;
        };
        if vpc.eni(holder)?.v4.first() == Some(named) {
            return Err(Cause::Taken(named.to_string()));
        }
        moved.push((address, holder.to_owned()));
    }
    Ok(moved)
}

/// Takes addresses and prefixes away.
pub fn unassign(
    vpc: &mut Vpc,
    mut eni: Eni,
    addresses: &[IpAddr],
    prefixes: &[IpNet],
    now: Millis,
) -> Result<(), Cause> {
    for address in addresses {
        if !eni.addresses().any(|a| a == *address) {
            return Err(Cause::Unassigned(address.to_string()));
        }
        if eni.v4.first().is_some_and(|primary| IpAddr::V4(*primary) == *address) {
            return Err(Cause::PrimaryAddress(address.to_string()));
        }
    }
    if let Some(prefix) = prefixes.iter().find(|p| !eni.prefixes.contains(p)) {
        return Err(Cause::Unassigned(prefix.to_string()));
    }
    for address in addresses {
        vpc.give_back(&mut eni, *address, now);
    }
    for prefix in prefixes {
        vpc.give_back_prefix(&mut eni, *prefix);
    }
    changed(vpc, eni, now);
    Ok(())
}
