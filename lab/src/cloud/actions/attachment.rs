//! Attach and Detach: answered at once, finished later.

use serde_json::{Value, json};

use super::check_region;
use crate::cloud::clock::Millis;
use crate::cloud::error::ApiError;
use crate::cloud::latency::Work;
use crate::cloud::params::Params;
use crate::cloud::resources::{Eni, EniState, Instance};
use crate::cloud::vpc::Vpc;

fn no_trunk(params: &Params) -> Result<(), ApiError> {
    if params.get("TrunkNetworkInstanceId").is_some() {
        return Err(ApiError::invalid(
            "TrunkNetworkInstanceId",
            "this lab has no trunk interfaces",
        ));
    }
    Ok(())
}

fn check_instance(instance: &Instance) -> Result<(), ApiError> {
    if instance.status.settled() {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "IncorrectInstanceStatus",
        format!("The instance {} is {}.", instance.id, instance.status.word()),
    ))
}

/// `AttachNetworkInterface`.
pub fn attach(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    no_trunk(params)?;
    let instance = vpc.instance(params.need("InstanceId")?)?.clone();
    let id = params.need("NetworkInterfaceId")?;
    let mut eni = vpc.eni(id)?.clone();
    check_instance(&instance)?;
    if eni.state != EniState::Available {
        return Err(ApiError::eni_state(id, eni.state.word()));
    }
    if vpc.vswitch(&eni.vswitch)?.zone != instance.zone {
        return Err(ApiError::forbidden(
            "InvalidOperation.AvailabilityZoneMismatch",
            "The network interface and the instance are in different zones.",
        ));
    }
    let Some(limits) = vpc.catalog.get(&instance.instance_type).cloned() else {
        return Err(ApiError::invalid("InstanceId", "its type is not known"));
    };
    if params.int("NetworkCardIndex")?.is_some_and(|n| n >= limits.network_card_quantity) {
        return Err(ApiError::invalid("NetworkCardIndex", "the instance type has no such card"));
    }
    let there =
        vpc.enis().values().filter(|e| e.instance.as_deref() == Some(instance.id.as_str())).count();
    if there >= usize::try_from(limits.eni_quantity).unwrap_or(usize::MAX) {
        return Err(ApiError::forbidden(
            "EniPerInstanceLimitExceeded",
            "The instance type's limit of network interfaces is reached.",
        ));
    }
    check_slots(&eni, limits.eni_private_ip_address_quantity, limits.eni_ipv6_address_quantity)?;
    let takes = vpc.draw(Work::Attach);
    eni.state = EniState::Attaching;
    eni.instance = Some(instance.id);
    eni.due = Some(now.saturating_add(takes));
    vpc.put(eni);
    vpc.tick(now);
    Ok(json!({}))
}

fn check_slots(eni: &Eni, v4: u32, v6: u32) -> Result<(), ApiError> {
    let over = |used: usize, limit: u32| used > usize::try_from(limit).unwrap_or(usize::MAX);
    if over(eni.slots_v4(), v4) {
        return Err(super::address::too_many("Ipv4"));
    }
    if over(eni.slots_v6(), v6) {
        return Err(super::address::too_many("Ipv6"));
    }
    Ok(())
}

/// `DetachNetworkInterface`. A repeat while Detaching is allowed and changes nothing.
pub fn detach(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, ApiError> {
    check_region(vpc, params, true)?;
    no_trunk(params)?;
    let instance = vpc.instance(params.need("InstanceId")?)?.clone();
    let id = params.need("NetworkInterfaceId")?;
    let mut eni = vpc.eni(id)?.clone();
    if eni.primary {
        return Err(ApiError::forbidden(
            "InvalidOperation.InvalidEniType",
            "A primary network interface cannot be detached.",
        ));
    }
    check_instance(&instance)?;
    match eni.state {
        EniState::InUse | EniState::Detaching => {}
        EniState::Available | EniState::Attaching | EniState::Deleting => {
            return Err(ApiError::eni_state(id, eni.state.word()));
        }
    }
    if eni.instance.as_deref() != Some(instance.id.as_str()) {
        return Err(ApiError::forbidden(
            "InvalidOperation.InvalidEniState",
            format!("The network interface {id} is attached to another instance."),
        ));
    }
    if eni.state == EniState::InUse {
        let takes = vpc.draw(Work::Detach);
        eni.state = EniState::Detaching;
        eni.due = Some(now.saturating_add(takes));
        vpc.put(eni);
        vpc.tick(now);
    }
    Ok(json!({}))
}
