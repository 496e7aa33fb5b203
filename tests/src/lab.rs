//! The lab as its description file shows it: namespaces, addresses, endpoints.
//!
//! The harness needs no more of a node than this, so that a cluster can stand on any fabric that writes the same file.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::fill;

/// Environment variable with the cloud that the lab is: `aliyun` (the default) or `aws`.
const CLOUD_VARIABLE: &str = "TIDEWAY_CLOUD";

/// A cloud that a lab can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloudKind {
    /// Alibaba Cloud.
    #[default]
    Aliyun,
    /// AWS.
    Aws,
}

impl CloudKind {
    /// The one that the environment names.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(CLOUD_VARIABLE).as_deref() {
            Err(_) | Ok("" | "aliyun") => Ok(Self::Aliyun),
            Ok("aws") => Ok(Self::Aws),
            Ok(other) => bail!("{CLOUD_VARIABLE} is {other:?}; aliyun or aws is expected"),
        }
    }

    /// The demo's lab on this cloud, with so many addresses of each family on an ENI, in which the daemon's role may do what
    /// the policy of the manifests allows.
    pub fn demo_lab(self, addresses: u32) -> String {
        let (lab, policy) = match self {
            Self::Aliyun => (
                include_str!("../demo/lab.yaml"),
                include_str!("../../manifests/policies/ram.json"),
            ),
            Self::Aws => (
                include_str!("../demo/lab-aws.yaml"),
                include_str!("../../manifests/policies/iam.json"),
            ),
        };
        let lab = fill(lab, &[("ADDRESSES", &addresses.to_string())]);
        format!("{lab}rolePolicy: {}\n", policy.replace('\n', " "))
    }
}

/// `lab.json`. Keys that we do not use are left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lab {
    /// Whose cloud it is.
    pub cloud: CloudKind,
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
    /// Base URL of all APIs.
    pub api: String,
    /// The same by HTTPS.
    pub api_tls: String,
    /// Base URL of the metadata service.
    pub metadata: String,
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

    /// Section `cloud` of a daemon's configuration, on one line: this cloud with its APIs at `endpoint`, and one key more.
    pub fn cloud_section(&self, endpoint: &str, (key, value): (&str, &str)) -> Value {
        match self.cloud {
            CloudKind::Aliyun => {
                json!({"ecsEndpoint": endpoint, "vpcEndpoint": endpoint, key: value})
            }
            CloudKind::Aws => json!({"provider": "aws", "ec2Endpoint": endpoint, key: value}),
        }
    }

    /// An instance by name.
    pub fn instance(&self, name: &str) -> Result<&Instance> {
        self.instances
            .iter()
            .find(|i| i.name == name)
            .with_context(|| format!("lab {} has no instance {name}", self.id))
    }
}
