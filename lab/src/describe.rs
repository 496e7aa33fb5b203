//! Makes the description of a running lab.

use crate::cloud::Cloud;
use crate::description::{
    Credentials, Endpoints, InsideEndpoints, InstanceDescription, LabDescription, NamedId,
    VSwitchDescription, VpcDescription,
};
use crate::fabric::API_ADDRESS;
use crate::lab::{Addresses, LabHost, metadata_address};

/// Describes the lab.
pub(crate) fn lab(cloud: &Cloud, addresses: &Addresses, host: &LabHost) -> LabDescription {
    let vpc = &cloud.vpc;
    let config = &vpc.config;
    let file = |name: &str| {
        host.state_dir.as_ref().map(|d| d.join(name).display().to_string()).unwrap_or_default()
    };
    let mut instances: Vec<_> = vpc
        .instances
        .values()
        .filter_map(|instance| Some((instance, vpc.enis().get(&instance.primary_eni)?)))
        .collect();
    instances.sort_by_key(|(_, primary)| primary.index);
    LabDescription {
        cloud: config.cloud,
        id: config.id.clone(),
        region: config.region.clone(),
        pid: std::process::id(),
        endpoints: Endpoints {
            api: format!("http://{}", addresses.plain),
            api_tls: format!("https://{}", addresses.tls),
            ecs: format!("http://{}", addresses.plain),
            vpc: format!("http://{}", addresses.plain),
            ecs_tls: format!("https://{}", addresses.tls),
            metadata: addresses
                .meta
                .iter()
                .map(|(name, address)| (name.clone(), format!("http://{address}")))
                .collect(),
            inside: host.namespace.as_ref().map(|_| InsideEndpoints {
                api: format!("http://{API_ADDRESS}"),
                api_tls: format!("https://{API_ADDRESS}"),
                ecs: format!("http://{API_ADDRESS}"),
                vpc: format!("http://{API_ADDRESS}"),
                ecs_tls: format!("https://{API_ADDRESS}"),
                metadata: format!("http://{}", metadata_address(config.cloud)),
            }),
        },
        ca_file: file("ca.pem"),
        control_socket: file("control.sock"),
        vpc_namespace: host.namespace.clone().unwrap_or_default(),
        vpc: VpcDescription {
            id: vpc.id.clone(),
            ipv4: config.vpc.ipv4.to_string(),
            ipv6: config.vpc.ipv6.map(|b| b.to_string()),
        },
        vswitches: config
            .vswitches
            .iter()
            .filter_map(|wanted| vpc.vswitch_named(&wanted.name))
            .map(|v| VSwitchDescription {
                id: v.id.clone(),
                name: v.name.clone(),
                zone: v.zone.clone(),
                ipv4: v.space.v4_block().to_string(),
                ipv6: v.space.v6_block().map(|b| b.to_string()),
                gateway_v4: v.space.gateway_v4().to_string(),
                gateway_v6: v.space.gateway_v6().map(|g| g.to_string()),
            })
            .collect(),
        security_groups: config
            .security_groups
            .iter()
            .filter_map(|wanted| vpc.groups.values().find(|g| g.name == wanted.name))
            .map(|g| NamedId { id: g.id.clone(), name: g.name.clone() })
            .collect(),
        instances: instances
            .into_iter()
            .map(|(instance, primary)| InstanceDescription {
                name: instance.name.clone(),
                id: instance.id.clone(),
                instance_type: instance.instance_type.clone(),
                namespace: format!("{}-{}", config.id, instance.name),
                primary_eni: primary.id.clone(),
                ipv4: primary.v4.first().map(ToString::to_string).unwrap_or_default(),
                ipv6: primary.v6.first().map(ToString::to_string),
                mac: primary.mac_text(),
                vswitch_id: instance.vswitch.clone(),
                zone: instance.zone.clone(),
            })
            .collect(),
        credentials: config
            .credentials
            .first()
            .map(|c| Credentials {
                access_key_id: c.id.clone(),
                access_key_secret: c.secret.clone(),
            })
            .unwrap_or_default(),
    }
}
