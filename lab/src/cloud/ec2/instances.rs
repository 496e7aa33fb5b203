//! Describe of instances and instance types.

use serde_json::{Value, json};

use super::codes::Failure;
use super::filter::{Filters, of_tags};
use super::paging::{numbered, page};
use super::shape;
use crate::cloud::catalog::InstanceType;
use crate::cloud::cause::Cause;
use crate::cloud::clock::{Millis, iso8601};
use crate::cloud::params::Params;
use crate::cloud::resources::{Instance, InstanceStatus};
use crate::cloud::vpc::{EniView, Vpc, plugged};
use crate::config::HttpTokens;

/// Code and name of a state.
fn state(status: InstanceStatus) -> (u32, &'static str) {
    match status {
        InstanceStatus::Starting => (0, "pending"),
        InstanceStatus::Running => (16, "running"),
        InstanceStatus::Stopping => (64, "stopping"),
        InstanceStatus::Stopped => (80, "stopped"),
        InstanceStatus::Terminated => (48, "terminated"),
    }
}

fn field(vpc: &Vpc, instance: &Instance, view: &EniView, name: &str) -> Option<Vec<String>> {
    let one = |value: &str| Some(vec![value.to_owned()]);
    let primary = || view.get(&instance.primary_eni);
    match name {
        "instance-id" => one(&instance.id),
        "instance-type" => one(&instance.instance_type),
        "instance-state-name" => one(state(instance.status).1),
        "instance-state-code" => one(&state(instance.status).0.to_string()),
        "availability-zone" => one(&instance.zone),
        "subnet-id" => one(&instance.vswitch),
        "vpc-id" => one(&vpc.id),
        "owner-id" => one(&vpc.owner),
        "private-ip-address" => Some(
            primary().and_then(|e| e.v4.first()).map(ToString::to_string).into_iter().collect(),
        ),
        "instance.group-id" => Some(primary().map(|e| e.groups.clone()).unwrap_or_default()),
        "network-interface.network-interface-id" => {
            Some(plugged(instance, view).into_iter().map(|e| e.id.clone()).collect())
        }
        "network-interface.addresses.private-ip-address" => {
            let enis = plugged(instance, view).into_iter();
            Some(enis.flat_map(|e| &e.v4).map(ToString::to_string).collect())
        }
        _ => of_tags(&instance.tags, name),
    }
}

fn item(vpc: &Vpc, instance: &Instance, view: &EniView) -> Value {
    let (code, name) = state(instance.status);
    let enis = plugged(instance, view);
    let primary = enis.iter().find(|e| e.primary);
    let address = primary.and_then(|e| e.v4.first());
    let known = vpc.catalog.get(&instance.instance_type);
    json!({
        "instanceId": instance.id,
        "imageId": shape::IMAGE,
        "instanceState": { "code": code, "name": name },
        "instanceType": instance.instance_type,
        "launchTime": iso8601(instance.created),
        "placement": { "availabilityZone": instance.zone, "tenancy": "default" },
        "privateIpAddress": address.map(ToString::to_string),
        "privateDnsName": address.map(|a| shape::dns(vpc, (*a).into())),
        "ipv6Address": primary.and_then(|e| e.v6.first()).map(ToString::to_string),
        "subnetId": instance.vswitch,
        "vpcId": vpc.id,
        "architecture": known.map(|t| t.cpu_architecture.clone()),
        "hypervisor": "xen", // The real API says so of Nitro, too.
        "virtualizationType": "hvm",
        "rootDeviceType": "ebs",
        "enaSupport": true,
        "sourceDestCheck": primary.is_some_and(|e| e.source_dest_check),
        "groupSet": primary.map(|e| shape::groups(vpc, &e.groups)),
        "networkInterfaceSet": enis
            .iter()
            .map(|e| shape::eni(vpc, e, shape::status(e.state)))
            .collect::<Vec<_>>(),
        "metadataOptions": {
            "state": "applied",
            "httpTokens": match instance.http_tokens {
                HttpTokens::Optional => "optional",
                HttpTokens::Required => "required",
            },
            "httpPutResponseHopLimit": instance.hop_limit,
            "httpEndpoint": "enabled",
        },
        "tagSet": shape::tags(&instance.tags),
    })
}

/// `DescribeInstances`. `hidden`: the caller may see no instance, which is no error.
pub fn list(vpc: &Vpc, params: &Params, view: &EniView, hidden: bool) -> Result<Value, Failure> {
    let ids = params.list("InstanceId");
    if let Some(id) = ids.iter().find(|id| !vpc.instances.contains_key(*id)) {
        return Err(Cause::NoInstance(id.clone()).into());
    }
    let filters = Filters::read(params)?;
    let mut found = Vec::new();
    for instance in vpc.instances.values() {
        let matches = filters.take(|name| field(vpc, instance, view, name))?;
        if matches && !hidden && (ids.is_empty() || ids.contains(&instance.id)) {
            found.push(instance);
        }
    }
    let (found, mut out) = page(numbered(found), params, "InstanceId", 1000)?;
    let reservation = |instance: &Instance| {
        let id = instance.id.strip_prefix("i-").unwrap_or_default();
        json!({
            "reservationId": format!("r-{id}"),
            "ownerId": vpc.owner,
            "groupSet": [],
            "instancesSet": [item(vpc, instance, view)],
        })
    };
    out.insert("reservationSet".to_owned(), found.into_iter().map(reservation).collect());
    Ok(Value::Object(out))
}

/// `TerminateInstances`: all of them or none.
pub fn terminate(vpc: &mut Vpc, params: &Params, now: Millis) -> Result<Value, Failure> {
    let ids = params.list("InstanceId");
    if ids.is_empty() {
        return Err(Cause::Missing("InstanceId".to_owned()).into());
    }
    let mut before = Vec::new();
    for id in &ids {
        before.push(state(vpc.instance(id)?.status));
    }
    let mut changed = Vec::new();
    for (id, (code, name)) in ids.iter().zip(before) {
        // Once more changes nothing.
        let gone = (48, "terminated");
        let (now_code, now_name) =
            if vpc.terminate(id, now).is_ok() { (32, "shutting-down") } else { gone };
        changed.push(json!({
            "instanceId": id,
            "currentState": { "code": now_code, "name": now_name },
            "previousState": { "code": code, "name": name },
        }));
    }
    Ok(json!({ "instancesSet": changed }))
}

fn type_item(known: &InstanceType) -> Value {
    let nitro = known.hypervisor != "xen";
    let cards = (0_u32..).zip(&known.eni_quantity_of_cards).map(|(index, enis)| {
        json!({
            "networkCardIndex": index,
            "networkPerformance": known.network_performance,
            "maximumNetworkInterfaces": enis,
        })
    });
    // Whole MiB, as the API prints it.
    let memory = format!("{:.0}", known.memory_size * 1024.0);
    json!({
        "instanceType": known.instance_type_id,
        "currentGeneration": known.current_generation,
        "bareMetal": known.hypervisor.is_empty(),
        "hypervisor": (!known.hypervisor.is_empty()).then_some(&known.hypervisor),
        "processorInfo": { "supportedArchitectures": [known.cpu_architecture] },
        "vCpuInfo": { "defaultVCpus": known.cpu_core_count },
        "memoryInfo": { "sizeInMiB": memory },
        "networkInfo": {
            "networkPerformance": known.network_performance,
            "maximumNetworkInterfaces": known.eni_quantity,
            "maximumNetworkCards": known.network_card_quantity,
            "defaultNetworkCardIndex": 0,
            "networkCards": cards.collect::<Vec<_>>(),
            "ipv4AddressesPerInterface": known.eni_private_ip_address_quantity,
            "ipv6AddressesPerInterface": known.eni_ipv6_address_quantity,
            "ipv6Supported": known.eni_ipv6_address_quantity > 0,
            "enaSupport": if nitro { "required" } else { "unsupported" },
        },
    })
}

fn type_field(known: &InstanceType, name: &str) -> Option<Vec<String>> {
    let value = match name {
        "instance-type" => known.instance_type_id.clone(),
        "current-generation" => known.current_generation.to_string(),
        "bare-metal" => known.hypervisor.is_empty().to_string(),
        "hypervisor" => known.hypervisor.clone(),
        "processor-info.supported-architecture" => known.cpu_architecture.clone(),
        "network-info.maximum-network-interfaces" => known.eni_quantity.to_string(),
        "network-info.maximum-network-cards" => known.network_card_quantity.to_string(),
        _ => return None,
    };
    Some(vec![value])
}

/// `DescribeInstanceTypes`.
pub fn types(vpc: &Vpc, params: &Params) -> Result<Value, Failure> {
    let ids = params.list_up_to("InstanceType", 100)?;
    let unknown: Vec<&str> =
        ids.iter().map(String::as_str).filter(|id| vpc.catalog.get(id).is_none()).collect();
    if !unknown.is_empty() {
        return Err(Failure::bad(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{}]", unknown.join(", ")),
        ));
    }
    let filters = Filters::read(params)?;
    let mut found = Vec::new();
    for known in vpc.catalog.iter() {
        let matches = filters.take(|name| type_field(known, name))?;
        if matches && (ids.is_empty() || ids.contains(&known.instance_type_id)) {
            found.push(known);
        }
    }
    let (found, mut out) = page(numbered(found), params, "InstanceType", 100)?;
    out.insert("instanceTypeSet".to_owned(), found.into_iter().map(type_item).collect());
    Ok(Value::Object(out))
}
