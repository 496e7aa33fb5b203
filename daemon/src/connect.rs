//! Chooses the cloud and finds out which instance this is. A second cloud gets its own function here.

use std::time::Duration;

use anyhow::Context as _;
use tideway_cloud_aliyun::AliyunCloud;
use tideway_model::{Config, InstanceId};

use crate::{assemble::facts_file, clock, facts};

/// How long the metadata service is waited for when no former run knew the instance.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cloud of the configuration, and this instance.
pub async fn connect(config: &Config) -> anyhow::Result<(AliyunCloud, InstanceId)> {
    let known = facts::load(&facts_file(config)).map(|facts| facts.instance);
    let end = clock::boot() + PATIENCE;
    let cloud = loop {
        match AliyunCloud::from_config(&config.cloud, clock::wall).await {
            Ok(cloud) => break cloud,
            Err(e) if clock::boot() < end => {
                tracing::warn!(error = %format!("{:#}", anyhow::Error::from(e)), "the cloud cannot be used yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(e) => {
                return Err(e)
                    .context("the cloud cannot be used; check cloud.* in the configuration");
            }
        }
    };
    let instance = loop {
        match (cloud.metadata().instance_id().await, &known) {
            (Ok(id), _) => break id,
            (Err(e), Some(id)) => {
                tracing::warn!(error = %e, instance = %id, "the metadata service does not answer; this is taken for the instance of the last run");
                break id.clone();
            }
            (Err(e), None) if clock::boot() < end => {
                tracing::warn!(error = %e, "the metadata service does not tell which instance this is yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            (Err(e), None) => {
                return Err(e).context("the metadata service does not tell which instance this is");
            }
        }
    };
    Ok((cloud, instance))
}
