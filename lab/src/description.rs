//! `lab.json`: what a client or a harness must know to use a running lab.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::CloudKind;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabDescription {
    /// Whose APIs it serves.
    pub cloud: CloudKind,
    /// Lab id.
    pub id: String,
    /// Region.
    pub region: String,
    /// Process that serves the APIs.
    pub pid: u32,
    /// Where the APIs are.
    pub endpoints: Endpoints,
    /// Certificate authority of the TLS endpoints; empty when it was not written.
    pub ca_file: String,
    /// Control socket; empty when there is none.
    pub control_socket: String,
    /// Namespace of the VPC's router; empty without a network.
    pub vpc_namespace: String,
    /// The VPC.
    pub vpc: VpcDescription,
    /// Its subnets.
    pub vswitches: Vec<VSwitchDescription>,
    /// Its security groups.
    pub security_groups: Vec<NamedId>,
    /// Its instances.
    pub instances: Vec<InstanceDescription>,
    /// A key pair that works.
    pub credentials: Credentials,
}

/// Addresses of the APIs. One server serves all of the lab's cloud: ECS and VPC, or EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Plain HTTP on loopback.
    pub api: String,
    /// HTTPS on loopback.
    pub api_tls: String,
    /// The same server as `api`, under the name of one API of Alibaba Cloud.
    pub ecs: String,
    /// The same server.
    pub vpc: String,
    /// The same server as `api_tls`.
    pub ecs_tls: String,
    /// Metadata service on loopback, one address per instance name.
    pub metadata: BTreeMap<String, String>,
    /// As seen from the instances; absent without a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<InsideEndpoints>,
}

/// Addresses inside the VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InsideEndpoints {
    /// Plain HTTP.
    pub api: String,
    /// HTTPS.
    pub api_tls: String,
    /// The same server as `api`.
    pub ecs: String,
    /// The same server.
    pub vpc: String,
    /// The same server as `api_tls`.
    pub ecs_tls: String,
    /// Metadata service.
    pub metadata: String,
}

/// The VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VpcDescription {
    /// Id.
    pub id: String,
    /// IPv4 block.
    pub ipv4: String,
    /// IPv6 block.
    pub ipv6: Option<String>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VSwitchDescription {
    /// Id.
    pub id: String,
    /// Name in the configuration.
    pub name: String,
    /// Zone.
    pub zone: String,
    /// IPv4 block.
    pub ipv4: String,
    /// IPv6 block.
    pub ipv6: Option<String>,
    /// IPv4 gateway.
    pub gateway_v4: String,
    /// IPv6 gateway.
    pub gateway_v6: Option<String>,
}

/// Something with an id and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedId {
    /// Id.
    pub id: String,
    /// Name in the configuration.
    pub name: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDescription {
    /// Name in the lab.
    pub name: String,
    /// Id.
    pub id: String,
    /// Instance type.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// Network namespace.
    pub namespace: String,
    /// Its primary ENI.
    pub primary_eni: String,
    /// Primary IPv4 address.
    pub ipv4: String,
    /// IPv6 address.
    pub ipv6: Option<String>,
    /// MAC of the primary ENI.
    pub mac: String,
    /// vSwitch of the primary ENI.
    pub vswitch_id: String,
    /// Zone.
    pub zone: String,
}

/// A key pair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Access key id.
    pub access_key_id: String,
    /// Access key secret.
    pub access_key_secret: String,
}
