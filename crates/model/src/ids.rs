//! Identifiers. Opaque to us, checked for length and characters where they enter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {rule}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    rule: &'static str,
}

/// Longest identifier that we accept, in bytes (Kubernetes names end at 253, cloud ids far below).
const MAX: usize = 253;

fn check(what: &'static str, text: &str) -> Result<(), InvalidId> {
    let bad = |rule| Err(InvalidId { what, text: text.chars().take(80).collect(), rule });
    if text.is_empty() {
        return bad("it must not be empty");
    }
    if text.len() > MAX {
        return bad("it must not be longer than 253 bytes");
    }
    if text.starts_with('.') {
        return bad("it must not start with a dot");
    }
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !text.chars().all(ok) {
        return bad("only letters, digits, '-', '_', '.' and ':' may stand in it");
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                check($what, &text)?;
                Ok(Self(text))
            }
        }
        impl TryFrom<&str> for $name {
            type Error = InvalidId;
            fn try_from(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// An elastic network interface in the cloud, such as `eni-bp1…`.
    EniId, "ENI id"
}
id! {
    /// A cloud instance, such as `i-bp1…`.
    InstanceId, "instance id"
}
id! {
    /// A subnet: vSwitch on Alibaba Cloud, subnet on AWS.
    SubnetId, "subnet id"
}
id! {
    /// A security group.
    SecurityGroupId, "security group id"
}
id! {
    /// The id that the container runtime gave a pod sandbox (`CNI_CONTAINERID`).
    ContainerId, "container id"
}
id! {
    /// A pod's UID.
    PodUid, "pod UID"
}

/// Namespace and name of a pod. The same key may come back with another UID (stateful sets).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
}

impl PodKey {
    /// Checks both parts.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidId> {
        check("pod namespace", namespace)?;
        check("pod name", name)?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod as the runtime names it: the UID is absent with runtimes that do not pass `K8S_POD_UID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace and name.
    pub key: PodKey,
    /// UID, when the runtime passed one.
    pub uid: Option<PodUid>,
}

/// An adapter slot of the instance that exclusive pods may have: the device id `slot-N` that the kubelet knows. Names a
/// place for an ENI, never an ENI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(pub u16);

impl SlotId {
    /// Reads a device id (`slot-3`).
    pub fn from_device_id(id: &str) -> Option<Self> {
        id.strip_prefix("slot-")?.parse().ok().map(Self)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_traversal_in_a_container_id_is_refused() {
        for bad in ["", "..", "../x", "a/b", "a b", "a\0b", &"x".repeat(254)] {
            assert!(ContainerId::try_from(bad).is_err(), "{bad:?} was accepted");
        }
        ContainerId::try_from("a86f71eaab83").unwrap();
    }

    #[test]
    fn identifiers_are_checked_when_they_are_read_back() {
        serde_json::from_str::<EniId>("\"eni-1\"").unwrap();
        serde_json::from_str::<EniId>("\"\"").unwrap_err();
    }

    #[test]
    fn a_device_id_names_a_slot_and_nothing_else() {
        assert_eq!(SlotId::from_device_id("slot-2"), Some(SlotId(2)));
        assert_eq!(SlotId::from_device_id("eni-2"), None);
        assert_eq!(SlotId::from_device_id("slot--2"), None);
    }
}
