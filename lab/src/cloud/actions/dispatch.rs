//! Which action a call of the ECS or VPC API means.

use serde_json::Value;

use super::{address, attachment, describe, eni, inventory, subnet, tag};
use crate::cloud::clock::Millis;
use crate::cloud::error::ApiError;
use crate::cloud::faults::{FaultKind, Occasion};
use crate::cloud::token::Tokens;
use crate::cloud::vpc::Vpc;
use crate::cloud::{ApiCall, stale_age};

/// Version of the VPC API.
pub const VPC_VERSION: &str = "2016-04-28";

/// Does one call.
pub fn dispatch(
    vpc: &mut Vpc,
    tokens: &mut Tokens,
    call: &ApiCall,
    now: Millis,
) -> Result<Value, ApiError> {
    let p = &call.params;
    let action = call.action.as_str();
    let known = match call.version.as_str() {
        "2014-05-26" => is_ecs(action),
        VPC_VERSION => is_vpc(action),
        _ => return Err(ApiError::new(400, "InvalidVersion", "The version is not supported.")),
    };
    if !known {
        return Err(ApiError::not_found("InvalidAction.NotFound", "api"));
    }
    if takes_token(action)
        && let Some(earlier) = tokens.earlier(action, p, now)?
    {
        return Ok(earlier);
    }
    let age = stale_age(vpc, call, now);
    let answer = match action {
        "CreateNetworkInterface" => eni::create(vpc, p, now),
        "DeleteNetworkInterface" => eni::delete(vpc, p, now),
        "ModifyNetworkInterfaceAttribute" => eni::modify(vpc, p, now),
        "AttachNetworkInterface" => attachment::attach(vpc, p, now),
        "DetachNetworkInterface" => attachment::detach(vpc, p, now),
        "AssignPrivateIpAddresses" => address::assign_v4(vpc, p, now),
        "UnassignPrivateIpAddresses" => address::unassign_v4(vpc, p, now),
        "AssignIpv6Addresses" => address::assign_v6(vpc, p, now),
        "UnassignIpv6Addresses" => address::unassign_v6(vpc, p, now),
        "TagResources" => tag::tag(vpc, p),
        "UntagResources" => tag::untag(vpc, p),
        "DescribeNetworkInterfaces" => describe::interfaces(vpc, p, vpc.enis_before(age, now)),
        "DescribeNetworkInterfaceAttribute" => {
            describe::attribute(vpc, p, vpc.enis_before(age, now))
        }
        "DescribeInstances" => {
            let on = Occasion { action, instance: &call.caller, ..Occasion::default() };
            let hidden = vpc.faults.strike(FaultKind::HiddenInstances, on, now).is_some();
            inventory::instances(vpc, p, vpc.enis_before(age, now), hidden)
        }
        "DescribeInstanceTypes" => inventory::types(vpc, p),
        "DescribeSecurityGroups" => inventory::groups(vpc, p),
        "DescribeVSwitches" => subnet::vswitches(vpc, p, now),
        "DescribeVSwitchAttributes" => subnet::vswitch(vpc, p, now),
        "DescribeVpcs" => subnet::vpcs(vpc, p),
        _ => Err(ApiError::not_found("InvalidAction.NotFound", "api")),
    }?;
    if takes_token(action) {
        tokens.remember(action, p, &answer, now);
    }
    Ok(answer)
}

fn takes_token(action: &str) -> bool {
    ["CreateNetworkInterface", "AssignPrivateIpAddresses", "AssignIpv6Addresses"].contains(&action)
}

fn is_vpc(action: &str) -> bool {
    ["DescribeVSwitches", "DescribeVSwitchAttributes", "DescribeVpcs"].contains(&action)
}

fn is_ecs(action: &str) -> bool {
    [
        "CreateNetworkInterface",
        "AttachNetworkInterface",
        "DetachNetworkInterface",
        "DeleteNetworkInterface",
        "DescribeNetworkInterfaces",
        "DescribeNetworkInterfaceAttribute",
        "ModifyNetworkInterfaceAttribute",
        "AssignPrivateIpAddresses",
        "UnassignPrivateIpAddresses",
        "AssignIpv6Addresses",
        "UnassignIpv6Addresses",
        "DescribeInstances",
        "DescribeInstanceTypes",
        "DescribeSecurityGroups",
        "TagResources",
        "UntagResources",
    ]
    .contains(&action)
}
