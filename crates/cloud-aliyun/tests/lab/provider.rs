//! Alibaba Cloud for the suite of both clouds.

use std::collections::BTreeSet;

use tideway_cloud::{Ask, ErrorKind, actions as asked};
pub(crate) use tideway_cloud_aliyun::{AliyunCloud as Client, SetupError, system_clock};
use tideway_cloud_aliyun::{AliyunConfig, CredentialSource, WebIdentity};
use tideway_lab::CloudKind;
use tideway_model::config::CloudConfig;

use super::suite::{Access, Key};

pub(crate) const KIND: CloudKind = CloudKind::Aliyun;
pub(crate) const ASSIGN_HAS_A_TOKEN: bool = true;
pub(crate) const THROTTLING_TELLS_WHEN: bool = true;
/// ENIs on a page.
pub(crate) const PAGE: usize = 500;
/// A region that the cloud does not have.
pub(crate) const WRONG_REGION: ErrorKind = ErrorKind::Invalid;
pub(crate) const POLICY: &str = include_str!("../../../../manifests/policies/ram.json");
/// What is missing when an ENI cannot be deleted, up to its id.
pub(crate) const DELETE_OF: &str = "ecs:DeleteNetworkInterface on acs:ecs:cn-hangzhou:*:eni/";
/// The exchange of a service account's token.
pub(crate) const EXCHANGE: &str = "AssumeRoleWithOIDC";
/// Seconds that such a key lives: it is renewed in the last one.
pub(crate) const SHORT_LIFE: u64 = 4;
/// The code for a key that is over.
pub(crate) const EXPIRED: &str = "InvalidSecurityToken.Expired";
/// Codes for a token that is over, that is none, and that is good for another role.
pub(crate) const REFUSED_TOKENS: [&str; 3] = [
    "AuthenticationFail.OIDCToken.Expired",
    "AuthenticationFail.OIDCToken.Invalid",
    "EntityNotExist.Role",
];

/// Actions whose refusal the daemon tells.
pub(crate) fn actions() -> BTreeSet<&'static str> {
    asked(Ask::ram)
}

fn config(access: Access) -> AliyunConfig {
    let credentials = match access.key {
        Key::Fixed(key) => CredentialSource::Fixed(key),
        Key::InstanceRole => CredentialSource::InstanceRole,
        Key::WebIdentity { role, token_file } => CredentialSource::WebIdentity(WebIdentity {
            role: format!("acs:ram::1234567890123456:role/{role}"),
            provider: "acs:ram::1234567890123456:oidc-provider/ack-rrsa".into(),
            token_file,
            session: "tidewayd".into(),
            endpoint: Some(access.endpoint.clone()),
        }),
    };
    AliyunConfig {
        ecs_endpoint: Some(access.endpoint.clone()),
        vpc_endpoint: Some(access.endpoint),
        metadata_endpoint: access.metadata,
        ca_file: access.ca_file,
        ..AliyunConfig::new(&access.region, credentials)
    }
}

pub(crate) fn client(access: Access) -> Client {
    let clock = access.clock;
    Client::new(config(access), clock).unwrap()
}

pub(crate) async fn from_config(config: &CloudConfig) -> Result<Client, SetupError> {
    Client::from_config(config, system_clock).await
}
