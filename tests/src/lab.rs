//! The lab as its description file shows it: namespaces, addresses, endpoints.
//!
//! The harness needs no more of a node than this, so that a cluster can stand on any fabric that writes the same file.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// `lab.json`. Keys that we do not use are left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lab {
    /// Id: prefix of namespaces.
    pub id: String,
    /// Region.
    pub region: String,
    /// Where the cloud's APIs are.
    pub endpoints: Endpoints,
    /// PEM file of the certificate authority of the TLS endpoints.
    pub ca_file: PathBuf,
    /// Network namespace of the VPC's router, in which the world beyond the VPC is, too.
    pub vpc_namespace: String,
    /// The network.
    pub vpc: Vpc,
    /// Instances in the order of the configuration.
    pub instances: Vec<Instance>,
}

/// Where the cloud's APIs are.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// As seen from inside an instance.
    pub inside: Inside,
}

/// Endpoints inside the VPC.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inside {
    /// ECS API, base URL.
    pub ecs: String,
    /// VPC API, base URL.
    pub vpc: String,
    /// Both, by HTTPS.
    pub ecs_tls: String,
}

/// The network.
#[derive(Debug, Clone, Deserialize)]
pub struct Vpc {
    /// IPv4 block.
    pub ipv4: String,
    /// IPv6 block.
    pub ipv6: String,
}

/// One instance.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Name in the lab's configuration.
    pub name: String,
    /// Instance id.
    pub id: String,
    /// Network namespace in `/run/netns`.
    pub namespace: String,
    /// Primary IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Primary IPv6 address.
    pub ipv6: Ipv6Addr,
}

impl Lab {
    /// Reads a description.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the lab's description {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is no lab description", path.display()))
    }

    /// An instance by name.
    pub fn instance(&self, name: &str) -> Result<&Instance> {
        self.instances
            .iter()
            .find(|i| i.name == name)
            .with_context(|| format!("lab {} has no instance {name}", self.id))
    }
}
