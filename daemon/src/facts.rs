//! What the daemon must know of its node before it can serve: identity, limits, subnets. Asked from metadata service and
//! cloud, kept in a file beside the journal, so that a restart works with both of them down.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path, time::Duration};

use anyhow::Context as _;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_cloud::{Cloud, CloudError, EniFilter};
use tideway_model::{
    Config, EniId, InstanceId, Limits, Mac, SecurityGroupId, SubnetId, SubnetPlan,
};

/// How long a first start (nothing cached) waits for the cloud.
const FIRST_START: Duration = Duration::from_mins(1);

/// The facts.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Facts {
    /// Version of this file's shape.
    pub version: u32,
    /// This instance.
    pub instance: InstanceId,
    /// Its type.
    pub instance_type: String,
    /// Limits of the type.
    pub limits: Limits,
    /// Primary ENI.
    pub primary_eni: EniId,
    /// Its MAC.
    pub primary_mac: Mac,
    /// Subnets for new ENIs, in order of preference.
    pub subnets: Vec<SubnetPlan>,
    /// Security groups for new ENIs.
    pub security_groups: Vec<SecurityGroupId>,
    /// Blocks of the VPC.
    pub vpc_blocks: Vec<IpNet>,
    /// Region; empty in the file of an older version.
    #[serde(default)]
    pub region: String,
    /// Zone of the instance; empty in the file of an older version.
    #[serde(default)]
    pub zone: String,
    /// Addresses that each subnet could still give when it was asked.
    #[serde(default)]
    pub room: BTreeMap<SubnetId, u64>,
}

/// Shape of the file.
const VERSION: u32 = 1;

/// Asks the cloud; without an answer, the facts of the last run of the same instance are taken.
pub async fn gather<C: Cloud>(
    cloud: &C,
    config: &Config,
    instance: &InstanceId,
    cache: &Path,
) -> anyhow::Result<Facts> {
    let cached =
        load(cache).filter(|facts| facts.instance == *instance && facts.version == VERSION);
    let patience = if cached.is_some() { Duration::from_secs(5) } else { FIRST_START };
    let asked = tokio::time::timeout(patience, persist(cloud, config, instance)).await;
    match (asked, cached) {
        (Ok(Ok(facts)), _) => {
            store(cache, &facts).with_context(|| {
                format!("the node's facts cannot be kept in {}", cache.display())
            })?;
            Ok(facts)
        }
        (failed, Some(facts)) => {
            let cause = match failed {
                Ok(Err(e)) => format!("{e:#}"),
                _ => "no answer".to_owned(),
            };
            tracing::warn!(%cause, "the cloud does not tell about this node; going on with what the last run knew");
            Ok(facts)
        }
        (Ok(Err(e)), None) => Err(e),
        (Err(_elapsed), None) => {
            anyhow::bail!(
                "the cloud did not answer within {} s; check endpoint, route and credentials",
                patience.as_secs()
            )
        }
    }
}

/// Asks until the answer is no passing failure.
async fn persist<C: Cloud>(
    cloud: &C,
    config: &Config,
    instance: &InstanceId,
) -> anyhow::Result<Facts> {
    loop {
        match ask(cloud, config, instance).await {
            Err(Trouble::Cloud(e)) if e.is_retryable() => {
                tracing::warn!(error = %e, "the cloud does not tell about this node yet");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Err(Trouble::Cloud(e)) => {
                let remedy = e.remedy();
                return Err(anyhow::Error::new(e)
                    .context(format!("the cloud refuses to tell about this node ({remedy})")));
            }
            Err(Trouble::Other(e)) => return Err(e),
            Ok(facts) => return Ok(facts),
        }
    }
}

enum Trouble {
    Cloud(CloudError),
    Other(anyhow::Error),
}

impl From<CloudError> for Trouble {
    fn from(e: CloudError) -> Self {
        Self::Cloud(e)
    }
}

async fn ask<C: Cloud>(
    cloud: &C,
    config: &Config,
    instance: &InstanceId,
) -> Result<Facts, Trouble> {
    let view = cloud.instance(instance).await?;
    let limits = cloud.limits(&view.instance_type).await?;
    let filter = EniFilter { instance: Some(instance.clone()), ..EniFilter::default() };
    let enis = cloud.enis(&filter).await?;
    let primary = enis.iter().find(|eni| eni.primary).ok_or_else(|| {
        Trouble::Other(anyhow::anyhow!(
            "the cloud shows no primary ENI for {instance}; it may not be attached yet"
        ))
    })?;
    let mut ids = config.eni.subnets.clone();
    if ids.is_empty() {
        ids.push(primary.subnet.clone());
    }
    let seen = cloud.subnets(&ids).await?;
    let mut subnets = Vec::new();
    let mut room = BTreeMap::new();
    for id in &ids {
        let found = seen.iter().find(|s| s.plan.id == *id).ok_or_else(|| {
            Trouble::Other(anyhow::anyhow!(
                "subnet {id} does not exist; correct eni.subnets in the configuration"
            ))
        })?;
        if found.zone != view.zone {
            return Err(Trouble::Other(anyhow::anyhow!(
                "subnet {id} lies in zone {}, but this instance in {}; an ENI must be in the instance's zone: correct eni.subnets",
                found.zone,
                view.zone
            )));
        }
        for family in config.families.list() {
            if found.plan.block(*family).is_none() {
                return Err(Trouble::Other(anyhow::anyhow!(
                    "subnet {id} has no {family} block, but the configuration asks for it; give it one or change `families`"
                )));
            }
        }
        subnets.push(found.plan.clone());
        room.insert(id.clone(), found.available);
    }
    let mut security_groups = config.eni.security_groups.clone();
    if security_groups.is_empty() {
        security_groups.clone_from(&primary.security_groups);
    }
    Ok(Facts {
        version: VERSION,
        instance: instance.clone(),
        instance_type: view.instance_type,
        limits,
        primary_eni: primary.id.clone(),
        primary_mac: primary.mac,
        subnets,
        security_groups,
        vpc_blocks: view.vpc_blocks,
        region: config.cloud.region.clone().unwrap_or_default(),
        zone: view.zone,
        room,
    })
}

/// The facts of the last run, if there was one.
pub fn load(cache: &Path) -> Option<Facts> {
    serde_json::from_slice(&fs::read(cache).ok()?).ok()
}

fn store(cache: &Path, facts: &Facts) -> std::io::Result<()> {
    if let Some(dir) = cache.parent() {
        fs::create_dir_all(dir)?;
    }
    let temporary = cache.with_extension("new");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(facts)?)?;
    file.sync_all()?;
    fs::rename(&temporary, cache)
}
