//! The kubelet's pod-resources API v1: the only way from a device to the pod that holds it.
//!
//! The kubelet answers 100 requests a second, 10 at once, for all programs of the node together; of 40 parallel Lists 28 were
//! refused (measured, 1.34). So one List is in flight at a time and answers all who asked **before it started**; who asks
//! later waits for the next one, since the answer may be older than the pod that he asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tideway_model::{PodKey, SlotId};
use tideway_proto::podresources::pod_resources_lister_client::PodResourcesListerClient;
use tideway_proto::podresources::{ListPodResourcesRequest, PodResources as WirePod};
use tokio::sync::Mutex;

use crate::NodeApiError;
use crate::socket::{LARGEST_ANSWER, Socket};

const PEER: &str = "kubelet (pod-resources)";
/// An ADD waits for this answer; the runtime gives it minutes, the daemon a minute in all.
const LIMIT: Duration = Duration::from_secs(5);
/// The kubelet's bucket gains a token each 10 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The devices of one resource that one pod holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceHolding {
    /// The pod. The kubelet tells no UID: a pod that was made again under its name looks the same.
    pub pod: PodKey,
    /// Extended resource, such as `aliyun/eni`.
    pub resource: String,
    /// Ids of the devices of all its containers, each once.
    pub device_ids: BTreeSet<String>,
}

/// A whole List: every pod of the node that holds a device, of whatever resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceHoldings(Vec<DeviceHolding>);

impl DeviceHoldings {
    /// All holdings, by pod in the kubelet's order.
    pub fn iter(&self) -> std::slice::Iter<'_, DeviceHolding> {
        self.0.iter()
    }

    /// Which pod holds which adapter slot. Ids that are no slots are left out: they are not ours.
    pub fn slots(&self, resource: &str) -> BTreeMap<SlotId, PodKey> {
        let ours = self.0.iter().filter(|h| h.resource == resource);
        let slots = ours.flat_map(|h| h.device_ids.iter().map(move |id| (id, &h.pod)));
        slots.filter_map(|(id, pod)| Some((SlotId::from_device_id(id)?, pod.clone()))).collect()
    }
}

impl<'a> IntoIterator for &'a DeviceHoldings {
    type Item = &'a DeviceHolding;
    type IntoIter = std::slice::Iter<'a, DeviceHolding>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

type Answer = Result<Arc<DeviceHoldings>, NodeApiError>;

/// Client of the kubelet's pod-resources socket. Clones share the List in flight.
#[derive(Debug, Clone)]
pub struct PodResources(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: Socket,
    /// Askers so far; each has the number that it got.
    asked: AtomicU64,
    /// The last List. Who holds the lock calls; the others wait for the lock and find the answer, or lead the next call.
    last: Mutex<Option<Listed>>,
}

#[derive(Debug)]
struct Listed {
    /// The last asker that this List answers: it had asked before the List started.
    answers: u64,
    answer: Answer,
}

impl PodResources {
    /// A client of the socket at `path`, usually `/var/lib/kubelet/pod-resources/kubelet.sock`. Connects only when asked; a
    /// List may take 5 s, retries included.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_limit(path, LIMIT)
    }

    /// As [`PodResources::new`], with another time for a List.
    pub fn with_limit(path: impl Into<PathBuf>, limit: Duration) -> Self {
        let socket = Socket::new(PEER, path, limit);
        Self(Arc::new(Inner { socket, asked: AtomicU64::new(0), last: Mutex::new(None) }))
    }

    /// Which pods hold which devices, by a List that starts after this call.
    ///
    /// # Errors
    /// Any [`NodeApiError`]; refusals for asking too often are retried until the limit first. Nothing follows from an error.
    pub async fn list(&self) -> Answer {
        let mine = self.0.asked.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        let mut last = self.0.last.lock().await;
        if let Some(listed) = &*last
            && listed.answers >= mine
        {
            return listed.answer.clone();
        }
        let answers = self.0.asked.load(Ordering::Acquire);
        let answer = self.0.call().await.map(Arc::new);
        *last = Some(Listed { answers, answer: answer.clone() });
        answer
    }
}

impl Inner {
    async fn call(&self) -> Result<DeviceHoldings, NodeApiError> {
        let mut throttled = false;
        let question = async {
            let mut pause = FIRST_PAUSE;
            let client = PodResourcesListerClient::new(self.socket.connect().await?);
            let mut client = client.max_decoding_message_size(LARGEST_ANSWER);
            loop {
                match client.list(ListPodResourcesRequest {}).await {
                    Ok(answer) => return self.read(answer.into_inner().pod_resources),
                    Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                        throttled = true;
                    }
                    Err(status) => return Err(self.socket.refused(&status)),
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        };
        match self.socket.in_time(question).await {
            Err(NodeApiError::Deadline { peer, socket, .. }) if throttled => {
                Err(NodeApiError::Throttled { peer, socket })
            }
            other => other,
        }
    }

    fn read(&self, pods: Vec<WirePod>) -> Result<DeviceHoldings, NodeApiError> {
        let mut holdings = Vec::new();
        for pod in pods {
            let devices = pod.containers.into_iter().flat_map(|c| c.devices);
            let mut by_resource = BTreeMap::<String, BTreeSet<String>>::new();
            for group in devices.filter(|group| !group.device_ids.is_empty()) {
                by_resource.entry(group.resource_name).or_default().extend(group.device_ids);
            }
            if by_resource.is_empty() {
                continue;
            }
            let pod = PodKey::new(&pod.namespace, &pod.name)
                .map_err(|invalid| self.socket.unreadable(invalid))?;
            holdings.extend(by_resource.into_iter().map(|(resource, device_ids)| DeviceHolding {
                pod: pod.clone(),
                resource,
                device_ids,
            }));
        }
        Ok(DeviceHoldings(holdings))
    }
}
