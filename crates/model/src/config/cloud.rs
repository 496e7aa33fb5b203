//! Which cloud, and how to reach it.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// A cloud that the daemon can work with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// Alibaba Cloud: ECS and VPC.
    #[default]
    Aliyun,
    /// AWS: EC2.
    Aws,
}

impl Provider {
    /// As the configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Aws => "aws",
        }
    }

    /// Whether shared pods may use the primary IPv4 address of a secondary ENI. On AWS it stays the instance's: images of that
    /// cloud bring programs (`ec2-net-utils`) that take it from the metadata service and configure it on the host.
    pub fn pods_use_primary_addresses(self) -> bool {
        self == Self::Aliyun
    }
}

/// Which cloud, and how to reach it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CloudConfig {
    /// Whose cloud: `aliyun` (the default) or `aws`.
    pub provider: Provider,
    /// Region; default: asked from the metadata service.
    pub region: Option<String>,
    /// `aliyun`: endpoint of ECS, such as `https://ecs.cn-hangzhou.aliyuncs.com`; default: by region. The lab gives its own.
    pub ecs_endpoint: Option<String>,
    /// `aliyun`: endpoint of VPC; default: by region.
    pub vpc_endpoint: Option<String>,
    /// `aws`: endpoint of EC2, such as `https://ec2.us-east-1.amazonaws.com`; default: by region.
    pub ec2_endpoint: Option<String>,
    /// Endpoint of the token service that gives a service account its role's key, such as one inside the VPC; default: what
    /// the environment names, else by region.
    pub sts_endpoint: Option<String>,
    /// PEM file of a certificate authority that is trusted beside the public ones.
    pub ca_file: Option<String>,
    /// Base URL of the metadata service; default `http://100.100.100.200` (`aliyun`) or `http://169.254.169.254` (`aws`).
    pub metadata_endpoint: Option<String>,
    /// File with `accessKeyId` and `accessKeySecret` (JSON); default: environment, then the instance's RAM or IAM role.
    pub credentials_file: Option<String>,
}

impl CloudConfig {
    /// The endpoints that are given, each with its key, and with the cloud that it is of unless it is of either.
    pub fn endpoints(&self) -> impl Iterator<Item = (&'static str, Option<Provider>, &str)> {
        let of = [
            ("cloud.ecsEndpoint", Some(Provider::Aliyun), &self.ecs_endpoint),
            ("cloud.vpcEndpoint", Some(Provider::Aliyun), &self.vpc_endpoint),
            ("cloud.ec2Endpoint", Some(Provider::Aws), &self.ec2_endpoint),
            ("cloud.stsEndpoint", None, &self.sts_endpoint),
            ("cloud.metadataEndpoint", None, &self.metadata_endpoint),
        ];
        of.into_iter().filter_map(|(key, of, text)| Some((key, of, text.as_deref()?)))
    }

    /// An endpoint that nothing would use is a cloud that somebody meant.
    pub(super) fn validate(&self) -> Result<(), Refusal> {
        let strange = |of: &Option<Provider>| of.is_some_and(|of| of != self.provider);
        let mut endpoints = self.endpoints();
        let Some((key, Some(of), _)) = endpoints.find(|(_, of, _)| strange(of)) else {
            return Ok(());
        };
        Err((
            key,
            format!(
                "it belongs to {}, but cloud.provider is {}; take it out, or set cloud.provider to {}",
                of.name(),
                self.provider.name(),
                of.name()
            ),
        ))
    }
}
