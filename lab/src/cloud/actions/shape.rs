//! Answers in the wrapped shapes of the API: `XSets.XSet[]`, `Tags.Tag[]` with `TagKey`/`TagValue`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cloud::clock::iso8601;
use crate::cloud::resources::{Eni, Instance};
use crate::cloud::vpc::{EniView, Vpc, plugged};

/// `Tags` of ECS answers.
pub fn tags(tags: &BTreeMap<String, String>) -> Value {
    let list: Vec<Value> =
        tags.iter().map(|(k, v)| json!({ "TagKey": k, "TagValue": v })).collect();
    json!({ "Tag": list })
}

/// Addresses and prefixes of an ENI, shared by several answers.
fn addresses(eni: &Eni, with_dns: bool) -> Map<String, Value> {
    let mut out = Map::new();
    let v4: Vec<Value> = eni
        .v4
        .iter()
        .enumerate()
        .map(|(n, a)| {
            let mut one = json!({ "PrivateIpAddress": a.to_string(), "Primary": n == 0 });
            if with_dns && let Some(fields) = one.as_object_mut() {
                fields.insert("PrivateDnsName".to_owned(), json!(""));
            }
            one
        })
        .collect();
    let v6: Vec<Value> =
        eni.v6.iter().map(|a| json!({ "Ipv6Address": a.to_string(), "Primary": false })).collect();
    let p4: Vec<Value> =
        eni.prefixes_v4().map(|p| json!({ "Ipv4Prefix": p.to_string() })).collect();
    let p6: Vec<Value> =
        eni.prefixes_v6().map(|p| json!({ "Ipv6Prefix": p.to_string() })).collect();
    out.insert("PrivateIpSets".to_owned(), json!({ "PrivateIpSet": v4 }));
    out.insert("Ipv6Sets".to_owned(), json!({ "Ipv6Set": v6 }));
    out.insert("Ipv4PrefixSets".to_owned(), json!({ "Ipv4PrefixSet": p4 }));
    out.insert("Ipv6PrefixSets".to_owned(), json!({ "Ipv6PrefixSet": p6 }));
    out
}

/// What the answers of Create, Describe and Attribute have in common.
pub fn eni_core(vpc: &Vpc, eni: &Eni) -> Map<String, Value> {
    let zone = vpc.vswitches.get(&eni.vswitch).map(|v| v.zone.clone()).unwrap_or_default();
    let mut out = addresses(eni, false);
    let fields = json!({
        "NetworkInterfaceId": eni.id,
        "NetworkInterfaceName": eni.name,
        "Description": eni.description,
        "MacAddress": eni.mac_text(),
        "Type": eni.kind(),
        "Status": eni.state.word(),
        "VpcId": vpc.id,
        "VSwitchId": eni.vswitch,
        "ZoneId": zone,
        "PrivateIpAddress": eni.v4.first().map(ToString::to_string).unwrap_or_default(),
        "SecurityGroupIds": { "SecurityGroupId": eni.groups },
        "Tags": tags(&eni.tags),
        "OwnerId": vpc.owner,
        "ResourceGroupId": eni.resource_group,
        "ServiceID": 0,
        "ServiceManaged": false,
        "SourceDestCheck": eni.source_dest_check,
    });
    if let Value::Object(fields) = fields {
        out.extend(fields);
    }
    out
}

/// An item of `DescribeNetworkInterfaces`.
pub fn eni_item(vpc: &Vpc, eni: &Eni) -> Map<String, Value> {
    let mut out = eni_core(vpc, eni);
    out.extend(addresses(eni, true));
    let mut attachment = Map::new();
    if let Some(instance) = &eni.instance {
        attachment.insert("InstanceId".to_owned(), json!(instance));
        attachment.insert("NetworkCardIndex".to_owned(), json!(0));
        attachment.insert("DeviceIndex".to_owned(), json!(0));
        attachment.insert("TrunkNetworkInterfaceId".to_owned(), json!(""));
        out.insert("InstanceId".to_owned(), json!(instance));
    }
    out.insert("Attachment".to_owned(), Value::Object(attachment));
    out.insert("AssociatedPublicIp".to_owned(), json!({}));
    out.insert("CreationTime".to_owned(), json!(iso8601(eni.created)));
    out.insert("DeleteOnRelease".to_owned(), json!(eni.delete_on_release));
    out.insert("NetworkInterfaceTrafficMode".to_owned(), json!(eni.traffic_mode));
    if let Some(queues) = eni.queues {
        out.insert("QueueNumber".to_owned(), json!(queues));
    }
    out
}

/// The answer of `DescribeNetworkInterfaceAttribute`.
pub fn eni_attribute(vpc: &Vpc, eni: &Eni) -> Map<String, Value> {
    let mut out = eni_item(vpc, eni);
    let [established, closed, udp] = eni.tracking;
    out.insert(
        "ConnectionTrackingConfiguration".to_owned(),
        json!({
            "TcpEstablishedTimeout": established,
            "TcpClosedAndTimeWaitTimeout": closed,
            "UdpTimeout": udp,
        }),
    );
    out.insert(
        "NetworkInterfaceTrafficConfig".to_owned(),
        json!({ "NetworkInterfaceTrafficMode": eni.traffic_mode, "QueueNumber": eni.queues }),
    );
    out
}

/// An item of `DescribeInstances`, with its ENIs as `view` has them.
pub fn instance_item(vpc: &Vpc, instance: &Instance, view: &EniView) -> Value {
    let here = plugged(instance, view);
    let interfaces: Vec<Value> = here
        .iter()
        .map(|eni| {
            let mut one = addresses(eni, true);
            one.insert("NetworkInterfaceId".to_owned(), json!(eni.id));
            one.insert("MacAddress".to_owned(), json!(eni.mac_text()));
            one.insert("Type".to_owned(), json!(eni.kind()));
            let primary = eni.v4.first().map(ToString::to_string).unwrap_or_default();
            one.insert("PrimaryIpAddress".to_owned(), json!(primary));
            Value::Object(one)
        })
        .collect();
    let primary = here.iter().find(|e| e.primary);
    let address: Vec<String> =
        primary.iter().filter_map(|e| e.v4.first()).map(ToString::to_string).collect();
    let groups = primary.map(|e| e.groups.clone()).unwrap_or_default();
    let known = vpc.catalog.get(&instance.instance_type);
    let memory = known.map_or(0.0, |t| t.memory_size * 1024.0);
    json!({
        "InstanceId": instance.id,
        "InstanceName": instance.name,
        "HostName": instance.name,
        "InstanceType": instance.instance_type,
        "InstanceTypeFamily": known.map(|t| t.instance_type_family.clone()).unwrap_or_default(),
        "Cpu": known.map_or(0, |t| t.cpu_core_count),
        // Whole MiB, as the API prints it.
        "Memory": format!("{memory:.0}").parse::<u64>().unwrap_or_default(),
        "Status": instance.status.word(),
        "RegionId": vpc.config.region,
        "ZoneId": instance.zone,
        "InstanceNetworkType": "vpc",
        "CreationTime": iso8601(instance.created),
        "StartTime": iso8601(instance.created),
        "OSType": "linux",
        "OSName": "Debian",
        "ImageId": "debian_12",
        "SecurityGroupIds": { "SecurityGroupId": groups },
        "NetworkInterfaces": { "NetworkInterface": interfaces },
        "VpcAttributes": {
            "VpcId": vpc.id,
            "VSwitchId": instance.vswitch,
            "PrivateIpAddress": { "IpAddress": address },
            "NatIpAddress": "",
        },
        "InnerIpAddress": { "IpAddress": [] },
        "PublicIpAddress": { "IpAddress": [] },
        "EipAddress": { "AllocationId": "", "IpAddress": "", "InternetChargeType": "" },
        "OperationLocks": { "LockReason": [] },
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": match instance.http_tokens {
                crate::config::HttpTokens::Optional => "optional",
                crate::config::HttpTokens::Required => "required",
            },
        },
        "Tags": tags(&instance.tags),
    })
}
