//! `MaxResults` with `NextToken`. Without either, everything is in one answer.

use serde_json::{Map, Value, json};

use super::codes::Failure;
use crate::cloud::actions::paging::{PageRule, cut};
use crate::cloud::cause::Cause;
use crate::cloud::params::Params;

/// Cuts the page that `params` ask for; `ids` is the name of the list of ids, which excludes pages. The answer holds
/// `nextToken`, when there is more. `items` come in a stable order, each with a number that only grows.
pub fn page<T>(
    items: Vec<(u32, T)>,
    params: &Params,
    ids: &'static str,
    most: u32,
) -> Result<(Vec<T>, Map<String, Value>), Failure> {
    let asked = params.int_within("MaxResults", 5, most)?;
    if asked.is_some() && !params.list(ids).is_empty() {
        return Err(Cause::Exclusive(ids, "MaxResults").into());
    }
    let all = u32::try_from(items.len()).unwrap_or(u32::MAX).max(1);
    let rule =
        PageRule { default: all, floor: 5, ceiling: most.max(all), tokens: true, pages: false };
    let mut cut = cut(items, params, rule)?;
    let mut out = Map::new();
    if let Some(token) = cut.fields.remove("NextToken").filter(|token| *token != json!("")) {
        out.insert("nextToken".to_owned(), token);
    }
    Ok((cut.items, out))
}

/// Numbers items in the order in which they stand.
pub fn numbered<T>(items: impl IntoIterator<Item = T>) -> Vec<(u32, T)> {
    (1_u32..).zip(items).collect()
}
