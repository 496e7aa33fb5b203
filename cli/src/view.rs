//! What `-o json` prints. Keys are only ever added; a key that has no value is `""`, `[]` or `{}`, never left out. The
//! crate's README lists them.

use serde::Serialize;
use tideway_proto::node as pb;

/// `tideway status -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Name of the Kubernetes node.
    pub node: String,
    /// Id of the cloud instance.
    pub instance_id: String,
    /// Its type.
    pub instance_type: String,
    /// Version of the daemon.
    pub daemon_version: String,
    /// Whether the daemon serves ADD.
    pub ready: bool,
    /// Why not; empty when it does.
    pub not_ready_because: String,
    /// Watermarks and counts of the pool.
    pub pool: Pool,
    /// ENIs of the instance that are ours.
    pub enis: Vec<Eni>,
    /// Devices that the kubelet knows.
    pub devices: Vec<Device>,
    /// Pods that wait for an address or an ENI.
    pub waiting: Vec<Waiting>,
    /// Last errors of the cloud's API, by action and code.
    pub cloud_errors: Vec<CloudError>,
    /// Calls to the cloud since the daemon's start, by action, sorted by name.
    pub cloud_calls: std::collections::BTreeMap<String, u64>,
    /// Why the pool is below its low mark; empty when it is not.
    pub shortfall: String,
    /// Sources that do not answer; nothing is freed for absence meanwhile.
    pub source_errors: Vec<String>,
    /// Links whose deletion is still to come.
    pub pending_links: u32,
    /// Pods that have an interface.
    pub pods: Vec<Attachment>,
    /// Addresses of pods with a stable identity.
    pub leases: Vec<Lease>,
}

/// Watermarks and counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Low watermark.
    pub low: u32,
    /// High watermark.
    pub high: u32,
    /// Addresses of shared ENIs, all states.
    pub total: usize,
    /// Can be handed out now.
    pub free: usize,
    /// Held by pods.
    pub assigned: usize,
    /// Resting between two pods.
    pub cooling: usize,
    /// Waiting for the return of their pod.
    pub leased: usize,
    /// Going back to the cloud.
    pub releasing: usize,
    /// The cloud no longer shows them.
    pub lost: usize,
}

/// One ENI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Eni {
    /// Cloud id.
    pub id: String,
    /// MAC address.
    pub mac: String,
    /// State, such as `ready`.
    pub state: String,
    /// `shared` or `exclusive`.
    pub r#use: String,
    /// Subnet.
    pub subnet: String,
    /// Link on the host; empty when it is in a pod or not there yet.
    pub link: String,
    /// Routing table of a shared ENI on the host; 0 for an exclusive one.
    pub table: u32,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// Its prefixes: /28 of IPv4, /80 of IPv6.
    pub prefixes: Vec<String>,
    /// Its addresses; of an IPv6 prefix those that pods can take.
    pub addresses: Vec<Address>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address.
    pub ip: String,
    /// `free`, `assigned`, `cooling`, `leased`, `releasing`, `lost` or `reserved`.
    pub state: String,
    /// Owner, `namespace/name`.
    pub pod: String,
    /// Seconds that the cooling still lasts.
    pub cooling_seconds: u32,
}

/// One device of the kubelet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Device id, such as `slot-2`.
    pub id: String,
    /// What the kubelet is told.
    pub healthy: bool,
    /// Holder, `namespace/name`.
    pub pod: String,
    /// The ENI in that slot.
    pub eni: String,
}

/// One pod that waits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// `namespace/name`.
    pub pod: String,
    /// Its container id.
    pub container_id: String,
    /// Since when, seconds.
    pub seconds: f64,
    /// What it waits for.
    pub cause: String,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudError {
    /// API action.
    pub action: String,
    /// The cloud's error code.
    pub code: String,
    /// Its text.
    pub message: String,
    /// What a person can do.
    pub remedy: String,
    /// When it came last, milliseconds since the epoch.
    pub unix_millis: u64,
    /// How often it came.
    pub count: u64,
}

/// One pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `namespace/name`.
    pub pod: String,
    /// UID; empty when the runtime did not pass it.
    pub uid: String,
    /// Container id.
    pub container_id: String,
    /// Interface in the pod.
    pub ifname: String,
    /// `veth` or `exclusive`.
    pub mode: String,
    /// Addresses.
    pub ips: Vec<String>,
    /// ENI that carries them.
    pub eni: String,
    /// Link on the host that belongs to the pod.
    pub host_link: String,
    /// Path of the namespace.
    pub netns: String,
}

/// The address of a pod with a stable identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The identity, `namespace/name`.
    pub pod: String,
    /// Its addresses.
    pub ips: Vec<String>,
    /// ENI that carries them.
    pub eni: String,
    /// They go to nobody else while the lease lasts.
    pub strict: bool,
    /// End, milliseconds since the epoch; 0 while a container of the pod has the addresses.
    pub until_unix_millis: u64,
}

/// `tideway pod NAMESPACE/NAME -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// `namespace/name`.
    pub pod: String,
    /// Its interfaces on this node.
    pub attachments: Vec<Attachment>,
    /// What it waits for.
    pub waiting: Vec<Waiting>,
    /// What the kernel lacks or has too much.
    pub findings: Vec<String>,
}

fn name(pod: Option<&pb::Pod>) -> String {
    pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default()
}

impl Node {
    /// From the daemon's two answers.
    pub fn new(show: pb::ShowReply, status: pb::StatusReply) -> Self {
        let enis: Vec<Eni> = show.enis.into_iter().map(Eni::from).collect();
        Self {
            node: show.node,
            instance_id: show.instance_id,
            instance_type: show.instance_type,
            daemon_version: show.version,
            ready: status.ready,
            not_ready_because: if status.ready { String::new() } else { status.reason },
            pool: Pool::count(show.low, show.high, &enis),
            enis,
            devices: show.devices.into_iter().map(Device::from).collect(),
            waiting: show.waiting.into_iter().map(Waiting::from).collect(),
            cloud_errors: show.cloud_errors.into_iter().map(CloudError::from).collect(),
            cloud_calls: show.cloud_calls.into_iter().collect(),
            shortfall: show.shortfall,
            source_errors: show.source_errors,
            pending_links: show.pending_links,
            pods: show.pods.into_iter().map(Attachment::from).collect(),
            leases: show.leases.into_iter().map(Lease::from).collect(),
        }
    }
}

impl Pool {
    fn count(low: u32, high: u32, enis: &[Eni]) -> Self {
        let mut pool = Self { low, high, ..Self::default() };
        let shared = enis.iter().filter(|eni| eni.r#use == "shared");
        for address in shared.flat_map(|eni| &eni.addresses) {
            pool.total += 1;
            match address.state.as_str() {
                "free" => pool.free += 1,
                "assigned" => pool.assigned += 1,
                "cooling" => pool.cooling += 1,
                "leased" => pool.leased += 1,
                "releasing" => pool.releasing += 1,
                "lost" => pool.lost += 1,
                _ => {}
            }
        }
        pool
    }
}

impl Pod {
    /// From the daemon's answer about `pod`.
    pub fn new(pod: String, reply: pb::ExplainReply) -> Self {
        Self {
            pod,
            attachments: reply.attachments.into_iter().map(Attachment::from).collect(),
            waiting: reply.waiting.into_iter().map(Waiting::from).collect(),
            findings: reply.findings,
        }
    }
}

impl From<pb::Eni> for Eni {
    fn from(eni: pb::Eni) -> Self {
        Self {
            id: eni.id,
            mac: eni.mac,
            state: eni.state,
            r#use: eni.r#use,
            subnet: eni.subnet,
            link: eni.link,
            table: eni.table,
            security_groups: eni.security_groups,
            prefixes: eni.prefixes,
            addresses: eni.addresses.into_iter().map(Address::from).collect(),
        }
    }
}

impl From<pb::Address> for Address {
    fn from(address: pb::Address) -> Self {
        Self {
            ip: address.ip,
            state: address.state,
            pod: address.pod,
            cooling_seconds: address.cooling_seconds,
        }
    }
}

impl From<pb::Device> for Device {
    fn from(device: pb::Device) -> Self {
        Self { id: device.id, healthy: device.healthy, pod: device.pod, eni: device.eni }
    }
}

impl From<pb::Waiting> for Waiting {
    fn from(waiting: pb::Waiting) -> Self {
        Self {
            pod: name(waiting.pod.as_ref()),
            container_id: waiting.container_id,
            seconds: waiting.seconds,
            cause: waiting.cause,
        }
    }
}

impl From<pb::Lease> for Lease {
    fn from(lease: pb::Lease) -> Self {
        Self {
            pod: lease.pod,
            ips: lease.ips,
            eni: lease.eni,
            strict: lease.strict,
            until_unix_millis: lease.until_unix_millis,
        }
    }
}

impl From<pb::CloudError> for CloudError {
    fn from(error: pb::CloudError) -> Self {
        Self {
            action: error.action,
            code: error.code,
            message: error.message,
            remedy: error.remedy,
            unix_millis: error.unix_millis,
            count: error.count,
        }
    }
}

impl From<pb::PodView> for Attachment {
    fn from(view: pb::PodView) -> Self {
        Self {
            pod: name(view.pod.as_ref()),
            uid: view.pod.map(|pod| pod.uid).unwrap_or_default(),
            container_id: view.container_id,
            ifname: view.ifname,
            mode: view.mode,
            ips: view.ips,
            eni: view.eni,
            host_link: view.host_link,
            netns: view.netns,
        }
    }
}
