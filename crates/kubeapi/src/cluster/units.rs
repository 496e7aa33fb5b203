//! How much of an extended resource a pod asks for, by the scheduler's arithmetic.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The part of a container that asks for something.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    resources: Option<Resources>,
    restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: Option<BTreeMap<String, serde_json::Value>>,
    requests: Option<BTreeMap<String, serde_json::Value>>,
}

impl Container {
    /// The API server keeps limits and requests of extended resources equal and writes whole numbers plainly below 1000; a
    /// larger one with a suffix is more than any node has.
    fn units(&self, resource: &str) -> u32 {
        let Some(resources) = &self.resources else { return 0 };
        let asked = [&resources.limits, &resources.requests];
        match asked.into_iter().flatten().find_map(|list| list.get(resource)) {
            None => 0,
            Some(serde_json::Value::String(text)) => text.parse().unwrap_or(u32::MAX),
            Some(other) => other.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(u32::MAX),
        }
    }

    /// `Always` makes an init container a sidecar, which runs beside the others.
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// Containers and sidecars add up, an init container runs beside the sidecars before it, and the pod needs the largest of
/// these moments.
pub(super) fn of_pod(init: &[Container], containers: &[Container], resource: &str) -> u32 {
    let (mut sidecars, mut peak) = (0_u32, 0_u32);
    for container in init {
        let units = container.units(resource);
        if container.is_sidecar() {
            sidecars = sidecars.saturating_add(units);
        } else {
            peak = peak.max(sidecars.saturating_add(units));
        }
    }
    let running = containers.iter().map(|c| c.units(resource)).fold(sidecars, u32::saturating_add);
    running.max(peak)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn units(init: serde_json::Value, containers: serde_json::Value) -> u32 {
        let read = |v| serde_json::from_value::<Vec<Container>>(v).unwrap();
        of_pod(&read(init), &read(containers), "aliyun/eni")
    }

    fn asks(units: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"limits": {"aliyun/eni": units, "cpu": "1"}}})
    }

    #[test]
    fn an_init_container_and_a_sidecar_are_counted_as_the_scheduler_counts_them() {
        let sidecar =
            json!({"restartPolicy": "Always", "resources": {"requests": {"aliyun/eni": "1"}}});
        assert_eq!(units(json!([]), json!([{"name": "c"}])), 0);
        assert_eq!(units(json!([asks("1")]), json!([asks("1")])), 1);
        assert_eq!(units(json!([asks("3")]), json!([asks("1"), asks("1")])), 3);
        assert_eq!(units(json!([sidecar, asks("1")]), json!([{"name": "c"}])), 2);
        assert_eq!(units(json!([]), json!([asks("1k")])), u32::MAX);
    }
}
