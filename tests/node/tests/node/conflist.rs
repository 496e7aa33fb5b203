//! The CNI configuration has the version that the runtime knows, whenever the runtime tells it.

use anyhow::{Context as _, Result};
use serde_json::Value;
use tideway_node_tests::{
    Node, Setup,
    wait::{Look, s, until},
};

use crate::run::run;

fn version(node: &Node) -> Result<String> {
    let list: Value = serde_json::from_slice(&std::fs::read(node.conflist())?)?;
    let version = list.get("cniVersion").and_then(Value::as_str).context("no version")?;
    Ok(version.to_owned())
}

fn becomes(node: &Node, wanted: &str) -> Result<()> {
    until(&format!("the CNI configuration is of {wanted}"), s(20), || {
        let seen = version(node)?;
        Ok(Look::of(seen == wanted, || seen))
    })
}

#[test]
fn a_runtime_that_is_away_at_a_restart_loses_neither_status_nor_gc_and_another_one_is_followed() {
    run(Setup::default().runtime(), |bed| {
        let here = bed.node_mut(0)?;
        becomes(here, "1.1.0")?;
        here.runtime()?.is(None);
        here.restart()?;
        // The daemon answers before it has asked; this line comes after it.
        until("the runtime's silence is told", s(20), || {
            let told = here.log().contains("does not tell its version yet");
            Ok(Look::of(told, || "nothing".into()))
        })?;
        becomes(here, "1.1.0")?;
        here.runtime()?.is(Some("1.7.27"));
        becomes(here, "1.0.0")?;
        here.runtime()?.is(Some("v2.1.9"));
        becomes(here, "1.1.0")?;
        std::fs::remove_file(here.conflist())?;
        until("it comes back", s(20), || {
            Ok(Look::of(here.conflist().exists(), || "not there".into()))
        })
    });
}

#[test]
fn a_runtime_that_is_away_at_the_first_start_gets_status_and_gc_when_it_is_there() {
    run(Setup::default().runtime().cold(), |bed| {
        let here = bed.node_mut(0)?;
        here.runtime()?.is(None);
        here.start()?;
        until("the CNI configuration is there", s(20), || {
            Ok(Look::of(here.conflist().exists(), || "not there".into()))
        })?;
        becomes(here, "1.0.0")?;
        here.runtime()?.is(Some("v2.1.9"));
        becomes(here, "1.1.0")
    });
}
