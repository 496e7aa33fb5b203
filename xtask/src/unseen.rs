//! Tests that nobody would run. Libraries without examples in their docs, and programs that are only a `main`, tell cargo so
//! (`doctest = false`, `test = false`): each costs a compilation and a link that end in "0 passed". A test that is written
//! there later must not go unseen.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use cargo_metadata::{MetadataCommand, Target};

/// Checks every library and program of the workspace; the report names how many were looked at.
pub(crate) fn check() -> anyhow::Result<String> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let mut unseen = Vec::new();
    let mut looked = 0;
    for target in metadata.packages.iter().flat_map(|package| &package.targets) {
        if (target.is_lib() || target.is_bin()) && !(target.test && target.doctest) {
            looked += 1;
            unseen.extend(in_target(target)?);
        }
    }
    if unseen.is_empty() {
        return Ok(format!("unseen: no test hides in {looked} targets without tests or examples"));
    }
    bail!("cargo is told not to look there:\n  {}", unseen.join("\n  "))
}

fn in_target(target: &Target) -> anyhow::Result<Vec<String>> {
    let root = target.src_path.as_std_path();
    let mut files = vec![root.to_owned()];
    if target.is_lib() {
        files = sources(root.parent().context("a source file has a directory")?)?;
    }
    let mut unseen = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let complaint = complaint(&text, target);
        unseen.extend(complaint.map(|said| format!("{}: {said}", file.display())));
    }
    Ok(unseen)
}

/// What of this text cargo would not run.
fn complaint(text: &str, target: &Target) -> Option<&'static str> {
    let has = |wanted: fn(&str) -> bool| text.lines().map(str::trim_start).any(wanted);
    let example = |line: &str| line.starts_with("/// ```") || line.starts_with("//! ```");
    let marked = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let module = |line: &str| line.starts_with("mod ");
    if target.is_lib() && !target.doctest && has(example) {
        return Some("an example, but `doctest = false`");
    }
    // The modules of a program are looked at by nobody: where it has some, cargo has to.
    if !target.test && (has(marked) || target.is_bin() && has(module)) {
        return Some("a test or a module that may hold one, but `test = false`");
    }
    None
}

/// All Rust files below a directory.
fn sources(directory: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, test: bool, doctest: bool) -> Target {
        let value = serde_json::json!({
            "name": "x", "kind": [kind], "crate_types": [kind], "src_path": "/x.rs", "edition": "2024",
            "required-features": [], "doc": true, "doctest": doctest, "test": test,
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_example_and_a_test_where_cargo_does_not_look_are_seen() {
        let library = target("lib", false, false);
        assert!(complaint("    /// ```\n", &library).is_some());
        assert!(complaint("    #[test]\n", &library).is_some());
        assert!(complaint("mod pool;\n", &library).is_none());
        assert!(complaint("mod cli;\n", &target("bin", false, false)).is_some());
        assert!(complaint("    #[test]\n", &target("lib", true, false)).is_none());
    }

    #[test]
    fn the_workspace_itself_hides_none() {
        check().unwrap();
    }
}
