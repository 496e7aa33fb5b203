//! Requests as values, without IO: which API, which action, which parameters.
//!
//! As the official SDKs do, a request is a POST with an empty body and all parameters in the query. The query is written
//! once, in the form that is also signed (sorted, RFC 3986), so the wire and the signature cannot differ.

use std::{collections::BTreeMap, fmt};

use tideway_cloud::{Endpoint, InvalidEndpoint, secret::encode};

/// One of the two APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// Elastic Compute Service: instances and ENIs.
    Ecs,
    /// VPC and vSwitches.
    Vpc,
}

impl Api {
    /// API version (`x-acs-version`).
    pub fn version(self) -> &'static str {
        match self {
            Self::Ecs => "2014-05-26",
            Self::Vpc => "2016-04-28",
        }
    }

    /// Prefix of permissions in RAM policies, as in `ecs:CreateNetworkInterface`.
    pub fn ram_prefix(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Vpc => "vpc",
        }
    }

    /// The public endpoint in a region.
    pub fn endpoint(self, region: &str) -> Result<Endpoint, InvalidEndpoint> {
        format!("https://{}.{region}.aliyuncs.com", self.ram_prefix()).parse()
    }
}

/// One request: action and parameters, not yet signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRequest {
    /// API.
    pub api: Api,
    /// Action, such as `CreateNetworkInterface`.
    pub action: &'static str,
    /// Parameters, decoded, in the order in which they were added.
    pub params: Vec<(String, String)>,
}

impl ApiRequest {
    /// A request with `RegionId`, which every action of ours takes.
    pub fn new(api: Api, action: &'static str, region: &str) -> Self {
        Self { api, action, params: vec![("RegionId".into(), region.into())] }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.params.push((key.into(), value.to_string()));
        self
    }

    /// Adds a list: `Key.1`, `Key.2` and so on.
    #[must_use]
    pub fn with_list<T: fmt::Display>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        for (at, value) in values.into_iter().enumerate() {
            self.params.push((format!("{key}.{}", at.saturating_add(1)), value.to_string()));
        }
        self
    }

    /// Adds tags: `Tag.1.Key`, `Tag.1.Value` and so on.
    #[must_use]
    pub fn with_tags(mut self, tags: &BTreeMap<String, String>) -> Self {
        for (at, (key, value)) in tags.iter().enumerate() {
            let n = at.saturating_add(1);
            self.params.push((format!("Tag.{n}.Key"), key.clone()));
            self.params.push((format!("Tag.{n}.Value"), value.clone()));
        }
        self
    }

    /// Whether the action only reads. A lost answer of such a call leaves nothing behind.
    pub fn reads_only(&self) -> bool {
        self.action.starts_with("Describe")
    }

    /// Whether it asks for prefixes.
    pub fn wants_prefixes(&self) -> bool {
        ["Ipv4PrefixCount", "Ipv6PrefixCount"].iter().any(|key| self.get(key).is_some())
    }

    /// What the action changes, as RAM policies name it, whatever the account; `*` for reads.
    pub fn resource(&self) -> String {
        if self.reads_only() {
            return "*".to_owned();
        }
        let [region, eni] =
            ["RegionId", "NetworkInterfaceId"].map(|key| self.get(key).unwrap_or("*"));
        format!("acs:ecs:{region}:*:eni/{eni}")
    }

    /// Value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The query as it is sent and signed: sorted by decoded key in code point order (`Tag.10.Key` before `Tag.2.Key`).
    pub fn query(&self) -> String {
        canonical_query(&self.params)
    }
}

/// Sorts and encodes decoded parameters.
pub(crate) fn canonical_query(params: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = params.iter().collect();
    sorted.sort();
    let parts: Vec<String> =
        sorted.into_iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_start_at_one_and_tags_become_pairs() {
        let tags = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".into(), String::new())]);
        let request = ApiRequest::new(Api::Ecs, "X", "r")
            .with_list("SecurityGroupIds", ["sg-1", "sg-2"])
            .with_tags(&tags);
        assert_eq!(
            request.query(),
            "RegionId=r&SecurityGroupIds.1=sg-1&SecurityGroupIds.2=sg-2&Tag.1.Key=a&Tag.1.Value=1&Tag.2.Key=b&Tag.2.Value="
        );
    }

    #[test]
    fn the_tenth_list_entry_sorts_before_the_second() {
        let request = ApiRequest::new(Api::Ecs, "X", "r").with_list("T", 1..=10);
        assert!(request.query().starts_with("RegionId=r&T.1=1&T.10=10&T.2=2"));
    }
}
