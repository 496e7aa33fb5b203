//! `Filter.N.Name` with `Filter.N.Value.M`: an item must match one value of every filter; `*` and `?` are wildcards, unless a
//! backslash stands before them.

use std::collections::BTreeMap;

use super::codes::Failure;
use crate::cloud::cause::Cause;
use crate::cloud::params::Params;

/// The filters of one call.
#[derive(Debug)]
pub struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    /// Reads them.
    pub fn read(params: &Params) -> Result<Self, Failure> {
        let read = |filter: Params| -> Result<(String, Vec<String>), Failure> {
            let values = filter.list("Value");
            if values.is_empty() {
                return Err(Cause::Missing("Filter.Value".to_owned()).into());
            }
            Ok((filter.need("Name")?.to_owned(), values))
        };
        params.records("Filter").into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an item matches. `field` gives the item's values for a filter's name, `None` for a name that is no
    /// filter of this action.
    pub fn take(&self, field: impl Fn(&str) -> Option<Vec<String>>) -> Result<bool, Failure> {
        let mut all = true;
        for (name, wanted) in &self.0 {
            let Some(found) = field(name) else {
                return Err(Failure::value(format!("The filter '{name}' is invalid")));
            };
            all &= found.iter().any(|value| wanted.iter().any(|pattern| like(pattern, value)));
        }
        Ok(all)
    }
}

/// The values of the filters `tag:KEY` and `tag-key`.
pub fn of_tags(tags: &BTreeMap<String, String>, name: &str) -> Option<Vec<String>> {
    if name == "tag-key" {
        return Some(tags.keys().cloned().collect());
    }
    let key = name.strip_prefix("tag:")?;
    Some(tags.get(key).cloned().into_iter().collect())
}

/// Whether `text` matches a pattern with `*` (anything) and `?` (one character).
fn like(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| like(rest.as_str(), text.get(at..).unwrap_or_default()))
        }
        Some(wanted) => {
            let (wanted, any) = match wanted {
                '\\' => (rest.next().unwrap_or('\\'), false),
                '?' => ('?', true),
                plain => (plain, false),
            };
            let mut there = text.chars();
            there.next().is_some_and(|found| any || wanted == found)
                && like(rest.as_str(), there.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_takes_the_meaning_of_a_wildcard_away() {
        assert!(like(r"\*a\?\\", r"*a?\") && like(r"1\**", "1*2"));
        assert!(!like(r"\*a", "xa") && !like(r"a\?", "ab"));
    }

    #[test]
    fn wildcards_match_as_ec2_has_them_and_a_dot_is_a_dot() {
        assert!(like("10.0.*", "10.0.1.7") && like("*", "") && like("a?c*", "abc"));
        assert!(!like("10.0.*", "10x0.1.7") && !like("a?c", "ac") && !like("", "a"));
        assert!(like("*中?", "x中文"));
    }
}
