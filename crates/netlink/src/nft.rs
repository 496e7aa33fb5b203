//! Runs `nft` and reads our maps back. 13 ms a run: only pool changes and the base pay for it, never an ADD.

use std::{
    collections::BTreeMap,
    io::Write,
    net::IpAddr,
    process::{Command, Stdio},
};

use tideway_datapath::nft::{map_name, slot_of_chain};
use tideway_model::{Family, names};

use crate::DatapathError;

fn failed(cause: impl ToString) -> DatapathError {
    DatapathError::Nft { cause: cause.to_string() }
}

/// Runs a script in one transaction. The child inherits the namespace of the calling thread.
pub(crate) fn run(script: &str) -> Result<(), DatapathError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("cannot start nft: {e}")))?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(failed(text.lines().take(4).collect::<Vec<_>>().join(" ")));
    }
    written.unwrap_or(Ok(())).map_err(failed)
}

/// The pool addresses in the kernel's maps with their table slots; `None` when our table does not exist.
pub(crate) fn maps() -> Result<Option<BTreeMap<IpAddr, u16>>, DatapathError> {
    let output = Command::new("nft")
        .args(["-j", "list", "table", "inet", names::NFT_TABLE])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(format!("cannot start nft: {e}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("No such file or directory") {
            return Ok(None);
        }
        return Err(failed(text.lines().next().unwrap_or("no message")));
    }
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(failed)?;
    Ok(Some(read_maps(&value)))
}

fn read_maps(listing: &serde_json::Value) -> BTreeMap<IpAddr, u16> {
    let ours = Family::BOTH.map(map_name);
    let objects = listing["nftables"].as_array().into_iter().flatten();
    let maps = objects.filter_map(|o| o.get("map"));
    let maps = maps.filter(|m| m["name"].as_str().is_some_and(|name| ours.contains(&name)));
    let elements = maps.filter_map(|m| m["elem"].as_array()).flatten();
    elements
        .filter_map(|element| {
            let (key, verdict) = (element.get(0)?, element.get(1)?);
            let ip = key.as_str()?.parse().ok()?;
            let slot = slot_of_chain(verdict.pointer("/goto/target")?.as_str()?)?;
            Some((ip, slot))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_and_damaged_elements_of_a_listing_are_left_out() {
        let listing = serde_json::json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"map": {"name": "eni4", "elem": [
                ["10.0.0.11", {"goto": {"target": "eni_1"}}],
                ["10.0.0.12", {"goto": {"target": "other"}}],
                ["bad", {"goto": {"target": "eni_1"}}],
                "10.0.0.13"
            ]}},
            {"map": {"name": "eni6", "elem": [["fd00::1", {"goto": {"target": "eni_2"}}]]}},
            {"map": {"name": "foreign", "elem": [["10.0.0.14", {"goto": {"target": "eni_3"}}]]}},
            {"map": {"name": "eni6"}}
        ]});
        let maps: Vec<_> =
            read_maps(&listing).into_iter().map(|(i, s)| (i.to_string(), s)).collect();
        assert_eq!(maps, vec![("10.0.0.11".to_owned(), 1), ("fd00::1".to_owned(), 2)]);
    }
}
