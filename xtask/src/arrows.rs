//! The test of the arrows: programs → shells → pure crates → model (docs/architecture.md, "Rooms of the house").
//!
//! Pure crates know no clock, randomness, IO, async runtime or lock; so they may not even depend on crates that bring them.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Floors of the house, lowest first. A package may depend on packages of lower floors only, and on `same` of its own.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &["tideway-model", "tideway-proto"]),
    ("pure", &["tideway-cloud", "tideway-ipam", "tideway-datapath"]),
    (
        "shells",
        &[
            "tideway-cloud-aliyun",
            "tideway-cloud-aws",
            "tideway-netlink",
            "tideway-journal",
            "tideway-kubeapi",
            "tideway-nodeapi",
            "tideway-telemetry",
            "tideway-deviceplugin",
        ],
    ),
    ("programs", &["tidewayd", "tideway-cni", "tideway-cli", "tideway-extender"]),
    (
        "test bed",
        &[
            "tideway-lab",
            "tideway-testkit",
            "tideway-sim",
            "tideway-fuzz",
            "tideway-probe",
            "tideway-e2e",
            "tideway-node-tests",
            "xtask",
        ],
    ),
];

/// Packages of one floor that may use each other: (from, to).
const SAME_FLOOR: &[(&str, &str)] = &[("tideway-ipam", "tideway-cloud")];

/// What a pure crate must not depend on.
const IMPURE: &[&str] =
    &["tokio", "hyper", "rand", "nix", "netlink-sys", "redb", "kube", "tonic", "uuid", "tracing"];

/// The only packages that may name these crates.
const ONLY: &[(&str, &[&str])] = &[
    ("netlink-sys", &["tideway-netlink"]),
    ("netlink-packet-route", &["tideway-netlink"]),
    ("kube", &["tideway-kubeapi"]),
    ("k8s-openapi", &["tideway-kubeapi"]),
    ("redb", &["tideway-journal"]),
    ("aws-sdk-ec2", &["tideway-cloud-aws"]),
    ("aws-sdk-sts", &["tideway-cloud-aws"]),
    ("aws-config", &["tideway-cloud-aws"]),
];

/// Checks every package of the workspace; the report names the number of arrows.
pub(crate) fn check() -> anyhow::Result<String> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(n, (_, names))| names.iter().map(move |name| (*name, n)))
        .collect();
    let mut arrows = 0;
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some(floor) = floors.get(name) else {
            wrong.push(format!("{name} stands on no floor: add it to xtask/src/arrows.rs"));
            continue;
        };
        for target in normal_dependencies(package) {
            arrows += 1;
            if let Some(complaint) = complaint(name, *floor, target, &floors) {
                wrong.push(complaint);
            }
        }
    }
    if wrong.is_empty() {
        return Ok(format!(
            "arrows: {arrows} dependencies of {} packages point downwards",
            metadata.packages.len()
        ));
    }
    bail!("{} arrows point the wrong way:\n  {}", wrong.len(), wrong.join("\n  "))
}

fn normal_dependencies(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Normal)
        .map(|d| d.name.as_str())
}

fn complaint(from: &str, floor: usize, to: &str, floors: &BTreeMap<&str, usize>) -> Option<String> {
    if let Some((_, allowed)) = ONLY.iter().find(|(name, _)| *name == to)
        && !allowed.contains(&from)
    {
        return Some(format!("{from} -> {to}: only {} may use it", allowed.join(", ")));
    }
    let pure = floor <= 1 && from != "tideway-proto";
    if pure && IMPURE.contains(&to) {
        return Some(format!("{from} -> {to}: a pure crate must not depend on it"));
    }
    let below = floors.get(to)?;
    if from == "tideway-lab" {
        return Some(format!("{from} -> {to}: the lab shares no code with what it judges"));
    }
    let fine = *below < floor || SAME_FLOOR.contains(&(from, to)) || (floor == 4 && *below == 4);
    (!fine).then(|| format!("{from} -> {to}: not downwards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors() -> BTreeMap<&'static str, usize> {
        FLOORS
            .iter()
            .enumerate()
            .flat_map(|(n, (_, names))| names.iter().map(move |name| (*name, n)))
            .collect()
    }

    #[test]
    fn a_pure_crate_that_learns_about_io_is_seen() {
        assert!(complaint("tideway-ipam", 1, "tokio", &floors()).is_some());
        assert!(complaint("tideway-ipam", 1, "tideway-model", &floors()).is_none());
    }

    #[test]
    fn an_arrow_upwards_and_a_second_user_of_the_kernel_are_seen() {
        assert!(complaint("tideway-netlink", 2, "tidewayd", &floors()).is_some());
        assert!(complaint("tidewayd", 3, "netlink-sys", &floors()).is_some());
        assert!(complaint("tideway-lab", 4, "tideway-model", &floors()).is_some());
    }

    #[test]
    fn the_workspace_itself_is_clean() {
        check().unwrap();
    }
}
