//! The actions of the EC2 query API, version 2016-11-15, one file per group. Each reads its parameters, calls an operation
//! and shapes the answer: names as in the XML, lists as JSON arrays (the wire makes `<item>`s of them).
//!
//! Parameters that no action here reads are ignored.

pub mod address;
pub mod attachment;
pub mod codes;
pub mod eni;
pub mod filter;
pub mod instances;
pub mod interfaces;
pub mod network;
pub mod paging;
pub mod shape;
pub mod tag;

use serde_json::Value;

use super::clock::Millis;
use super::error::ApiError;
use super::faults::{FaultKind, Occasion};
use super::token::Tokens;
use super::vpc::Vpc;
use super::{ApiCall, stale_age};
use codes::Failure;

/// The version of the API.
const VERSION: &str = "2016-11-15";

/// The only action that is repeated safely by its `ClientToken`.
const IDEMPOTENT: &str = "CreateNetworkInterface";

/// Does one call.
pub fn dispatch(
    vpc: &mut Vpc,
    tokens: &mut Tokens,
    call: &ApiCall,
    now: Millis,
) -> Result<Value, ApiError> {
    answer(vpc, tokens, call, now).map_err(|failure| failure.0)
}

fn answer(
    vpc: &mut Vpc,
    tokens: &mut Tokens,
    call: &ApiCall,
    now: Millis,
) -> Result<Value, Failure> {
    let p = &call.params;
    let action = call.action.as_str();
    if call.version != VERSION {
        let version = &call.version;
        return Err(Failure::new(
            400,
            "NoSuchVersion",
            format!("The requested version ({version}) of service AmazonEC2 does not exist"),
        ));
    }
    if p.flag("DryRun")? == Some(true) {
        return Err(Failure::new(
            412,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        ));
    }
    if action == IDEMPOTENT
        && let Some(earlier) = tokens.earlier(action, p, now)?
    {
        return Ok(earlier);
    }
    let age = stale_age(vpc, call, now);
    let answer = match action {
        "CreateNetworkInterface" => eni::create(vpc, p, now),
        "DeleteNetworkInterface" => eni::delete(vpc, p, now),
        "ModifyNetworkInterfaceAttribute" => eni::modify(vpc, p),
        "AttachNetworkInterface" => attachment::attach(vpc, p, now),
        "DetachNetworkInterface" => attachment::detach(vpc, p, now),
        "AssignPrivateIpAddresses" => address::assign_v4(vpc, p, now),
        "UnassignPrivateIpAddresses" => address::unassign_v4(vpc, p, now),
        "AssignIpv6Addresses" => address::assign_v6(vpc, p, now),
        "UnassignIpv6Addresses" => address::unassign_v6(vpc, p, now),
        "CreateTags" => tag::create(vpc, p),
        "DeleteTags" => tag::delete(vpc, p),
        "DescribeNetworkInterfaces" => interfaces::list(vpc, p, vpc.enis_before(age, now)),
        "DescribeNetworkInterfaceAttribute" => {
            interfaces::attribute(vpc, p, vpc.enis_before(age, now))
        }
        "DescribeInstances" => {
            let on = Occasion { action, instance: &call.caller, ..Occasion::default() };
            let hidden = vpc.faults.strike(FaultKind::HiddenInstances, on, now).is_some();
            instances::list(vpc, p, vpc.enis_before(age, now), hidden)
        }
        "TerminateInstances" => instances::terminate(vpc, p, now),
        "DescribeInstanceTypes" => instances::types(vpc, p),
        "DescribeSubnets" => network::subnets(vpc, p, now),
        "DescribeSecurityGroups" => network::groups(vpc, p),
        "DescribeVpcs" => network::vpcs(vpc, p),
        _ => Err(Failure::new(
            400,
            "InvalidAction",
            format!("The action {action} is not valid for this web service."),
        )),
    }?;
    if action == IDEMPOTENT {
        tokens.remember(action, p, &answer, now);
    }
    Ok(answer)
}
