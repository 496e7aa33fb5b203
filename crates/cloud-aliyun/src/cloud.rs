//! [`AliyunCloud`]: the cloud trait over requests, signatures, sender and codecs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use ipnet::IpNet;
use tideway_cloud::{
    Cloud, CloudError, CreateEni, EniFilter, EniView, ErrorKind, InstanceView, SubnetView,
};
use tideway_model::{EniId, Family, InstanceId, Limits, SubnetId, UnixMillis, config::CloudConfig};

use crate::{
    Api, ApiRequest, CredentialError, CredentialSource, Credentials, Endpoint, InvalidEndpoint,
    Metadata, MetadataError, Timeouts, TokenService,
    codec::{Senseless, address, eni, instance, network},
    metadata, refusal,
    send::{Sender, TrustError},
    sign,
    skew::Skew,
};

/// Reading on would never end.
const TOKEN_TWICE: &str = "a page token came twice";

/// The wall clock, as an argument.
pub type Clock = fn() -> UnixMillis;

/// The machine's wall clock.
pub fn system_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How to reach the cloud.
#[derive(Debug, Clone)]
pub struct AliyunConfig {
    /// Region, such as `cn-hangzhou`.
    pub region: String,
    /// Endpoint of ECS; default: by region.
    pub ecs_endpoint: Option<String>,
    /// Endpoint of VPC; default: by region.
    pub vpc_endpoint: Option<String>,
    /// PEM file of a certificate authority beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Base URL of the metadata service; default: [`metadata::ADDRESS`].
    pub metadata_endpoint: Option<String>,
    /// Where keys come from.
    pub credentials: CredentialSource,
    /// Time-outs and limits.
    pub timeouts: Timeouts,
}

impl AliyunConfig {
    /// The public cloud in a region.
    pub fn new(region: &str, credentials: CredentialSource) -> Self {
        Self {
            region: region.to_owned(),
            ecs_endpoint: None,
            vpc_endpoint: None,
            ca_file: None,
            metadata_endpoint: None,
            credentials,
            timeouts: Timeouts::default(),
        }
    }
}

/// Why the client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An endpoint is wrong.
    #[error("cloud configuration: {0}")]
    Endpoint(#[from] InvalidEndpoint),
    /// Nobody to trust.
    #[error("cloud configuration: {0}")]
    Trust(#[from] TrustError),
    /// No credentials.
    #[error("cloud configuration: {0}")]
    Credentials(#[from] CredentialError),
    /// The region was not named and not found out.
    #[error(
        "cloud configuration: cloud.region is not set, and the metadata service did not tell it: {0}"
    )]
    Region(#[source] MetadataError),
}

/// A client of Alibaba Cloud. Share it by `Arc`; calls run side by side.
pub struct AliyunCloud {
    region: String,
    ecs: Endpoint,
    vpc: Endpoint,
    sender: Sender,
    credentials: Credentials,
    metadata: Arc<Metadata>,
    clock: Clock,
    skew: Skew,
    calls: Mutex<BTreeMap<String, u64>>,
}

impl fmt::Debug for AliyunCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AliyunCloud")
            .field("region", &self.region)
            .field("ecs", &self.ecs)
            .field("vpc", &self.vpc)
            .finish_non_exhaustive()
    }
}

impl AliyunCloud {
    /// A client. Nothing is sent yet.
    pub fn new(config: AliyunConfig, clock: Clock) -> Result<Self, SetupError> {
        let endpoint = |given: Option<&String>, api: Api| match given {
            Some(text) => text.parse(),
            None => api.endpoint(&config.region),
        };
        let base = config.metadata_endpoint.as_deref().unwrap_or(metadata::ADDRESS);
        let metadata = Arc::new(Metadata::new(base)?);
        let sender = Sender::new(config.timeouts, config.ca_file.as_deref())?;
        let tokens = TokenService { region: config.region.clone(), sender: sender.clone() };
        Ok(Self {
            ecs: endpoint(config.ecs_endpoint.as_ref(), Api::Ecs)?,
            vpc: endpoint(config.vpc_endpoint.as_ref(), Api::Vpc)?,
            sender,
            credentials: Credentials::new(config.credentials, Arc::clone(&metadata), tokens),
            region: config.region,
            metadata,
            clock,
            skew: Skew::default(),
            calls: Mutex::new(BTreeMap::new()),
        })
    }

    /// A client as the daemon's configuration wants it. Asks the metadata service for the region when none is named, and
    /// looks for keys in file, environment and role, in this order.
    pub async fn from_config(config: &CloudConfig, clock: Clock) -> Result<Self, SetupError> {
        let file = config.credentials_file.as_ref().map(PathBuf::from);
        let mut credentials = CredentialSource::discover(file.as_deref())?;
        if let (Some(at), CredentialSource::WebIdentity(who)) =
            (&config.sts_endpoint, &mut credentials)
        {
            who.endpoint = Some(at.clone());
        }
        let base = config.metadata_endpoint.as_deref().unwrap_or(metadata::ADDRESS);
        let region = match &config.region {
            Some(region) => region.clone(),
            None => Metadata::new(base)?.region().await.map_err(SetupError::Region)?,
        };
        let config = AliyunConfig {
            ecs_endpoint: config.ecs_endpoint.clone(),
            vpc_endpoint: config.vpc_endpoint.clone(),
            ca_file: config.ca_file.as_ref().map(PathBuf::from),
            metadata_endpoint: config.metadata_endpoint.clone(),
            ..AliyunConfig::new(&region, credentials)
        };
        Self::new(config, clock)
    }

    /// The metadata service of this instance.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Requests sent since the start, by action; pages count one by one.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one request and gives the body of a success.
    async fn call(&self, request: &ApiRequest) -> Result<Bytes, CloudError> {
        let now = self.skew.corrected((self.clock)());
        let no_key = |e: CredentialError| {
            refusal::own(request, ErrorKind::Credentials, "NoCredentials", e.to_string())
        };
        let held = self.credentials.key(now).await.map_err(no_key)?;
        let endpoint = match request.api {
            Api::Ecs => &self.ecs,
            Api::Vpc => &self.vpc,
        };
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let http = sign::signed(request, endpoint, &held.key, &sign::acs_date(now), &nonce)
            .map_err(|e| refusal::own(request, ErrorKind::Invalid, "Unwritable", e.to_string()))?;
        self.count(request.action);
        let answer = self.sender.send(http).await.map_err(|e| refusal::unanswered(request, &e))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let mut error = refusal::refused(request, &answer, &held.key);
        if refusal::is_about_time(&error.code) {
            if let Some(said) = self.skew.learn((self.clock)(), &answer.headers) {
                tracing::warn!("{said}");
                error.message.extend(["; ", &said]);
            }
        } else if error.kind == ErrorKind::Credentials {
            self.credentials.refused(&held);
        }
        Err(error)
    }

    async fn decoded<T>(
        &self,
        request: &ApiRequest,
        decode: impl FnOnce(&[u8]) -> Result<T, Senseless> + Send,
    ) -> Result<T, CloudError> {
        let body = self.call(request).await?;
        decode(&body).map_err(|e| refusal::senseless(request, e.to_string()))
    }

    /// As [`Self::decoded`], for answers that are a list with the one thing asked for.
    async fn listed<T>(
        &self,
        request: &ApiRequest,
        what: &str,
        decode: impl FnOnce(&[u8]) -> Result<Option<T>, Senseless> + Send,
    ) -> Result<T, CloudError> {
        self.decoded(request, decode).await?.ok_or_else(|| {
            let text = format!("{what} is not in region {} (cloud.region)", self.region);
            refusal::own(request, ErrorKind::NotFound, "NotListed", text)
        })
    }

    fn count(&self, action: &str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let n = calls.entry(action.to_owned()).or_default();
        *n = n.saturating_add(1);
    }

    /// All pages of one describe.
    async fn pages(
        &self,
        filter: &EniFilter,
        ids: &[EniId],
        found: &mut BTreeMap<EniId, EniView>,
    ) -> Result<(), CloudError> {
        let mut tokens = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let request = eni::describe(&self.region, filter, ids, token.as_deref());
            let page = self.decoded(&request, eni::decode_page).await?;
            // A list that changes while it is read may show an ENI on two pages.
            found.extend(page.enis.into_iter().map(|eni| (eni.id.clone(), eni)));
            let Some(next) = page.next_token else { return Ok(()) };
            if !tokens.insert(next.clone()) {
                return Err(refusal::senseless(&request, TOKEN_TWICE));
            }
            token = Some(next);
        }
    }

    /// All pages of the instances that exist of these.
    async fn instance_pages(
        &self,
        ids: &[InstanceId],
        found: &mut BTreeSet<InstanceId>,
    ) -> Result<(), CloudError> {
        let mut tokens = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let request = instance::describe_some(&self.region, ids, token.as_deref());
            let (page, next) = self.decoded(&request, instance::decode_ids).await?;
            found.extend(page);
            let Some(next) = next else { return Ok(()) };
            if !tokens.insert(next.clone()) {
                return Err(refusal::senseless(&request, TOKEN_TWICE));
            }
            token = Some(next);
        }
    }

    /// Gives batches back, one after the other; each is a request with the number of its addresses or prefixes.
    async fn unassign_batches(
        &self,
        batches: impl Iterator<Item = (ApiRequest, usize)> + Send,
    ) -> Result<(), CloudError> {
        for (done, (request, size)) in batches.enumerate() {
            self.unassign_batch(&request, size).await.map_err(|e| {
                let kind = if done == 0 { e.kind } else { ErrorKind::Unknown };
                CloudError { kind, ..e }
            })?;
        }
        Ok(())
    }

    /// Gives one batch of addresses back. `InvalidIp.IpUnassigned` is success for a single address; in a batch it leaves
    /// open what became of the others.
    async fn unassign_batch(&self, request: &ApiRequest, size: usize) -> Result<(), CloudError> {
        match self.call(request).await {
            Err(e) if e.code == "InvalidIp.IpUnassigned" && size == 1 => Ok(()),
            Err(e) if e.code == "InvalidIp.IpUnassigned" => {
                Err(CloudError { kind: ErrorKind::Unknown, ..e })
            }
            other => other.map(drop),
        }
    }
}

impl Cloud for AliyunCloud {
    async fn instance(&self, id: &InstanceId) -> Result<InstanceView, CloudError> {
        let request = instance::describe(&self.region, id);
        let what = format!("instance {id}");
        let found = self.listed(&request, &what, |body| instance::decode(body, id)).await?;
        let request = network::describe_vpc(&self.region, &found.vpc);
        let what = format!("VPC {}", found.vpc);
        let decode = |body: &[u8]| network::decode_vpc_blocks(body, &found.vpc);
        let vpc_blocks = self.listed(&request, &what, decode).await?;
        Ok(InstanceView {
            id: id.clone(),
            instance_type: found.instance_type,
            zone: found.zone,
            vpc: found.vpc,
            vpc_blocks,
        })
    }

    async fn existing(
        &self,
        ids: &BTreeSet<InstanceId>,
    ) -> Result<BTreeSet<InstanceId>, CloudError> {
        let all: Vec<InstanceId> = ids.iter().cloned().collect();
        let mut found = BTreeSet::new();
        for ids in all.chunks(instance::IDS_PER_CALL) {
            self.instance_pages(ids, &mut found).await?;
        }
        Ok(found)
    }

    async fn limits(&self, instance_type: &str) -> Result<Limits, CloudError> {
        let request = instance::describe_type(&self.region, instance_type);
        let what = format!("instance type {instance_type}");
        let decode = |body: &[u8]| instance::decode_limits(body, instance_type);
        self.listed(&request, &what, decode).await
    }

    async fn enis(&self, filter: &EniFilter) -> Result<Vec<EniView>, CloudError> {
        let mut found = BTreeMap::new();
        if filter.ids.is_empty() {
            self.pages(filter, &[], &mut found).await?;
        }
        for ids in filter.ids.chunks(eni::IDS_PER_CALL) {
            self.pages(filter, ids, &mut found).await?;
        }
        Ok(found.into_values().collect())
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<SubnetView>, CloudError> {
        let mut subnets = Vec::new();
        for id in ids {
            let request = network::describe_subnet(&self.region, id);
            let what = format!("vSwitch {id}");
            subnets.push(self.listed(&request, &what, network::decode_subnet).await?);
        }
        Ok(subnets)
    }

    async fn create(&self, request: &CreateEni) -> Result<EniView, CloudError> {
        let call = eni::create(&self.region, request);
        self.decoded(&call, |body| eni::decode_created(body, request)).await
    }

    async fn attach(&self, eni: &EniId, instance: &InstanceId) -> Result<(), CloudError> {
        self.call(&eni::attach(&self.region, eni, instance)).await.map(drop)
    }

    async fn detach(&self, eni: &EniId, instance: &InstanceId) -> Result<(), CloudError> {
        self.call(&eni::detach(&self.region, eni, instance)).await.map(drop)
    }

    async fn delete(&self, eni: &EniId) -> Result<(), CloudError> {
        self.call(&eni::delete(&self.region, eni)).await.map(drop)
    }

    /// One call: more than the API gives at once (49 IPv4, 10 IPv6) is cut to that.
    async fn assign(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
        token: &str,
    ) -> Result<Vec<IpAddr>, CloudError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let request = address::assign(&self.region, eni, family, count, token);
        self.decoded(&request, |body| address::decode_assigned(body, family)).await
    }

    /// As many calls as the API's batches need. When a later batch fails after an earlier one went through, the outcome of
    /// the whole is [`ErrorKind::Unknown`]: it must be read back.
    async fn unassign(&self, eni: &EniId, addresses: &[IpAddr]) -> Result<(), CloudError> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for address in addresses {
            match address {
                IpAddr::V4(ip) => v4.push(*ip),
                IpAddr::V6(ip) => v6.push(*ip),
            }
        }
        let v4 = v4.chunks(address::V4_PER_CALL.into());
        let v4 = v4.map(|ips| (address::unassign_v4(&self.region, eni, ips), ips.len()));
        let v6 = v6.chunks(address::V6_PER_CALL.into());
        let v6 = v6.map(|ips| (address::unassign_v6(&self.region, eni, ips), ips.len()));
        self.unassign_batches(v4.chain(v6)).await
    }

    /// One call: more than ten are cut to that. The API has one code for a full and for a fragmented vSwitch.
    async fn assign_prefixes(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
        token: &str,
    ) -> Result<Vec<IpNet>, CloudError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let request = address::assign_prefixes(&self.region, eni, family, count, token);
        self.decoded(&request, |body| address::decode_assigned_prefixes(body, family)).await
    }

    /// In batches, as [`Self::unassign`].
    async fn unassign_prefixes(&self, eni: &EniId, prefixes: &[IpNet]) -> Result<(), CloudError> {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for prefix in prefixes {
            match prefix {
                IpNet::V4(net) => v4.push(*net),
                IpNet::V6(net) => v6.push(*net),
            }
        }
        let size = usize::from(address::PREFIXES_PER_CALL);
        let v4 = v4.chunks(size);
        let v4 = v4.map(|p| (address::unassign_prefixes_v4(&self.region, eni, p), p.len()));
        let v6 = v6.chunks(size);
        let v6 = v6.map(|p| (address::unassign_prefixes_v6(&self.region, eni, p), p.len()));
        self.unassign_batches(v4.chain(v6)).await
    }
}
