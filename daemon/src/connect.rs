//! Finds out which instance this is, by the client of the cloud that the configuration names.

use std::{future::Future, time::Duration};

use anyhow::Context as _;
use tideway_cloud::{Cloud, Endpoint, written_key};
use tideway_model::{Config, ConfigError, InstanceId, config::CloudConfig};

use crate::{assemble::facts_file, clock, facts};

/// How long the metadata service is waited for when no former run knew the instance.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cloud's client, as a start needs it.
pub trait Client: Cloud + Sized {
    /// A client as the configuration wants it.
    fn open(config: &CloudConfig) -> impl Future<Output = Result<Self, Unusable>> + Send;
    /// Region.
    fn region(&self) -> &str;
    /// This instance, as the metadata service tells.
    fn instance_id(&self) -> impl Future<Output = anyhow::Result<InstanceId>> + Send;
}

/// Why there is no client.
#[derive(Debug)]
pub enum Unusable {
    /// The file of `cloud.caFile` is nothing to trust; no patience mends that.
    Trust(String),
    /// The region is in no configuration, and the metadata service does not tell it.
    Region(anyhow::Error),
    /// Anything else.
    Other(anyhow::Error),
}

/// The clients have one outside; only their types differ.
macro_rules! client {
    ($feature:literal, $of:ident::$client:ident) => {
        #[cfg(feature = $feature)]
        impl Client for $of::$client {
            async fn open(config: &CloudConfig) -> Result<Self, Unusable> {
                Self::from_config(config, clock::wall).await.map_err(|e| match e {
                    $of::SetupError::Trust(e) => Unusable::Trust(e.to_string()),
                    e @ $of::SetupError::Region(_) => Unusable::Region(e.into()),
                    e => Unusable::Other(e.into()),
                })
            }

            fn region(&self) -> &str {
                self.region()
            }

            async fn instance_id(&self) -> anyhow::Result<InstanceId> {
                Ok(self.metadata().instance_id().await?)
            }
        }
    };
}

client!("aliyun", tideway_cloud_aliyun::AliyunCloud);
client!("aws", tideway_cloud_aws::AwsCloud);

/// The cloud of the configuration, and this instance. The region that was found out is written into the configuration.
pub async fn connect<C: Client>(config: &mut Config) -> anyhow::Result<(C, InstanceId)> {
    endpoints(config)?;
    let known = facts::load(&facts_file(config));
    match (key_file(config), &known) {
        (Err(e), None) => return Err(e.into()),
        // The pods of the last run need no cloud; a file that somebody is just replacing costs calls alone.
        (Err(e), Some(_)) => tracing::warn!("{e}"),
        (Ok(()), _) => {}
    }
    let region = known.as_ref().map(|facts| facts.region.clone()).filter(|r| !r.is_empty());
    let known = known.map(|facts| facts.instance);
    let end = clock::boot() + PATIENCE;
    let cloud = loop {
        match (C::open(&config.cloud).await, &region) {
            (Ok(cloud), _) => break cloud,
            (Err(Unusable::Trust(e)), _) => return Err(config.refuse("cloud.caFile", e).into()),
            (Err(Unusable::Region(e)), Some(region)) => {
                tracing::warn!(error = %format!("{e:#}"), %region, "the metadata service does not answer; the region is taken for that of the last run");
                config.cloud.region = Some(region.clone());
            }
            (Err(Unusable::Region(e) | Unusable::Other(e)), _) if clock::boot() < end => {
                tracing::warn!(error = %format!("{e:#}"), "the cloud cannot be used yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            (Err(Unusable::Region(e) | Unusable::Other(e)), _) => {
                return Err(e)
                    .context("the cloud cannot be used; check cloud.* in the configuration");
            }
        }
    };
    config.cloud.region = Some(cloud.region().to_owned());
    let instance = loop {
        match (cloud.instance_id().await, &known) {
            (Ok(id), _) => break id,
            (Err(e), Some(id)) => {
                tracing::warn!(error = %format!("{e:#}"), instance = %id, "the metadata service does not answer; this is taken for the instance of the last run");
                break id.clone();
            }
            (Err(e), None) if clock::boot() < end => {
                tracing::warn!(error = %format!("{e:#}"), "the metadata service does not tell which instance this is yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            (Err(e), None) => {
                return Err(e).context("the metadata service does not tell which instance this is");
            }
        }
    };
    Ok((cloud, instance))
}

/// That this build has no client of the cloud that is named.
pub fn not_in_this_build(config: &Config) -> ConfigError {
    let provider = config.cloud.provider.name();
    config.refuse(
        "cloud.provider",
        format!("this tidewayd was built without {provider}; install one that was built with it, or name the other cloud"),
    )
}

/// Endpoints that cannot be written down: no patience mends them.
fn endpoints(config: &Config) -> Result<(), ConfigError> {
    for (key, _, text) in config.cloud.endpoints() {
        text.parse::<Endpoint>().map_err(|e| config.refuse(key, e.to_string()))?;
    }
    Ok(())
}

/// A key file without a key: the first call would tell it, too, but not where it stands.
fn key_file(config: &Config) -> Result<(), ConfigError> {
    let Some(path) = &config.cloud.credentials_file else { return Ok(()) };
    let refuse = |cause: String| {
        config.refuse(
            "cloud.credentialsFile",
            format!(
                "{path}: {cause}; a JSON object with accessKeyId and accessKeySecret is expected"
            ),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    written_key(&text).map(drop).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused<C: Client>(cases: &[(&str, &str)]) {
        for (text, place) in cases {
            let mut config = Config::parse(text, "f").unwrap();
            let said = match connect::<C>(&mut config).await {
                Err(e) => format!("{e:#}"),
                Ok((_, instance)) => panic!("{text:?} is accepted, as {instance}"),
            };
            assert!(said.starts_with(&format!("configuration f: {place}: ")), "{said}");
        }
    }

    #[cfg(feature = "aliyun")]
    #[tokio::test]
    async fn what_cannot_be_trusted_or_reached_is_refused_at_once_by_file_line_and_key() {
        refused::<tideway_cloud_aliyun::AliyunCloud>(&[
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
        ])
        .await;
    }

    #[cfg(feature = "aliyun")]
    #[tokio::test]
    async fn a_file_without_a_key_is_refused_at_once_and_not_at_the_first_call() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("none", None, "No such file"),
            ("torn", Some(r#"{"accessKeyId": "id", "accessKeySecret": "hush"#), "line 1 column"),
            ("half", Some(r#"{"accessKeyId": "id"}"#), "it has no accessKeySecret"),
            ("blank", Some(r#"{"AccessKeyId": "", "AccessKeySecret": "hush"}"#), "no accessKeyId"),
            ("list", Some(r#"["hush"]"#), "no JSON object at line 1"),
        ];
        for (name, content, why) in cases {
            let file = dir.path().join(name);
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let text = format!("cluster: c\ncloud:\n  credentialsFile: {}\n", file.display());
            let mut config = Config::parse(&text, "f").unwrap();
            let said = connect::<tideway_cloud_aliyun::AliyunCloud>(&mut config).await.unwrap_err();
            let said = format!("{said:#}");
            let begin = "configuration f: line 3: key cloud.credentialsFile: ";
            assert!(said.starts_with(begin) && said.contains(why), "{said}");
            assert!(!said.contains("hush"), "{said}");
        }
    }

    #[cfg(feature = "aliyun")]
    #[tokio::test]
    async fn a_key_file_that_is_being_replaced_does_not_keep_a_node_with_pods_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "cluster: c\ncloud: {{credentialsFile: /nowhere/key, metadataEndpoint: 'http://127.0.0.1:1'}}\npaths: {{journal: {}}}\n",
            dir.path().join("journal.redb").display()
        );
        let mut config = Config::parse(&text, "f").unwrap();
        let known = serde_json::json!({
            "version": 1, "instance": "i-1", "instance_type": "ecs.g6.large", "region": "r",
            "limits": tideway_cloud::known_limits("ecs.g6.large").unwrap(),
            "primary_eni": "eni-1", "primary_mac": "02:00:00:00:00:01",
            "subnets": [], "security_groups": [], "vpc_blocks": [],
        });
        std::fs::write(facts_file(&config), known.to_string()).unwrap();
        let (_cloud, instance) =
            connect::<tideway_cloud_aliyun::AliyunCloud>(&mut config).await.unwrap();
        assert_eq!(instance.as_str(), "i-1");
    }

    #[cfg(feature = "aws")]
    #[tokio::test]
    async fn the_same_is_refused_on_aws() {
        refused::<tideway_cloud_aws::AwsCloud>(&[
            (
                "cluster: c\ncloud:\n  provider: aws\n  ec2Endpoint: ec2.amazonaws.com\n",
                "line 4: key cloud.ec2Endpoint",
            ),
            (
                "cluster: c\ncloud: {provider: aws, metadataEndpoint: \"\"}\n",
                "line 2: key cloud.metadataEndpoint",
            ),
            (
                "cluster: c\ncloud: {provider: aws, region: r, caFile: /nowhere/ca.pem}\n",
                "line 2: key cloud.caFile",
            ),
        ])
        .await;
    }
}
