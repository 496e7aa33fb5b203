//! Choices by number on a command line: `0-312` or `3,17,40-45`.

use std::fmt::Write as _;

/// The text of a list of numbers in order.
pub fn show(steps: &[u64]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(first) = steps.get(at) {
        let mut last = *first;
        at += 1;
        while steps.get(at) == Some(&(last + 1)) {
            last += 1;
            at += 1;
        }
        if !out.is_empty() {
            out.push(',');
        }
        let _written =
            if last == *first { write!(out, "{first}") } else { write!(out, "{first}-{last}") };
    }
    out
}

/// The numbers of a text.
pub fn read(text: &str) -> anyhow::Result<Vec<u64>> {
    let mut out = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        match part.split_once('-') {
            Some((first, last)) => out.extend(first.parse::<u64>()?..=last.parse::<u64>()?),
            None => out.push(part.parse()?),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_list_of_choices_survives_text_and_back() {
        let steps = [0, 1, 2, 7, 9, 10];
        assert_eq!(super::show(&steps), "0-2,7,9-10");
        assert_eq!(super::read("0-2,7,9-10").unwrap(), steps);
        super::read("a").unwrap_err();
    }
}
