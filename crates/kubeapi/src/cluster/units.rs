//! How much of an extended resource a pod asks for, by the scheduler's arithmetic.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

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
    limits: Option<Asked>,
    requests: Option<Asked>,
}

/// Our resources. Others are passed over without being taken apart: every pod has some.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    #[serde(rename = "aliyun/eni")]
    pub(super) eni: Option<Quantity>,
    #[serde(rename = "aliyun/member-eni")]
    pub(super) member: Option<Quantity>,
}

/// So many units. The API server writes whole numbers plainly below 1000; a larger one with a suffix is more than any node has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantity(u32);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.parse().unwrap_or(u32::MAX)))
            }
            fn visit_u64<E>(self, units: u64) -> Result<Quantity, E> {
                Ok(Quantity(units.try_into().unwrap_or(u32::MAX)))
            }
            fn visit_i64<E>(self, _negative: i64) -> Result<Quantity, E> {
                Ok(Quantity(u32::MAX))
            }
            fn visit_f64<E>(self, _fraction: f64) -> Result<Quantity, E> {
                Ok(Quantity(u32::MAX))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl Container {
    /// The API server keeps limits and requests of extended resources equal.
    fn units(&self, resource: fn(&Asked) -> Option<Quantity>) -> u32 {
        let Some(Resources { limits, requests }) = &self.resources else { return 0 };
        [limits, requests].into_iter().flatten().find_map(resource).map_or(0, |units| units.0)
    }

    /// `Always` makes an init container a sidecar, which runs beside the others.
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// Containers and sidecars add up, an init container runs beside the sidecars before it, and the pod needs the largest of
/// these moments.
pub(super) fn of_pod(
    init: &[Container],
    containers: &[Container],
    resource: fn(&Asked) -> Option<Quantity>,
) -> u32 {
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
    use tideway_model::names::{RESOURCE_ENI, RESOURCE_MEMBER_ENI};

    use super::*;

    fn units(init: serde_json::Value, containers: serde_json::Value) -> u32 {
        let read = |v| serde_json::from_value::<Vec<Container>>(v).unwrap();
        of_pod(&read(init), &read(containers), |asked| asked.eni)
    }

    fn asks(units: &str) -> serde_json::Value {
        json!({"name": "c", "resources": {"limits": {"aliyun/eni": units, "cpu": "1"}}})
    }

    #[test]
    fn the_names_are_those_of_the_device_plugin() {
        let limits = json!({RESOURCE_ENI: "3", RESOURCE_MEMBER_ENI: 4, "cpu": {"odd": []}});
        let asked: Asked = serde_json::from_value(limits).unwrap();
        assert_eq!((asked.eni.unwrap().0, asked.member.unwrap().0), (3, 4));
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
