//! The client against the lab: another program that speaks the same wire and shares no code with it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    missing_docs,
    reason = "tests"
)]

mod access;
mod answers;
mod faults;
mod life;
mod permissions;
mod places;
mod server;
mod web_identity;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tideway_cloud::{Cloud, CreateEni, EniFilter, EniStatus, EniView};
use tideway_cloud_aws::{AwsCloud, AwsConfig, CredentialSource, SecretKey, system_clock};
use tideway_lab::{CloudKind, Lab, LabConfig, LatencyMode};
use tideway_model::{EniId, InstanceId, UnixMillis, names::TAG_CREATED};

/// A lab in which nothing takes time, and its first worker.
struct Bench {
    lab: Lab,
    cloud: AwsCloud,
    instance: InstanceId,
}

/// What stands in the tag of every ENI that these tests make.
const CREATED: UnixMillis = UnixMillis(1_795_868_640_000);

fn lab_config() -> LabConfig {
    LabConfig { latency: LatencyMode::None, ..LabConfig::of(CloudKind::Aws) }
}

impl Bench {
    fn start() -> Self {
        Self::with(lab_config())
    }

    fn with(config: LabConfig) -> Self {
        let lab = Lab::start(config).unwrap();
        let cloud = AwsCloud::new(config_for(&lab, key_of(&lab)), system_clock).unwrap();
        let instance = worker(&lab).id.as_str().try_into().unwrap();
        Self { lab, cloud, instance }
    }

    /// A create in the first subnet.
    fn wish(&self, token: &str) -> CreateEni {
        let description = self.lab.description();
        CreateEni {
            subnet: description.vswitches[0].id.as_str().try_into().unwrap(),
            security_groups: vec![description.security_groups[0].id.as_str().try_into().unwrap()],
            secondary_v4: 2,
            v6: 2,
            prefixes_v4: 0,
            prefixes_v6: 0,
            tags: BTreeMap::from([
                ("tideway.dev/cluster".to_owned(), "c 1*~+/=&%é?\\".to_owned()),
                ("tideway.dev/intent".to_owned(), token.to_owned()),
                (TAG_CREATED.to_owned(), CREATED.0.to_string()),
            ]),
            token: token.to_owned(),
        }
    }

    async fn view(&self, eni: &EniId) -> Option<EniView> {
        let filter = EniFilter { ids: vec![eni.clone()], ..EniFilter::default() };
        self.cloud.enis(&filter).await.unwrap().pop()
    }

    /// Waits until the cloud shows this state; none: until the ENI is gone.
    async fn until(&self, eni: &EniId, want: Option<EniStatus>) -> Option<EniView> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let view = self.view(eni).await;
            if view.as_ref().map(|v| v.status) == want {
                return view;
            }
            assert!(Instant::now() < deadline, "{eni} does not become {want:?}: {view:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn attached(&self, token: &str) -> EniView {
        let eni = self.cloud.create(&self.wish(token)).await.unwrap();
        self.cloud.attach(&eni.id, &self.instance).await.unwrap();
        self.until(&eni.id, Some(EniStatus::InUse)).await.unwrap()
    }

    fn calls(&self, action: &str) -> u64 {
        self.cloud.calls().get(action).copied().unwrap_or_default()
    }
}

impl Drop for Bench {
    /// Nothing may ever be given twice or lost. With `TIDEWAY_REQUESTS` the recorded requests are written to that folder,
    /// where an outside judge can sign them again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.lab.verify(), []);
        let Some(folder) = std::env::var_os("TIDEWAY_REQUESTS") else { return };
        for (n, request) in self.lab.requests().iter().enumerate() {
            let name = format!(
                "{}-{}-{n}.json",
                self.lab.endpoint().replace(['/', ':'], ""),
                request.name
            );
            let text = serde_json::to_string_pretty(request).unwrap();
            std::fs::write(std::path::Path::new(&folder).join(name), text).unwrap();
        }
    }
}

fn worker(lab: &Lab) -> tideway_lab::description::InstanceDescription {
    lab.description().instances.iter().find(|i| i.name == "n1").unwrap().clone()
}

fn key_of(lab: &Lab) -> CredentialSource {
    let key = &lab.description().credentials;
    CredentialSource::Fixed(SecretKey {
        id: key.access_key_id.clone(),
        secret: key.access_key_secret.clone(),
        token: None,
    })
}

fn config_for(lab: &Lab, credentials: CredentialSource) -> AwsConfig {
    AwsConfig {
        ec2_endpoint: Some(lab.endpoint().to_owned()),
        metadata_endpoint: lab.metadata_endpoint("n1").map(str::to_owned),
        ..AwsConfig::new(&lab.description().region, credentials)
    }
}
