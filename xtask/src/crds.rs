//! The custom resource definitions in `manifests/crds`, generated from the Rust types.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Says where the text comes from.
const HEAD: &str =
    "# Generated from crates/kubeapi by `cargo run -p xtask -- crds`; do not edit.\n";

/// Writes the files, or with `check` compares them with what would be written.
pub(crate) fn crds(check: bool) -> anyhow::Result<String> {
    let dir = crate::root()?.join("manifests/crds");
    let mut names = Vec::new();
    for (name, definition) in tideway_kubeapi::definitions()? {
        let (path, text) = (dir.join(name), yaml(&definition)?);
        if check {
            same(&path, &text)?;
        } else {
            std::fs::create_dir_all(&dir)?;
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        names.push(name);
    }
    Ok(format!("crds: {} {}", names.join(", "), if check { "are up to date" } else { "written" }))
}

fn same(path: &Path, text: &str) -> anyhow::Result<()> {
    let there = std::fs::read_to_string(path).unwrap_or_default();
    if there == text {
        return Ok(());
    }
    bail!(
        "{} is not what the types say; run `cargo run -p xtask -- crds` and commit the result",
        path.display()
    )
}

fn yaml(definition: &Value) -> anyhow::Result<String> {
    let body = serde_saphyr::to_string(definition).context("a definition as YAML")?;
    Ok(format!("{HEAD}{body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_in_the_manifests_are_those_of_the_types() {
        crds(true).unwrap();
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_definition() {
        for (_, definition) in tideway_kubeapi::definitions().unwrap() {
            let back: Value = serde_saphyr::from_str(&yaml(&definition).unwrap()).unwrap();
            assert_eq!(back, definition);
        }
    }
}
