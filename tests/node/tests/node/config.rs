//! A configuration that changes under living pods, or that the cloud cannot follow.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tideway_lab::{CloudKind, FaultKind, FaultSpec};
use tideway_node_tests::{Pod, Setup, netns, node, wait::s};
use tideway_proto::node::Eni;

use crate::run::run_on_both;

#[test]
fn a_subnet_that_left_the_configuration_keeps_its_living_pods_and_gets_no_new_ones() {
    run_on_both(&Setup::default(), |bed| {
        let target = bed.target()?;
        let own = bed.lab.instance("n1")?.vswitch_id.clone();
        let subnets = bed.lab.api()?.description().vswitches.clone();
        let other = subnets.iter().find(|v| v.id != own).context("one subnet")?.id.clone();
        let old = Pod::new("old")?;
        let ips = bed.node(0)?.add(&old)?;
        let here = bed.node_mut(0)?;
        here.config.as_object_mut().unwrap().insert("eni".into(), json!({ "subnets": [&other] }));
        here.restart()?;
        old.reaches(target)?;
        ensure!(here.add(&old)? == ips, "the old pod has another address now");
        let new = Pod::new("new")?;
        let fresh = here.add(&new)?;
        let shown = here.show()?;
        let has = |eni: &&Eni| {
            eni.addresses.iter().any(|a| fresh.iter().any(|ip| a.ip == ip.to_string()))
        };
        let eni = shown.enis.iter().find(has).context("no ENI has the new pod's address")?;
        ensure!(eni.subnet == other, "the new pod is in {}", eni.subnet);
        new.reaches(target)?;
        for ip in &ips {
            new.reaches(*ip)?;
        }
        // The ENI is leaving in the journal too, and its pods still go on.
        here.restart()?;
        for pod in [&old, &new] {
            pod.reaches(target)?;
        }
        here.del(&old)?;
        here.until_shown("the ENI of the former subnet is gone", s(30), |shown| {
            shown.enis.iter().all(|eni| eni.subnet == other) && node::free(shown) >= 2
        })?;
        here.del(&new)
    });
}

#[test]
fn a_subnet_that_does_not_exist_is_refused_by_file_line_and_key_at_a_restart_too() {
    run_on_both(&Setup::default(), |bed| {
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

#[test]
fn a_socket_a_cni_directory_or_a_key_file_that_cannot_be_had_is_refused_by_file_line_and_key() {
    run_on_both(&Setup::default().cold(), |bed| {
        let here = bed.node_mut(0)?;
        let before = here.config.clone();
        let cases = [
            // First: after a run that knew the node it is a warning.
            ("cloud", "credentialsFile", "/proc/none"),
            ("paths", "socket", "/proc/none/tideway.sock"),
            ("paths", "cniConfDir", "/proc/none"),
        ];
        for (section, key, path) in cases {
            let of = here.config.get_mut(section).and_then(|keys| keys.as_object_mut());
            of.context("no such section")?.insert(key.into(), json!(path));
            let said = netns::said(&here.run_to_end(&[])?);
            let place = format!("tidewayd.yaml: line 1: key {section}.{key}: {path}");
            ensure!(said.contains(&place), "{said}");
            here.config = before.clone();
        }
        Ok(())
    });
}

#[test]
fn an_instance_whose_type_changed_while_it_was_stopped_gets_the_limits_of_the_new_one() {
    run_on_both(&Setup::default(), |bed| {
        bed.node_mut(0)?.stop()?;
        let id = bed.lab.instance("n1")?.id.clone();
        let (larger, room) = match bed.lab.api()?.description().cloud {
            CloudKind::Aliyun => ("ecs.g6.8xlarge", (7, 20)),
            // The primary address of an ENI is no pod's there.
            CloudKind::Aws => ("m5.4xlarge", (7, 29)),
        };
        bed.lab.api()?.with_cloud(|cloud| {
            if let Some(instance) = cloud.vpc.instances.get_mut(&id) {
                instance.instance_type = larger.to_owned();
            }
        });
        bed.node_mut(0)?.start()?;
        let shown = bed.node(0)?.show()?;
        ensure!(shown.instance_type == larger, "{}", shown.instance_type);
        let capacity = shown.capacity.context("no capacity")?;
        let found = (capacity.adapters, capacity.pods_per_adapter);
        ensure!(found == room, "{capacity:?}");
        Ok(())
    });
}

#[test]
fn limits_that_the_cloud_does_not_tell_come_from_the_built_in_table() {
    run_on_both(&Setup::default().cold(), |bed| {
        bed.lab.fault(FaultSpec::new(FaultKind::ServerError).on("DescribeInstanceTypes"))?;
        bed.node_mut(0)?.start()?;
        let here = bed.node(0)?;
        here.warm()?;
        ensure!(here.log().contains("the built-in table"), "not told");
        Ok(())
    });
}

/// A group of the form that AWS takes.
const GONE: &str = "sg-0123456789abcdef0";

#[test]
fn a_security_group_that_does_not_exist_is_named_with_its_key() {
    run_on_both(&Setup::default().cold().pool("addTimeoutSeconds", 3), |bed| {
        let here = bed.node_mut(0)?;
        let before = here.config.clone();
        let groups = json!({ "securityGroups": [GONE] });
        here.config.as_object_mut().unwrap().insert("eni".into(), groups);
        here.start()?;
        here.add_is_told(&Pod::new("p")?, &[GONE, "eni.securityGroups"])?;
        here.config = before;
        here.restart()
    });
}
