//! The container runtime's sandboxes (CRI v1), as the runtime is the one that knows which pods have a network.

use std::path::PathBuf;
use std::time::Duration;

use tideway_model::{ContainerId, PodKey, PodRef, PodUid};
use tideway_proto::cri::runtime_service_client::RuntimeServiceClient;
use tideway_proto::cri::{
    ListPodSandboxRequest, PodSandbox as WireSandbox, PodSandboxState, VersionRequest,
};
use tonic::transport::Channel;

use crate::NodeApiError;
use crate::socket::{LARGEST_ANSWER, Socket};

const PEER: &str = "container runtime (CRI)";
const LIMIT: Duration = Duration::from_secs(10);

/// A pod sandbox of the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Id of the sandbox: the `CNI_CONTAINERID` of its ADD.
    pub id: ContainerId,
    /// Its pod; CRI always tells the UID.
    pub pod: PodRef,
    /// It runs. One that does not run still waits to be removed; its network may be gone already.
    pub ready: bool,
}

/// Name and version of the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// Such as `containerd`.
    pub name: String,
    /// As the runtime writes it, such as `1.6.20~ds1` or `v2.1.9`.
    pub version: String,
}

impl RuntimeVersion {
    /// The version of the CNI specification to write into the network configuration: 1.1.0 (with STATUS and GC) from
    /// containerd 2 on, else 1.0.0. A runtime that does not know the version of a configuration refuses the network.
    pub fn cni_version(&self) -> &'static str {
        if self.name == "containerd" && self.major().is_some_and(|major| major >= 2) {
            "1.1.0"
        } else {
            "1.0.0"
        }
    }

    fn major(&self) -> Option<u32> {
        let text = self.version.strip_prefix('v').unwrap_or(&self.version);
        text.split('.').next()?.parse().ok()
    }
}

/// Client of the runtime's CRI socket.
#[derive(Debug, Clone)]
pub struct Runtime(Socket);

impl Runtime {
    /// A client of the socket at `path`, such as `/run/containerd/containerd.sock`. Connects only when asked; a question may
    /// take 10 s.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_limit(path, LIMIT)
    }

    /// As [`Runtime::new`], with another time for a question.
    pub fn with_limit(path: impl Into<PathBuf>, limit: Duration) -> Self {
        Self(Socket::new(PEER, path, limit))
    }

    /// All sandboxes, also those that do not run. Just after a restart of the runtime the list may be empty: no proof.
    ///
    /// # Errors
    /// Any [`NodeApiError`] but `Throttled`.
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, NodeApiError> {
        let question = async {
            let mut client = self.client().await?;
            let listed = client.list_pod_sandbox(ListPodSandboxRequest {}).await;
            let listed = listed.map_err(|status| self.0.refused(&status))?.into_inner();
            listed.items.into_iter().map(|item| self.read(item)).collect()
        };
        self.0.in_time(question).await
    }

    /// Which runtime answers at the socket.
    ///
    /// # Errors
    /// Any [`NodeApiError`] but `Throttled` and `Answer`.
    pub async fn version(&self) -> Result<RuntimeVersion, NodeApiError> {
        let question = async {
            let mut client = self.client().await?;
            let answer = client.version(VersionRequest { version: "v1".to_owned() }).await;
            let answer = answer.map_err(|status| self.0.refused(&status))?.into_inner();
            Ok(RuntimeVersion { name: answer.runtime_name, version: answer.runtime_version })
        };
        self.0.in_time(question).await
    }

    /// As [`RuntimeVersion::cni_version`], of the runtime that answers.
    ///
    /// # Errors
    /// As [`Runtime::version`].
    pub async fn cni_version(&self) -> Result<&'static str, NodeApiError> {
        Ok(self.version().await?.cni_version())
    }

    async fn client(&self) -> Result<RuntimeServiceClient<Channel>, NodeApiError> {
        let client = RuntimeServiceClient::new(self.0.connect().await?);
        Ok(client.max_decoding_message_size(LARGEST_ANSWER))
    }

    fn read(&self, sandbox: WireSandbox) -> Result<Sandbox, NodeApiError> {
        let ready = sandbox.state() == PodSandboxState::SandboxReady;
        let pod = sandbox
            .metadata
            .ok_or_else(|| self.0.unreadable(format!("sandbox {} has no metadata", sandbox.id)))?;
        let read = || {
            let key = PodKey::new(&pod.namespace, &pod.name)?;
            let uid = Some(PodUid::try_from(pod.uid)?);
            Ok(Sandbox { id: ContainerId::try_from(sandbox.id)?, pod: PodRef { key, uid }, ready })
        };
        read().map_err(|invalid: tideway_model::InvalidId| self.0.unreadable(invalid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_does_not_know_cni_1_1_is_not_given_it() {
        let cases = [
            ("containerd", "v2.1.9", "1.1.0"),
            ("containerd", "2.0.0-rc.1", "1.1.0"),
            ("containerd", "1.7.27", "1.0.0"),
            ("containerd", "1.6.20~ds1", "1.0.0"),
            ("containerd", "", "1.0.0"),
            ("cri-o", "1.33.0", "1.0.0"),
        ];
        for (name, version, cni) in cases {
            let runtime = RuntimeVersion { name: name.to_owned(), version: version.to_owned() };
            assert_eq!(runtime.cni_version(), cni, "{runtime:?}");
        }
    }
}
