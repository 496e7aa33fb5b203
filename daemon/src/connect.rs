//! Chooses the cloud and finds out which instance this is. A second cloud gets its own function here.

use std::time::Duration;

use anyhow::Context as _;
use tideway_cloud_aliyun::{AliyunCloud, Endpoint, SetupError};
use tideway_model::{Config, ConfigError, InstanceId, Provider};

use crate::{assemble::facts_file, clock, facts};

/// How long the metadata service is waited for when no former run knew the instance.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cloud of the configuration, and this instance. The region that was found out is written into the configuration.
pub async fn connect(config: &mut Config) -> anyhow::Result<(AliyunCloud, InstanceId)> {
    if config.cloud.provider != Provider::Aliyun {
        let said = "this build has no client of it; set it to aliyun, or install a build that has";
        return Err(config.refuse("cloud.provider", said).into());
    }
    endpoints(config)?;
    let known = facts::load(&facts_file(config));
    let region = known.as_ref().map(|facts| facts.region.clone()).filter(|r| !r.is_empty());
    let known = known.map(|facts| facts.instance);
    let end = clock::boot() + PATIENCE;
    let cloud = loop {
        match (AliyunCloud::from_config(&config.cloud, clock::wall).await, &region) {
            (Ok(cloud), _) => break cloud,
            (Err(SetupError::Trust(e)), _) => {
                return Err(config.refuse("cloud.caFile", e.to_string()).into());
            }
            (Err(SetupError::Region(e)), Some(region)) => {
                tracing::warn!(error = %e, %region, "the metadata service does not answer; the region is taken for that of the last run");
                config.cloud.region = Some(region.clone());
            }
            (Err(e), _) if clock::boot() < end => {
                tracing::warn!(error = %format!("{:#}", anyhow::Error::from(e)), "the cloud cannot be used yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            (Err(e), _) => {
                return Err(e)
                    .context("the cloud cannot be used; check cloud.* in the configuration");
            }
        }
    };
    config.cloud.region = Some(cloud.region().to_owned());
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

/// Endpoints that cannot be written down: no patience mends them.
fn endpoints(config: &Config) -> Result<(), ConfigError> {
    for (key, _, text) in config.cloud.endpoints() {
        text.parse::<Endpoint>().map_err(|e| config.refuse(key, e.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_trusted_or_reached_is_refused_at_once_by_file_line_and_key() {
        let cases = [
            (
                "cluster: c\ncloud:\n  ecsEndpoint: ecs.aliyuncs.com\n",
                "line 3: key cloud.ecsEndpoint",
            ),
            ("cluster: c\ncloud: {vpcEndpoint: \"ftp://x\"}\n", "line 2: key cloud.vpcEndpoint"),
            ("cluster: c\ncloud: {metadataEndpoint: \"\"}\n", "line 2: key cloud.metadataEndpoint"),
            (
                "cluster: c\ncloud: {region: r, caFile: /nowhere/ca.pem}\n",
                "line 2: key cloud.caFile",
            ),
            ("cluster: c\ncloud: {region: r, provider: aws}\n", "line 2: key cloud.provider"),
        ];
        for (text, place) in cases {
            let mut config = Config::parse(text, "f").unwrap();
            let said = format!("{:#}", connect(&mut config).await.unwrap_err());
            assert!(said.starts_with(&format!("configuration f: {place}: ")), "{said}");
        }
    }
}
