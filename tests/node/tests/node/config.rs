//! A configuration that changes under living pods, or that the cloud cannot follow.

use anyhow::ensure;
use serde_json::json;
use tideway_node_tests::{Setup, netns};

use crate::run::run;

#[test]
fn a_subnet_that_does_not_exist_is_refused_by_file_line_and_key_at_a_restart_too() {
    run(Setup::default(), |bed| {
        let here = bed.node_mut(0)?;
        here.stop()?;
        let before = here.config.clone();
        let subnets = json!({ "subnets": ["vsw-nowhere"] });
        here.config.as_object_mut().unwrap().insert("eni".into(), subnets);
        let said = netns::said(&here.run_to_end(&[])?);
        let place = "tidewayd.yaml: line 1: key eni.subnets: subnet vsw-nowhere does not exist";
        ensure!(said.contains(place), "{said}");
        here.config = before;
        here.start()
    });
}
