//! The types of `k8s.io/kube-scheduler/extender/v1`. They have no JSON tags in Go, so keys are Go's names, and null where
//! there is nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tideway_kubeapi::ClusterPod;

/// A text that is borrowed from the request where it can be: a call carries hundreds of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowed)
    }
}

/// A value whose key must be there, since Go always writes it; null stands for nothing. A key in the wrong case is missed.
fn keyed<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// What filter is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ExtenderArgs<'a> {
    pub(crate) pod: ClusterPod,
    #[serde(default)]
    pub(crate) nodes: Option<IgnoredAny>,
    #[serde(borrow, deserialize_with = "keyed")]
    pub(crate) node_names: Option<Vec<Text<'a>>>,
}

/// What prioritize is asked: the same, of which little is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PriorityArgs<'a> {
    #[serde(borrow)]
    pub(crate) pod: Named<'a>,
    #[serde(default)]
    pub(crate) nodes: Option<IgnoredAny>,
    #[serde(borrow, deserialize_with = "keyed")]
    pub(crate) node_names: Option<Vec<Text<'a>>>,
}

/// A pod of which only matters which one it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Named<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Identity<'a>,
}

/// Which pod it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Identity<'a> {
    #[serde(borrow)]
    pub(crate) uid: Text<'a>,
}

/// What filter answers.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FilterResult<'a> {
    pub(crate) nodes: Option<()>,
    pub(crate) node_names: Vec<&'a str>,
    pub(crate) failed_nodes: BTreeMap<&'a str, &'a str>,
    pub(crate) failed_and_unresolvable_nodes: BTreeMap<&'a str, &'a str>,
    pub(crate) error: &'a str,
}

/// One score.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostPriority<'a> {
    pub(crate) host: &'a str,
    pub(crate) score: u8,
}

/// What bind is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindingArgs {
    /// Name of the pod.
    pub pod_name: String,
    /// Its namespace.
    pub pod_namespace: String,
    /// Its UID.
    #[serde(rename = "PodUID")]
    pub pod_uid: String,
    /// The node that it goes to.
    pub node: String,
}

/// What bind answers, and what every error looks like.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Outcome<'a> {
    pub(crate) error: &'a str,
}

/// What preempt is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PreemptionArgs<'a> {
    pub(crate) pod: ClusterPod,
    /// Whole pods: only without `nodeCacheCapable`.
    #[serde(default)]
    pub(crate) node_name_to_victims: Option<Whole>,
    #[serde(borrow, deserialize_with = "keyed")]
    pub(crate) node_name_to_meta_victims: Option<BTreeMap<Text<'a>, MetaVictims<'a>>>,
}

/// A map of which only matters whether it is empty.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) is_empty: bool,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counted;
        impl<'de> Visitor<'de> for Counted {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Whole, A::Error> {
                let mut is_empty = true;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    is_empty = false;
                }
                Ok(Whole { is_empty })
            }
        }
        deserializer.deserialize_map(Counted)
    }
}

/// Victims on one node.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MetaVictims<'a> {
    #[serde(borrow, deserialize_with = "keyed")]
    pub(crate) pods: Option<Vec<MetaPod<'a>>>,
    #[serde(rename = "NumPDBViolations")]
    pub(crate) num_pdb_violations: i64,
}

/// A victim.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct MetaPod<'a> {
    #[serde(rename = "UID", borrow)]
    pub(crate) uid: Text<'a>,
}

impl Serialize for Text<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What preempt answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PreemptionResult<'a> {
    pub(crate) node_name_to_meta_victims: BTreeMap<Text<'a>, MetaVictims<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_go_types() {
        let text =
            r#"{"Pod":{"metadata":{"name":"p"}},"Nodes":null,"NodeNames":["n1","n\u00322"]}"#;
        let args: ExtenderArgs<'_> = serde_json::from_str(text).unwrap();
        let names: Vec<&str> = args.node_names.iter().flatten().map(AsRef::as_ref).collect();
        assert_eq!((args.pod.name.as_str(), names), ("p", vec!["n1", "n22"]));
        let result = FilterResult {
            node_names: vec!["n1"],
            failed_nodes: BTreeMap::from([("n2", "reason")]),
            failed_and_unresolvable_nodes: BTreeMap::from([("n3", "reason")]),
            ..FilterResult::default()
        };
        assert_eq!(
            serde_json::to_string(&result).unwrap(),
            r#"{"Nodes":null,"NodeNames":["n1"],"FailedNodes":{"n2":"reason"},"FailedAndUnresolvableNodes":{"n3":"reason"},"Error":""}"#
        );
        let score = [HostPriority { host: "n1", score: 7 }];
        assert_eq!(serde_json::to_string(&score).unwrap(), r#"[{"Host":"n1","Score":7}]"#);
        let text = r#"{"PodName":"p","PodNamespace":"d","PodUID":"u","Node":"n1"}"#;
        let args: BindingArgs = serde_json::from_str(text).unwrap();
        assert_eq!((args.pod_uid.as_str(), args.node.as_str()), ("u", "n1"));
        assert_eq!(serde_json::to_string(&Outcome { error: "" }).unwrap(), r#"{"Error":""}"#);
    }

    #[test]
    fn victims_come_back_as_they_were_sent() {
        let map = r#"{"n1":{"Pods":[{"UID":"u1"}],"NumPDBViolations":2},"n2":{"Pods":null,"NumPDBViolations":0}}"#;
        let text =
            format!(r#"{{"Pod":{{}},"NodeNameToVictims":null,"NodeNameToMetaVictims":{map}}}"#);
        let args: PreemptionArgs<'_> = serde_json::from_str(&text).unwrap();
        let all = args.node_name_to_meta_victims.unwrap();
        let result = PreemptionResult { node_name_to_meta_victims: all };
        let wanted = format!(r#"{{"NodeNameToMetaVictims":{map}}}"#);
        assert_eq!(serde_json::to_string(&result).unwrap(), wanted);
    }
}
