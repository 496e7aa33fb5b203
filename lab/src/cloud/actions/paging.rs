//! Both page styles, the first one of both clouds: `MaxResults` with `NextToken`, and `PageNumber` with `PageSize`.
//!
//! A token names the last item that was seen, so items that come and go meanwhile neither repeat nor vanish.

use serde_json::{Map, Value, json};

use crate::cloud::cause::Cause;
use crate::cloud::params::Params;

/// Limits of one action.
#[derive(Debug, Clone, Copy)]
pub struct PageRule {
    /// Items when nothing is asked for.
    pub default: u32,
    /// Smallest `MaxResults`; less is raised to it.
    pub floor: u32,
    /// Largest page; more is lowered to it.
    pub ceiling: u32,
    /// Whether `NextToken` exists.
    pub tokens: bool,
    /// Whether page numbers exist.
    pub pages: bool,
}

/// One page and the fields that go with it.
#[derive(Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// `NextToken`, `PageNumber`, `PageSize`, `TotalCount` as the style wants.
    pub fields: Map<String, Value>,
}

/// Cuts the page that `params` ask for. `items` come in a stable order, each with a number that only grows.
pub fn cut<T>(items: Vec<(u32, T)>, params: &Params, rule: PageRule) -> Result<Page<T>, Cause> {
    let total = items.len();
    let mut fields = Map::new();
    fields.insert("TotalCount".to_owned(), json!(total));
    let by_page = rule.pages
        && (!rule.tokens
            || (params.get("PageNumber").is_some() || params.get("PageSize").is_some()))
        && params.get("NextToken").is_none();
    if by_page {
        let number = params.int_within("PageNumber", 1, u32::MAX)?.unwrap_or(1);
        let size = params.int_within("PageSize", 1, rule.ceiling)?.unwrap_or(rule.default);
        fields.insert("PageNumber".to_owned(), json!(number));
        fields.insert("PageSize".to_owned(), json!(size));
        let skip = u64::from(number - 1) * u64::from(size);
        let items = items
            .into_iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(usize::try_from(size).unwrap_or(usize::MAX))
            .map(|(_, item)| item)
            .collect();
        return Ok(Page { items, fields });
    }
    let size = params
        .int("MaxResults")?
        .map_or(rule.default, |n| n.clamp(rule.floor.max(1), rule.ceiling));
    let after = match params.get("NextToken") {
        None => None,
        Some(token) => Some(read_token(token).ok_or(Cause::NextToken)?),
    };
    let rest: Vec<(u32, T)> =
        items.into_iter().filter(|(n, _)| after.is_none_or(|after| *n > after)).collect();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rest.len() > size;
    let page: Vec<(u32, T)> = rest.into_iter().take(size).collect();
    let token = match page.last() {
        Some((last, _)) if more => write_token(*last),
        _ => String::new(),
    };
    fields.insert("NextToken".to_owned(), json!(token));
    Ok(Page { items: page.into_iter().map(|(_, item)| item).collect(), fields })
}

fn write_token(last: u32) -> String {
    hex::encode(format!("tw{last}"))
}

fn read_token(token: &str) -> Option<u32> {
    let bytes = hex::decode(token).ok()?;
    std::str::from_utf8(&bytes).ok()?.strip_prefix("tw")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENI: PageRule =
        PageRule { default: 10, floor: 10, ceiling: 500, tokens: true, pages: true };

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn item_removed_between_two_token_pages_hides_no_other() {
        let all: Vec<(u32, u32)> = (1..=25).map(|n| (n, n)).collect();
        let first = cut(all.clone(), &params(&[("MaxResults", "3")]), ENI).unwrap();
        assert_eq!(first.items, (1..=10).collect::<Vec<_>>(), "3 is raised to 10");
        let token = first.fields["NextToken"].as_str().unwrap().to_owned();
        let rest: Vec<(u32, u32)> = all.into_iter().filter(|(n, _)| *n != 4).collect();
        let second =
            cut(rest, &params(&[("MaxResults", "500"), ("NextToken", &token)]), ENI).unwrap();
        assert_eq!(second.items, (11..=25).collect::<Vec<_>>());
        assert_eq!(second.fields["NextToken"], "");
    }

    #[test]
    fn page_numbers_still_work_and_a_made_up_token_is_refused() {
        let all: Vec<(u32, u32)> = (1..=25).map(|n| (n, n)).collect();
        let page =
            cut(all.clone(), &params(&[("PageNumber", "3"), ("PageSize", "10")]), ENI).unwrap();
        assert_eq!(page.items, (21..=25).collect::<Vec<_>>());
        assert_eq!(page.fields["TotalCount"], 25);
        assert!(page.fields.get("NextToken").is_none());
        let error = cut(all, &params(&[("NextToken", "tok==/+")]), ENI).unwrap_err();
        assert_eq!(error, Cause::NextToken);
    }
}
