//! Request parameters: one flat map of decoded names and values, read by type.
//!
//! Lists are `Name.1`, `Name.2` (some servers also see `Name.N.Key`); indexes need not be dense and sort as numbers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::cause::Cause;

/// The decoded parameters of one call.
#[derive(Debug, Clone, Default)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Collects decoded pairs; of a repeated name the last one counts.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// A value that is present and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// A value that is present, be it empty.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A mandatory value.
    pub fn need(&self, name: &str) -> Result<&str, Cause> {
        self.get(name).ok_or_else(|| Cause::Missing(name.to_owned()))
    }

    /// A number, when given.
    pub fn int(&self, name: &str) -> Result<Option<u32>, Cause> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Cause::invalid(name, "not a number")),
        }
    }

    /// A number within `low..=high`, when given.
    pub fn int_within(&self, name: &str, low: u32, high: u32) -> Result<Option<u32>, Cause> {
        match self.int(name)? {
            Some(value) if value < low || value > high => {
                Err(Cause::invalid(name, format!("{value} is not within {low}..{high}")))
            }
            other => Ok(other),
        }
    }

    /// A truth value: `true`/`false` in any case (Python writes `True`).
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Cause> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(Cause::invalid(name, "neither true nor false")),
        }
    }

    /// The values of `name.1`, `name.2`, … in the order of their index.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut found: Vec<(u32, String)> = self
            .0
            .iter()
            .filter_map(|(key, value)| {
                let index = key.strip_prefix(name)?.strip_prefix('.')?.parse().ok()?;
                Some((index, value.clone()))
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// A list with at most `max` values.
    pub fn list_up_to(&self, name: &str, max: usize) -> Result<Vec<String>, Cause> {
        let list = self.list(name);
        if list.len() > max {
            return Err(Cause::invalid(name, format!("more than {max} values")));
        }
        Ok(list)
    }

    /// IPv4 addresses of `name.N`.
    pub fn v4_list(&self, name: &str, max: usize) -> Result<Vec<Ipv4Addr>, Cause> {
        parse_all(&self.list_up_to(name, max)?)
    }

    /// IPv6 addresses of `name.N`.
    pub fn v6_list(&self, name: &str, max: usize) -> Result<Vec<Ipv6Addr>, Cause> {
        parse_all(&self.list_up_to(name, max)?)
    }

    /// `Tag.N.Key`/`Tag.N.Value` pairs in index order; a tag without value has the empty value.
    pub fn tags(&self, max: usize) -> Result<Vec<(String, Option<String>)>, Cause> {
        let mut found: BTreeMap<u32, (String, Option<String>)> = BTreeMap::new();
        for (key, value) in &self.0 {
            let Some(rest) = key.strip_prefix("Tag.") else { continue };
            let Some((index, part)) = rest.split_once('.') else { continue };
            let Ok(index) = index.parse() else { continue };
            let entry = found.entry(index).or_default();
            match part {
                "Key" => entry.0.clone_from(value),
                "Value" => entry.1 = Some(value.clone()),
                _ => {}
            }
        }
        if found.len() > max {
            return Err(Cause::TooManyTags(max));
        }
        Ok(found.into_values().collect())
    }

    /// The parts of `name.1.…`, `name.2.…` in the order of their index, each with the names below its index.
    pub fn records(&self, name: &str) -> Vec<Self> {
        let mut found: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
        for (key, value) in &self.0 {
            let below = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            let Some((index, field)) = below.and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            let Ok(index) = index.parse() else { continue };
            found.entry(index).or_default().insert(field.to_owned(), value.clone());
        }
        found.into_values().map(Self).collect()
    }

    /// A JSON array of strings held in one parameter (`InstanceIds=["i-1"]`).
    pub fn json_list(&self, name: &str) -> Result<Option<Vec<String>>, Cause> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match serde_json::from_str(text) {
            Ok(list) => Ok(Some(list)),
            Err(_) => Err(Cause::invalid(name, "not a JSON array of strings")),
        }
    }

    /// All pairs but `without`, for comparing two requests with one client token.
    pub fn fingerprint(&self, without: &str) -> String {
        let pairs: Vec<String> = self
            .0
            .iter()
            .filter(|(key, _)| key.as_str() != without)
            .map(|(key, value)| format!("{}:{key}={}:{value}", key.len(), value.len()))
            .collect();
        pairs.join(";")
    }
}

fn parse_all<A: std::str::FromStr>(texts: &[String]) -> Result<Vec<A>, Cause> {
    texts
        .iter()
        .map(|text| text.parse().ok().ok_or_else(|| Cause::NoAddress(text.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn list_index_ten_comes_after_index_two() {
        let p = params(&[("Id.10", "c"), ("Id.2", "b"), ("Id.1", "a"), ("Idx.1", "no")]);
        assert_eq!(p.list("Id"), ["a", "b", "c"]);
    }

    #[test]
    fn record_ten_comes_after_record_two_and_keeps_its_own_list() {
        let p =
            params(&[("Filter.10.Name", "b"), ("Filter.2.Name", "a"), ("Filter.2.Value.1", "x")]);
        let records = p.records("Filter");
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].get("Name"), records[1].get("Name")), (Some("a"), Some("b")));
        assert_eq!((records[0].list("Value").len(), records[1].list("Value").len()), (1, 0));
    }

    #[test]
    fn booleans_of_python_and_go_are_both_understood() {
        let p = params(&[("A", "True"), ("B", "false"), ("C", "maybe")]);
        assert_eq!(p.flag("A").unwrap(), Some(true));
        assert_eq!(p.flag("B").unwrap(), Some(false));
        assert_eq!(p.flag("C").unwrap_err(), Cause::invalid("C", "neither true nor false"));
    }

    #[test]
    fn fingerprints_differ_when_a_value_moves_into_another_name() {
        let one = params(&[("A", "1;1:B=1:2")]);
        let two = params(&[("A", "1"), ("B", "2")]);
        assert_ne!(one.fingerprint("ClientToken"), two.fingerprint("ClientToken"));
    }
}
