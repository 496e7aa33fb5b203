//! AWS for the suite of both clouds.

use std::collections::BTreeSet;

use tideway_cloud::{Ask, ErrorKind, actions as asked};
pub(crate) use tideway_cloud_aws::{AwsCloud as Client, SetupError, system_clock};
use tideway_cloud_aws::{AwsConfig, CredentialSource, WebIdentity};
use tideway_lab::CloudKind;
use tideway_model::config::CloudConfig;

use super::suite::{Access, Key};

pub(crate) const KIND: CloudKind = CloudKind::Aws;
pub(crate) const ASSIGN_HAS_A_TOKEN: bool = false;
pub(crate) const THROTTLING_TELLS_WHEN: bool = false;
/// ENIs on a page.
pub(crate) const PAGE: usize = 1000;
/// A region that the cloud does not have: to EC2 the signature of a key that it does not know.
pub(crate) const WRONG_REGION: ErrorKind = ErrorKind::Credentials;
pub(crate) const POLICY: &str = include_str!("../../../../manifests/policies/iam.json");
/// What is missing when an ENI cannot be deleted, up to its id.
pub(crate) const DELETE_OF: &str = "ec2:DeleteNetworkInterface on arn:aws:ec2:";
/// The exchange of a service account's token.
pub(crate) const EXCHANGE: &str = "AssumeRoleWithWebIdentity";
/// Seconds that such a key lives: the SDK renews it in the last ten or so.
pub(crate) const SHORT_LIFE: u64 = 13;
/// The code for a key that is over.
pub(crate) const EXPIRED: &str = "RequestExpired";
/// Codes for a token that is over, that is none, and that is good for another role.
pub(crate) const REFUSED_TOKENS: [&str; 3] =
    ["ExpiredTokenException", "InvalidIdentityToken", "AccessDenied"];

/// Actions whose refusal the daemon tells. A create is refused as a whole when it may not tag, and the attach whose second
/// call is refused has succeeded.
pub(crate) fn actions() -> BTreeSet<&'static str> {
    let mut actions = asked(Ask::iam);
    actions.retain(|a| !["ec2:CreateTags", "ec2:ModifyNetworkInterfaceAttribute"].contains(a));
    actions
}

pub(crate) fn config(access: Access) -> AwsConfig {
    let credentials = match access.key {
        Key::Fixed(key) => CredentialSource::Fixed(key),
        Key::InstanceRole => CredentialSource::InstanceRole,
        Key::WebIdentity { role, token_file } => CredentialSource::WebIdentity(WebIdentity {
            role: format!("arn:aws:iam::123456789012:role/{role}"),
            token_file,
            session: "tidewayd".into(),
            endpoint: Some(access.endpoint.clone()),
        }),
    };
    AwsConfig {
        ec2_endpoint: Some(access.endpoint),
        metadata_endpoint: access.metadata,
        ca_file: access.ca_file,
        ..AwsConfig::new(&access.region, credentials)
    }
}

pub(crate) fn client(access: Access) -> Client {
    let clock = access.clock;
    Client::new(config(access), clock).unwrap()
}

pub(crate) async fn from_config(config: &CloudConfig) -> Result<Client, SetupError> {
    Client::from_config(config, system_clock).await
}
