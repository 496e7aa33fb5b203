//! [`AwsCloud`]: the cloud trait over the SDK's operations.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_config::provider_config::ProviderConfig;
use aws_sdk_ec2::{
    Client, Config,
    config::{
        BehaviorVersion, IdentityCache, Region, SharedHttpClient, StalledStreamProtectionConfig,
        http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_async::time::SharedTimeSource;
use ipnet::IpNet;
use tideway_cloud::{
    Cloud, CloudError, CreateEni, EniFilter, EniView, ErrorKind, InstanceView, SubnetView,
};
use tideway_model::{EniId, Family, InstanceId, Limits, SubnetId, config::CloudConfig};

use crate::{
    Clock, CredentialError, CredentialSource, Endpoint, InvalidEndpoint, Metadata, MetadataError,
    Timeouts, TrustError,
    clock::CloudTime,
    credentials::{LastKey, Remembered},
    http::{self, Calls, Wire},
    metadata,
    places::Places,
    refusal,
};

mod addresses;
mod attachments;
mod lists;

/// How to reach the cloud.
#[derive(Debug, Clone)]
pub struct AwsConfig {
    /// Region, such as `eu-west-1`.
    pub region: String,
    /// Endpoint of EC2; default: by region.
    pub ec2_endpoint: Option<String>,
    /// PEM file of a certificate authority beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Base URL of the metadata service; default: [`metadata::ADDRESS`].
    pub metadata_endpoint: Option<String>,
    /// Where keys come from.
    pub credentials: CredentialSource,
    /// Time-outs and limits.
    pub timeouts: Timeouts,
}

impl AwsConfig {
    /// The public cloud in a region.
    pub fn new(region: &str, credentials: CredentialSource) -> Self {
        Self {
            region: region.to_owned(),
            ec2_endpoint: None,
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

/// A client of EC2. Share it by `Arc`; calls run side by side.
pub struct AwsCloud {
    region: String,
    /// Replaced by one with an empty cache of credentials when the cloud has refused a key.
    client: Mutex<Client>,
    metadata: Metadata,
    time: CloudTime,
    key: LastKey,
    calls: Calls,
    places: Mutex<Places>,
}

impl fmt::Debug for AwsCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCloud").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The settings that the SDK's parts share; none of them looks into the environment or into profiles by itself.
fn shared(http: SharedHttpClient, time: &CloudTime, region: Option<&str>) -> ProviderConfig {
    ProviderConfig::without_region()
        .with_http_client(http)
        .with_time_source(SharedTimeSource::new(time.clone()))
        .with_region(region.map(|region| Region::new(region.to_owned())))
        .with_behavior_version(Some(BehaviorVersion::latest()))
}

fn metadata_client(base: Option<&str>, config: &ProviderConfig) -> Result<Metadata, SetupError> {
    let base: Endpoint = base.unwrap_or(metadata::ADDRESS).parse()?;
    Metadata::new(&base, config).map_err(SetupError::Region)
}

impl AwsCloud {
    /// A client. Nothing is sent yet.
    pub fn new(config: AwsConfig, clock: Clock) -> Result<Self, SetupError> {
        let AwsConfig { region, ec2_endpoint, ca_file, metadata_endpoint, credentials, timeouts } =
            config;
        let http = http::client(ca_file.as_deref())?;
        let time = CloudTime::new(clock);
        let settings = shared(http.clone(), &time, Some(&region));
        let metadata = metadata_client(metadata_endpoint.as_deref(), &settings)?;
        let (key, calls) = (LastKey::default(), Calls::default());
        // One policy owns back-off and the account's budget, and it is not the SDK's.
        let retry = RetryConfig::disabled();
        let limits = TimeoutConfig::builder()
            .connect_timeout(timeouts.connect)
            .operation_timeout(timeouts.call)
            .build();
        let sts = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .http_client(http.clone())
            .time_source(SharedTimeSource::new(time.clone()))
            .retry_config(retry.clone())
            .timeout_config(limits.clone());
        let inner = credentials.provider(&settings, &metadata.client, sts);
        let endpoint = ec2_endpoint.map(|text| text.parse::<Endpoint>()).transpose()?;
        let mut config = Config::builder();
        config.set_endpoint_url(endpoint.map(|endpoint| endpoint.to_string()));
        let config = config
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .credentials_provider(Remembered { inner, last: key.clone() })
            .http_client(http)
            .time_source(SharedTimeSource::new(time.clone()))
            .retry_config(retry)
            .timeout_config(limits)
            // The limit of the whole call covers it.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .interceptor(Wire { calls: calls.clone(), body_limit: timeouts.body_limit })
            .build();
        Ok(Self {
            region,
            client: Mutex::new(Client::from_conf(config)),
            metadata,
            time,
            key,
            calls,
            places: Mutex::default(),
        })
    }

    /// A client as the daemon's configuration wants it. Asks the metadata service for the region when none is named, and
    /// looks for keys in file, environment, web identity and role, in this order.
    pub async fn from_config(config: &CloudConfig, clock: Clock) -> Result<Self, SetupError> {
        let file = config.credentials_file.as_ref().map(PathBuf::from);
        let mut credentials = CredentialSource::discover(file.as_deref())?;
        if let (Some(at), CredentialSource::WebIdentity(who)) =
            (&config.sts_endpoint, &mut credentials)
        {
            who.endpoint = Some(at.clone());
        }
        let ca_file = config.ca_file.as_ref().map(PathBuf::from);
        let region = if let Some(region) = &config.region {
            region.clone()
        } else {
            let settings = shared(http::client(ca_file.as_deref())?, &CloudTime::new(clock), None);
            let metadata = metadata_client(config.metadata_endpoint.as_deref(), &settings)?;
            metadata.region().await.map_err(SetupError::Region)?
        };
        let config = AwsConfig {
            ec2_endpoint: config.ec2_endpoint.clone(),
            ca_file,
            metadata_endpoint: config.metadata_endpoint.clone(),
            ..AwsConfig::new(&region, credentials)
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
        self.calls.counts()
    }

    fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: its answer, or what its failure means.
    async fn sent<T, E>(
        &self,
        action: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> Result<T, CloudError>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let failure = match call.await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let error = refusal::refused(action, &failure, &self.key);
        if error.kind == ErrorKind::Credentials {
            self.time.adjust(failure.raw_response().and_then(|r| r.headers().get("date")));
            self.forget_key();
        }
        Err(error)
    }

    /// Forgets the key that the cloud refused, so that a rotated one is picked up by the next call.
    fn forget_key(&self) {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let config = client.config().to_builder();
        *client = Client::from_conf(config.identity_cache(IdentityCache::lazy().build()).build());
    }

    fn not_listed(&self, action: &str, what: &str) -> CloudError {
        let text = format!("{what} is not in region {} (cloud.region)", self.region);
        refusal::own(action, ErrorKind::NotFound, "NotListed", text)
    }
}

impl Cloud for AwsCloud {
    async fn instance(&self, id: &InstanceId) -> Result<InstanceView, CloudError> {
        self.describe_instance(id).await
    }

    async fn existing(
        &self,
        ids: &BTreeSet<InstanceId>,
    ) -> Result<BTreeSet<InstanceId>, CloudError> {
        self.describe_existing(ids).await
    }

    async fn limits(&self, instance_type: &str) -> Result<Limits, CloudError> {
        self.describe_type(instance_type).await
    }

    async fn enis(&self, filter: &EniFilter) -> Result<Vec<EniView>, CloudError> {
        self.describe_enis(filter).await
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<Vec<SubnetView>, CloudError> {
        self.describe_subnets(ids).await
    }

    async fn create(&self, request: &CreateEni) -> Result<EniView, CloudError> {
        self.create_eni(request).await
    }

    async fn attach(&self, eni: &EniId, instance: &InstanceId) -> Result<(), CloudError> {
        self.attach_eni(eni, instance).await
    }

    async fn detach(&self, eni: &EniId, instance: &InstanceId) -> Result<(), CloudError> {
        self.detach_eni(eni, instance).await
    }

    async fn delete(&self, eni: &EniId) -> Result<(), CloudError> {
        let call = self.client().delete_network_interface().network_interface_id(eni.as_str());
        self.sent("DeleteNetworkInterface", call.send()).await.map(drop)
    }

    /// EC2 has no token here: a call whose answer is lost must be read back before it is repeated.
    async fn assign(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
        _token: &str,
    ) -> Result<Vec<IpAddr>, CloudError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.assign_addresses(eni, family, count).await
    }

    async fn unassign(&self, eni: &EniId, addresses: &[IpAddr]) -> Result<(), CloudError> {
        self.unassign_addresses(eni, addresses).await
    }

    async fn assign_prefixes(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
        _token: &str,
    ) -> Result<Vec<IpNet>, CloudError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.assign_blocks(eni, family, count).await
    }

    async fn unassign_prefixes(&self, eni: &EniId, prefixes: &[IpNet]) -> Result<(), CloudError> {
        self.unassign_blocks(eni, prefixes).await
    }
}
