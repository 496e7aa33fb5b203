//! The instance metadata service (`IMDSv2`): who we are. Only with a token; the service gives one to whoever is near enough
//! (the instance's hop limit), which keeps it from pods.
//!
//! Metadata trails the API by seconds, so it never proves that something is gone.

use std::time::Duration;

use aws_config::{
    imds::{self, client::error::ImdsError},
    provider_config::ProviderConfig,
};
use tideway_model::InstanceId;

use crate::{Endpoint, refusal::causes};

/// Where the service answers in every instance.
pub const ADDRESS: &str = "http://169.254.169.254";

/// Why the metadata service did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No whole answer, or no token.
    #[error(
        "metadata service: {path}: {cause}; it must be reachable from the node's own network namespace (within a pod, a hop limit of the instance of 1 keeps it away)"
    )]
    Unanswered {
        /// Path below `latest/`.
        path: String,
        /// Cause.
        cause: String,
    },
    /// The instance has no such thing.
    #[error("metadata service: {path} does not exist")]
    Missing {
        /// Path below `latest/`.
        path: String,
    },
    /// It refused.
    #[error("metadata service: {path}: HTTP status {status}")]
    Refused {
        /// Path below `latest/`.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// It answered something that makes no sense. The text never holds the answer itself.
    #[error("metadata service: {path}: the answer cannot be understood: {why}")]
    Senseless {
        /// Path below `latest/`.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// A client of the metadata service.
#[derive(Debug)]
pub struct Metadata {
    pub(crate) client: imds::Client,
}

impl Metadata {
    /// A client of the service at `base`. Nothing is sent yet.
    pub(crate) fn new(base: &Endpoint, config: &ProviderConfig) -> Result<Self, MetadataError> {
        let senseless = |e: aws_sdk_ec2::error::BoxError| MetadataError::Senseless {
            path: base.to_string(),
            why: e.to_string(),
        };
        let client = imds::Client::builder()
            .configure(config)
            .endpoint(base.to_string())
            .map_err(senseless)?
            .max_attempts(1)
            .connect_timeout(Duration::from_secs(2))
            .read_timeout(Duration::from_secs(5))
            .operation_timeout(Duration::from_secs(5))
            .build();
        Ok(Self { client })
    }

    /// Text of a path below `latest/meta-data/`, trimmed.
    pub async fn text(&self, path: &str) -> Result<String, MetadataError> {
        let path = format!("meta-data/{path}");
        match self.client.get(format!("/latest/{path}")).await {
            Ok(text) => Ok(text.as_ref().trim().to_owned()),
            Err(ImdsError::ErrorResponse(refused)) => match refused.response().status().as_u16() {
                404 => Err(MetadataError::Missing { path }),
                status => Err(MetadataError::Refused { path, status }),
            },
            Err(e) => Err(MetadataError::Unanswered { path, cause: causes(&e) }),
        }
    }

    /// Region of this instance.
    pub async fn region(&self) -> Result<String, MetadataError> {
        const PATH: &str = "placement/region";
        let region = self.text(PATH).await?;
        // A captive portal answers everything with a page; a name of a region goes into host names.
        if region.is_empty() || !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            let why = "it is no name of a region".to_owned();
            return Err(MetadataError::Senseless { path: PATH.into(), why });
        }
        Ok(region)
    }

    /// Id of this instance.
    pub async fn instance_id(&self) -> Result<InstanceId, MetadataError> {
        const PATH: &str = "instance-id";
        InstanceId::try_from(self.text(PATH).await?)
            .map_err(|e| MetadataError::Senseless { path: PATH.into(), why: e.to_string() })
    }
}
