//! What a client of a cloud must do, whichever cloud it is: tests over [`Cloud`] against the lab, another program that speaks
//! the same wire and shares no code with the client. The tests of each client include these files and run them on their own
//! cloud; `provider`, beside them, makes the client and says what differs. What only one cloud has is tested there.

mod access;
mod faults;
mod life;
mod permissions;
mod web_identity;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use tideway_cloud::{AccessKey, Cloud, CreateEni, EniFilter, EniStatus, EniView, Secret};
use tideway_lab::{Lab, LabConfig, LatencyMode, description::InstanceDescription};
use tideway_model::{EniId, InstanceId, UnixMillis, names::TAG_CREATED};

use crate::provider;

pub(crate) use access::of_node;

/// What stands in the tag of every ENI that these tests make.
pub(crate) const CREATED: UnixMillis = UnixMillis(1_795_868_640_000);

/// How a client gets to the lab.
pub(crate) struct Access {
    pub(crate) region: String,
    pub(crate) endpoint: String,
    pub(crate) metadata: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) key: Key,
    pub(crate) clock: fn() -> UnixMillis,
}

/// Where its key comes from.
pub(crate) enum Key {
    Fixed(AccessKey),
    InstanceRole,
    /// From the lab's own token service.
    WebIdentity {
        role: String,
        token_file: PathBuf,
    },
}

impl Access {
    /// By the lab's key.
    pub(crate) fn to(lab: &Lab) -> Self {
        let about = lab.description();
        Self {
            region: about.region.clone(),
            endpoint: lab.endpoint().to_owned(),
            metadata: lab.metadata_endpoint("n1").map(str::to_owned),
            ca_file: None,
            key: Key::Fixed(AccessKey {
                id: about.credentials.access_key_id.clone(),
                secret: Secret::new(&about.credentials.access_key_secret),
                token: None,
            }),
            clock: provider::system_clock,
        }
    }

    pub(crate) fn by(key: Key, lab: &Lab) -> Self {
        Self { key, ..Self::to(lab) }
    }
}

/// A lab in which nothing takes time, and its first worker.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) client: provider::Client,
    pub(crate) instance: InstanceId,
}

pub(crate) fn lab_config() -> LabConfig {
    LabConfig { latency: LatencyMode::None, ..LabConfig::of(provider::KIND) }
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::with(lab_config())
    }

    pub(crate) fn with(config: LabConfig) -> Self {
        let lab = Lab::start(config).unwrap();
        let client = provider::client(Access::to(&lab));
        let instance = worker(&lab).id.as_str().try_into().unwrap();
        Self { lab, client, instance }
    }

    /// The client, as everything above the clouds sees it.
    pub(crate) fn cloud(&self) -> &(impl Cloud + fmt::Debug) {
        &self.client
    }

    /// A create in the first subnet.
    pub(crate) fn wish(&self, token: &str) -> CreateEni {
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

    /// A create without more than the primary address.
    pub(crate) fn small_wish(&self, token: &str) -> CreateEni {
        CreateEni { secondary_v4: 0, v6: 0, ..self.wish(token) }
    }

    /// The ENIs of these tests.
    pub(crate) fn ours(&self) -> EniFilter {
        let mut tags = self.wish("").tags;
        tags.retain(|key, _| key == "tideway.dev/cluster");
        EniFilter { tags, ..EniFilter::default() }
    }

    pub(crate) async fn view(&self, eni: &EniId) -> Option<EniView> {
        let filter = EniFilter { ids: vec![eni.clone()], ..EniFilter::default() };
        self.cloud().enis(&filter).await.unwrap().pop()
    }

    /// Waits until the cloud shows this state; none: until the ENI is gone.
    pub(crate) async fn until(&self, eni: &EniId, want: Option<EniStatus>) -> Option<EniView> {
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

    /// Creates and attaches.
    pub(crate) async fn attached_as(&self, wish: &CreateEni) -> EniView {
        let eni = self.cloud().create(wish).await.unwrap();
        self.cloud().attach(&eni.id, &self.instance).await.unwrap();
        self.until(&eni.id, Some(EniStatus::InUse)).await.unwrap()
    }

    pub(crate) async fn attached(&self, token: &str) -> EniView {
        self.attached_as(&self.wish(token)).await
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
        let lab = self.lab.endpoint().replace(['/', ':'], "");
        for (n, request) in self.lab.requests().iter().enumerate() {
            let file = PathBuf::from(&folder).join(format!("{lab}-{}-{n}.json", request.name));
            std::fs::write(file, serde_json::to_string_pretty(request).unwrap()).unwrap();
        }
    }
}

pub(crate) fn worker(lab: &Lab) -> InstanceDescription {
    lab.description().instances.iter().find(|i| i.name == "n1").unwrap().clone()
}
