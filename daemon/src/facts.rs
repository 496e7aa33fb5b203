//! What the daemon must know of its node before it can serve: identity, limits, subnets. Asked from metadata service and
//! cloud, kept in a file beside the journal, so that a restart works with both of them down.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_cloud::{Cloud, CloudError, EniFilter, EniView, ErrorKind, SubnetView, known_limits};
use tideway_model::{
    Config, ConfigError, EniId, InstanceId, Limits, Mac, SecurityGroupId, SubnetId, SubnetPlan,
};

use tokio::time::Instant;

use crate::assemble::tags;

/// How long a first start (nothing cached) waits for the cloud.
const FIRST_START: Duration = Duration::from_mins(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// How often the cloud is asked for limits before what is known of the type is taken.
const LIMIT_TRIES: u32 = 3;

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
    /// Subnets of our ENIs that the configuration does not name any more: their pods go on, new ENIs go elsewhere.
    #[serde(default)]
    pub former_subnets: Vec<SubnetPlan>,
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

impl Facts {
    /// A subnet in which we may have ENIs.
    pub fn subnet(&self, id: &SubnetId) -> Option<&SubnetPlan> {
        self.subnets.iter().chain(&self.former_subnets).find(|subnet| subnet.id == *id)
    }
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
    let former = cached.as_ref().map(|facts| (facts.instance_type.clone(), facts.limits));
    let end = Instant::now() + patience;
    let asked = persist(cloud, config, instance, former.as_ref(), end);
    let asked = tokio::time::timeout(patience, asked).await;
    match (asked, cached) {
        (Ok(Ok(facts)), _) => {
            // They help a later start without the cloud; this one does not need them.
            if let Err(e) = store(cache, &facts) {
                tracing::warn!(file = %cache.display(), error = %e, "the node's facts cannot be kept");
            }
            Ok(facts)
        }
        // What the configuration asks for is impossible, whatever the last run was told.
        (Ok(Err(e)), _) if e.is::<ConfigError>() => Err(e),
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

/// Asks until the answer is no passing failure, or until the end.
async fn persist<C: Cloud>(
    cloud: &C,
    config: &Config,
    instance: &InstanceId,
    former: Option<&(String, Limits)>,
    end: Instant,
) -> anyhow::Result<Facts> {
    loop {
        match ask(cloud, config, instance, former).await {
            Err(Trouble::Cloud(e)) if e.is_retryable() && Instant::now() + PAUSE < end => {
                tracing::warn!(error = %e, "the cloud does not tell about this node yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(Trouble::Cloud(e)) => {
                let remedy = e.remedy();
                return Err(anyhow::Error::new(e)
                    .context(format!("the cloud does not tell about this node ({remedy})")));
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

/// Limits of the instance's type as it is now: a stop and a start may have changed it. When the cloud tells everything but
/// these, those of the last run are taken if the type is the same, else the built-in ones.
async fn limits<C: Cloud>(
    cloud: &C,
    instance_type: &str,
    former: Option<&(String, Limits)>,
) -> Result<Limits, Trouble> {
    let mut tries = 1;
    let error = loop {
        match cloud.limits(instance_type).await {
            Ok(limits) => return Ok(limits),
            Err(e) if e.is_retryable() && tries < LIMIT_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(e) => break e,
        }
    };
    let same = former.filter(|(name, _)| name == instance_type).map(|(_, limits)| *limits);
    let (known, whose) = match same {
        Some(limits) => (Some(limits), "the last run"),
        None => (known_limits(instance_type), "the built-in table"),
    };
    if let Some(known) = known {
        tracing::warn!(%error, remedy = %error.remedy(), instance_type, whose, "the cloud does not tell the limits of the instance type; those that are known are taken until the next start");
        return Ok(known);
    }
    let message = format!(
        "{}; the limits of instance type {instance_type} are not built in, so the node waits for the cloud's",
        error.message
    );
    Err(CloudError { message, ..error }.into())
}

async fn ask<C: Cloud>(
    cloud: &C,
    config: &Config,
    instance: &InstanceId,
    former: Option<&(String, Limits)>,
) -> Result<Facts, Trouble> {
    let view = cloud.instance(instance).await?;
    let limits = limits(cloud, &view.instance_type, former).await?;
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
    let tags = tags(config, instance);
    let ours = |eni: &&EniView| tags.iter().all(|(key, value)| eni.tags.get(key) == Some(value));
    let mut former: Vec<SubnetId> =
        enis.iter().filter(ours).map(|eni| eni.subnet.clone()).collect();
    former.retain(|id| !ids.contains(id));
    former.sort();
    former.dedup();
    let mut subnets = Vec::new();
    let mut room = BTreeMap::new();
    for id in &ids {
        let found = usable(config, id, subnet(cloud, id).await?, &view.zone);
        let found = found.map_err(|e| Trouble::Other(e.into()))?;
        subnets.push(found.plan);
        room.insert(id.clone(), found.available);
    }
    let mut former_subnets = Vec::new();
    for id in &former {
        former_subnets.extend(subnet(cloud, id).await?.map(|found| found.plan));
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
        former_subnets,
        security_groups,
        vpc_blocks: view.vpc_blocks,
        region: config.cloud.region.clone().unwrap_or_default(),
        zone: view.zone,
        room,
    })
}

/// One subnet; none when the cloud does not know it.
async fn subnet<C: Cloud>(cloud: &C, id: &SubnetId) -> Result<Option<SubnetView>, CloudError> {
    match cloud.subnets(std::slice::from_ref(id)).await {
        Ok(seen) => Ok(seen.into_iter().find(|s| s.plan.id == *id)),
        Err(e) if e.kind == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A subnet of the configuration in which this instance's ENIs can be.
fn usable(
    config: &Config,
    id: &SubnetId,
    found: Option<SubnetView>,
    zone: &str,
) -> Result<SubnetView, ConfigError> {
    let Some(found) = found else {
        let why = format!("subnet {id} does not exist in this region; name one that does");
        return Err(config.refuse("eni.subnets", why));
    };
    if found.zone != zone {
        let why = format!(
            "subnet {id} lies in zone {}, but this instance in {zone}; an ENI must be in the instance's zone: name a subnet there",
            found.zone
        );
        return Err(config.refuse("eni.subnets", why));
    }
    if let Some(family) = config.families.list().iter().find(|f| found.plan.block(**f).is_none()) {
        let why = format!(
            "subnet {id} has no {family} block; give it one, name another in eni.subnets, or ask for other families"
        );
        return Err(config.refuse("families", why));
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use tideway_cloud_aliyun::{AccessKey, AliyunCloud, AliyunConfig, CredentialSource, Secret};

    use super::*;
    use crate::clock;

    fn refused(text: &str, zone: &str) -> String {
        let config = Config::parse(text, "f").unwrap();
        let id = SubnetId::try_from("vsw-1").unwrap();
        let plan = SubnetPlan {
            id: id.clone(),
            ipv4: Some("10.0.0.0/24".parse().unwrap()),
            ipv6: None,
            gateway_v4: None,
            gateway_v6: None,
        };
        let there = SubnetView { plan, zone: "zone-h".into(), available: 9 };
        let asked = config.eni.subnets.first().unwrap_or(&id);
        usable(&config, asked, (*asked == id).then_some(there), zone).unwrap_err().to_string()
    }

    /// The cloud is away: nobody listens there.
    fn away() -> AliyunCloud {
        let key = AccessKey { id: "k".into(), secret: Secret::new("s"), token: None };
        let config = AliyunConfig {
            ecs_endpoint: Some("http://127.0.0.1:1".into()),
            ..AliyunConfig::new("r", CredentialSource::Fixed(key))
        };
        AliyunCloud::new(config, clock::wall).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn limits_come_from_the_last_run_of_the_same_type_else_from_the_table_else_nowhere() {
        let cloud = away();
        let raised = Limits { enis: 9, ..known_limits("ecs.g6.xlarge").unwrap() };
        let former = ("ecs.g6.xlarge".to_owned(), raised);
        let same = limits(&cloud, "ecs.g6.xlarge", Some(&former)).await;
        assert_eq!(same.ok(), Some(raised));
        // Stopped, changed to a smaller type, started.
        let other = limits(&cloud, "ecs.g6.large", Some(&former)).await;
        assert_eq!(other.ok(), known_limits("ecs.g6.large"));
        let unknown = limits(&cloud, "ecs.g99.large", Some(&former)).await;
        let Err(Trouble::Cloud(error)) = unknown else {
            panic!("limits of a type that nobody knows")
        };
        assert!(error.is_retryable() && error.message.contains("ecs.g99.large"), "{error}");
    }

    #[test]
    fn a_subnet_that_cannot_be_used_is_refused_by_file_line_and_key() {
        let said = refused("cluster: c\neni:\n  subnets: [vsw-2]\n", "zone-h");
        assert!(
            said.starts_with("configuration f: line 3: key eni.subnets: subnet vsw-2"),
            "{said}"
        );
        let said = refused("cluster: c\neni: {subnets: [vsw-1]}\n", "zone-i");
        assert!(said.starts_with("configuration f: line 2: key eni.subnets: "), "{said}");
        assert!(said.contains("zone-h") && said.contains("zone-i"), "{said}");
        let said = refused("cluster: c\n\nfamilies: DualStack\n", "zone-h");
        assert!(said.starts_with("configuration f: line 3: key families: "), "{said}");
        let said = refused("cluster: c\n", "zone-i");
        assert!(said.starts_with("configuration f: not in the file: key eni.subnets: "), "{said}");
    }
}
