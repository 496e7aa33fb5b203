//! Which pods have a stable identity, and what is promised to them: the operator's rules, applied to what the API server and
//! the runtime tell of a pod. Pure.

use std::collections::HashMap;

use tideway_kubeapi::NodePod;
use tideway_model::{LeaseTerms, config::LeaseConfig, names::ANNOTATION_RESERVE};

/// The operator's rules.
#[derive(Debug, Clone)]
pub struct Identities {
    kinds: Vec<String>,
    strict: Vec<String>,
}

impl From<&LeaseConfig> for Identities {
    fn from(config: &LeaseConfig) -> Self {
        Self { kinds: config.kinds.clone(), strict: config.strict_kinds.clone() }
    }
}

impl Identities {
    /// By the pod's controller, or its annotation.
    pub fn of_pod(&self, pod: &NodePod) -> Option<LeaseTerms> {
        let owner = pod.controller.as_ref().filter(|c| self.kinds.contains(&c.kind));
        if owner.is_none() && !pod.reserves {
            return None;
        }
        // Other groups have kinds of that name too, and are not asked.
        let set = owner.filter(|c| c.group == "apps" && c.kind == "StatefulSet");
        Some(LeaseTerms {
            strict: owner.is_some_and(|c| self.strict.contains(&c.kind)),
            stateful_set: set.map(|c| c.name.clone()),
        })
    }

    /// By the annotations that the runtime passes: a hint of the pod's author, who can ask for no more than a lease that yields.
    pub fn of_annotations(annotations: &HashMap<String, String>) -> Option<LeaseTerms> {
        let asked = annotations.get(ANNOTATION_RESERVE).is_some_and(|v| v == "true");
        asked.then(LeaseTerms::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tideway_kubeapi::Controller;
    use tideway_model::PodKey;

    fn pod(group: &str, kind: &str) -> NodePod {
        let name = "db".to_owned();
        NodePod {
            key: PodKey::new("ns", "db-0").unwrap(),
            uid: "u1".try_into().unwrap(),
            wants_eni: 0,
            host_network: false,
            phase_ended: false,
            deleting: false,
            controller: Some(Controller { group: group.into(), kind: kind.into(), name }),
            reserves: false,
            ips: Vec::new(),
        }
    }

    fn rules(kinds: &[&str], strict: &[&str]) -> Identities {
        let owned = |all: &[&str]| all.iter().map(|k| (*k).to_owned()).collect();
        Identities { kinds: owned(kinds), strict: owned(strict) }
    }

    #[test]
    fn pods_of_the_configured_kinds_and_annotated_ones_are_identities() {
        let rules = rules(&["StatefulSet", "Cluster"], &["Cluster"]);
        let set = LeaseTerms { strict: false, stateful_set: Some("db".into()) };
        assert_eq!(rules.of_pod(&pod("apps", "StatefulSet")), Some(set));
        let other = LeaseTerms { strict: true, stateful_set: None };
        assert_eq!(rules.of_pod(&pod("postgresql.cnpg.io", "Cluster")), Some(other));
        let plain = pod("apps", "ReplicaSet");
        assert_eq!(rules.of_pod(&plain), None);
        let reserving = NodePod { reserves: true, ..plain };
        assert_eq!(rules.of_pod(&reserving), Some(LeaseTerms::default()));
    }

    #[test]
    fn a_stateful_set_of_another_group_is_not_asked_in_apps() {
        let rules = rules(&["StatefulSet"], &[]);
        let terms = rules.of_pod(&pod("apps.kruise.io", "StatefulSet")).unwrap();
        assert_eq!(terms.stateful_set, None, "its absence in apps would end the lease");
    }

    #[test]
    fn an_annotation_that_does_not_say_true_is_none() {
        let says = |v: &str| {
            Identities::of_annotations(&HashMap::from([(ANNOTATION_RESERVE.into(), v.into())]))
        };
        assert_eq!((says("true"), says("false")), (Some(LeaseTerms::default()), None));
    }
}
