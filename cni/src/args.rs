//! What the environment says about the container: `CNI_CONTAINERID`, `CNI_IFNAME`, `CNI_NETNS`, `CNI_ARGS`.

use std::os::unix::fs::MetadataExt;

use tideway_model::{Cause, ContainerId, IfName, PodKey, PodUid};
use tideway_proto::node::Pod;

use crate::{CniError, Environment};

/// The container of a verb.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) ifname: IfName,
    /// Path of the namespace; empty on a DEL that comes after the namespace is gone.
    pub(crate) netns: String,
}

/// Our own network namespace: that of the host.
const OWN_NETNS: &str = "/proc/thread-self/ns/net";

fn invalid(variable: &str, cause: impl std::fmt::Display) -> CniError {
    CniError::new(
        Cause::RuntimeArguments,
        format!("{variable}: {cause}"),
        "the container runtime sets this variable: look at its version and configuration",
    )
}

impl Container {
    /// Id and interface are checked; the namespace is taken as it is.
    pub(crate) fn read(env: &dyn Environment) -> Result<Self, CniError> {
        let get = |name: &str| {
            env.var(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| invalid(name, "the variable is not set or empty"))
        };
        let id = ContainerId::try_from(get("CNI_CONTAINERID")?)
            .map_err(|error| invalid("CNI_CONTAINERID", error))?;
        let ifname =
            IfName::try_from(get("CNI_IFNAME")?).map_err(|error| invalid("CNI_IFNAME", error))?;
        Ok(Self { id, ifname, netns: env.var("CNI_NETNS").unwrap_or_default() })
    }

    /// For verbs that need a living namespace. nsfs gives each namespace an inode on one device of its own: a path that a
    /// dead namespace left behind is on another device, and the host's namespace has our inode.
    pub(crate) fn require_netns(&self) -> Result<(), CniError> {
        let path = self.netns.as_str();
        if path.is_empty() {
            return Err(invalid("CNI_NETNS", "the variable is not set or empty"));
        }
        let found = std::fs::metadata(path).map_err(|error| {
            invalid("CNI_NETNS", format!("the network namespace {path} is gone ({error})"))
        })?;
        let own = std::fs::metadata(OWN_NETNS).map_err(|error| invalid(OWN_NETNS, error))?;
        if found.dev() != own.dev() {
            return Err(invalid("CNI_NETNS", format!("{path} is no network namespace any more")));
        }
        if found.ino() == own.ino() {
            return Err(invalid(
                "CNI_NETNS",
                format!(
                    "{path} is the host's own network namespace; hostNetwork pods get no interface"
                ),
            ));
        }
        Ok(())
    }

    /// True when the path leads to the host's own namespace, where nothing may be deleted for a pod.
    pub(crate) fn is_in_host_netns(&self) -> bool {
        let inode = |path: &str| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
        match (inode(&self.netns), inode(OWN_NETNS)) {
            (Ok(found), Ok(own)) => found == own,
            _ => false,
        }
    }
}

/// The pod in `CNI_ARGS`; the runtimes write the keys in any order, beside others.
pub(crate) fn pod(env: &dyn Environment) -> Result<Pod, CniError> {
    let args = env.var("CNI_ARGS").unwrap_or_default();
    let get = |key: &str| {
        args.split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, value)| *name == key && !value.is_empty())
            .map(|(_, value)| value)
    };
    let need = |key: &str| get(key).ok_or_else(|| invalid("CNI_ARGS", format!("{key} is missing")));
    let key = PodKey::new(need("K8S_POD_NAMESPACE")?, need("K8S_POD_NAME")?)
        .map_err(|error| invalid("CNI_ARGS", error))?;
    let uid = get("K8S_POD_UID")
        .map(PodUid::try_from)
        .transpose()
        .map_err(|error| invalid("CNI_ARGS", error))?;
    Ok(Pod {
        namespace: key.namespace,
        name: key.name,
        uid: uid.map(String::from).unwrap_or_default(),
    })
}
