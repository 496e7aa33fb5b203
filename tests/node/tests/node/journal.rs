//! The journal: another node's, broken, and rebuilt.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tideway_node_tests::{Node, Pod, Setup, cni::Call, netns, node, wait::s};

use crate::{disk::told, run::run};

#[test]
fn a_journal_that_was_cloned_with_the_image_is_refused() {
    let setup = Setup { nodes: vec!["n1", "n2"], ..Setup::default() };
    run(setup, |bed| {
        bed.node_mut(0)?.stop()?;
        bed.node_mut(1)?.stop()?;
        let (foreign, own) = (bed.node(0)?.journal(), bed.node(1)?.journal());
        let kept = fs::read(&own)?;
        fs::copy(&foreign, &own)?;
        let other = bed.lab.instance("n1")?.id.clone();
        let here = bed.node_mut(1)?;
        let output = here.run_to_end(&[])?;
        let said = netns::said(&output);
        ensure!(!output.status.success(), "it was accepted");
        ensure!(said.contains(&other) && said.contains("--rebuild-journal"), "{said}");
        node::overwrite(&own, &kept)?;
        here.start()?;
        bed.node_mut(0)?.start()
    });
}

#[test]
fn a_broken_journal_is_told_and_never_silently_replaced() {
    run(Setup::default(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let pod = Pod::new("survivor")?;
        here.add(&pod)?;
        here.stop()?;
        let kept = fs::read(here.journal())?;
        node::overwrite(&here.journal(), b"this is no journal")?;
        here.spawn()?;
        told(here, &format!("journal {}: the file is damaged", here.journal().display()))?;
        here.stop()?;
        // Without a runtime nobody tells whose links these are: nothing is thrown away.
        let output = here.run_to_end(&["--rebuild-journal"])?;
        let said = netns::said(&output);
        ensure!(!output.status.success() && said.contains("runtimeSocket"), "{said}");
        ensure!(fs::read(here.journal())? == b"this is no journal");
        pod.reaches(target)?;
        node::overwrite(&here.journal(), &kept)?;
        here.start()?;
        pod.reaches(target)?;
        here.del(&pod)
    });
}

#[test]
fn a_journal_that_is_gone_or_empty_cuts_off_no_living_pod() {
    run(Setup::default().devices().runtime(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let (shared, own) = (Pod::new("shared")?, Pod::new("own")?);
        here.add(&shared)?;
        here.kubelet()?.offers(1, s(20))?;
        here.kubelet()?.admit(&own)?;
        here.add(&own)?;
        here.stop()?;
        let refused = |how: &str, here: &Node, arguments: &[&str]| -> Result<()> {
            let output = here.run_to_end(arguments)?;
            let said = netns::said(&output);
            let told = said.contains("--rebuild-journal")
                && said.contains(&here.journal().display().to_string());
            ensure!(!output.status.success() && told, "{how}: {said}");
            for pod in [&shared, &own] {
                pod.reaches(target).with_context(|| how.to_owned())?;
            }
            Ok(())
        };
        fs::remove_file(here.journal())?;
        refused("gone", here, &[])?;
        // What the refused start left is no reason to believe that there are no pods.
        refused("gone, the second start", here, &[])?;
        node::overwrite(&here.journal(), b"")?;
        refused("emptied", here, &[])?;
        refused("uninstall", here, &["uninstall"])?;
        here.spawn_with(&["--rebuild-journal"])?;
        here.wait_ready()?;
        let shown = here.show()?;
        ensure!(shown.pods.len() == 2, "{}", node::brief(&shown));
        for pod in [&shared, &own] {
            pod.reaches(target).context("after the rebuild")?;
            here.del(pod)?;
        }
        Ok(())
    });
}

#[test]
fn a_journal_that_was_set_back_while_the_machine_ran_cuts_off_no_pod_that_it_forgot() {
    run(Setup::default().devices().runtime(), |bed| {
        let target = *bed.lab.addresses("cp")?.first().unwrap();
        let here = bed.node_mut(0)?;
        let (known, forgotten) = (Pod::new("known")?, Pod::new("forgotten")?);
        here.add(&known)?;
        here.stop()?;
        let older = fs::read(here.journal())?;
        here.start()?;
        here.add(&forgotten)?;
        here.stop()?;
        node::overwrite(&here.journal(), &older)?;
        let said = netns::said(&here.run_to_end(&[])?);
        ensure!(said.contains("set back") && said.contains("--rebuild-journal"), "{said}");
        forgotten.reaches(target)?;
        here.spawn_with(&["--rebuild-journal"])?;
        here.wait_ready()?;
        let shown = here.show()?;
        ensure!(shown.pods.len() == 2, "{}", node::brief(&shown));
        forgotten.reaches(target).context("after the rebuild")?;
        here.restart().context("what was rebuilt goes on counting")?;
        here.del(&known)?;
        here.del(&forgotten)
    });
}

#[test]
fn a_rebuilt_journal_keeps_living_pods_and_their_addresses() {
    run(Setup::default().dual().devices().runtime(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let (shared, own) = (Pod::new("shared")?, Pod::new("own")?);
        let added = here.cni("ADD", &shared, &Call::default())?;
        here.kubelet()?.offers(1, s(20))?;
        here.kubelet()?.admit(&own)?;
        let mut taken = added.ips()?;
        taken.extend(here.add(&own)?);
        here.stop()?;
        node::overwrite(&here.journal(), b"this is no journal")?;
        here.spawn_with(&["--rebuild-journal"])?;
        here.wait_ready()?;
        let shown = here.show()?;
        ensure!(shown.pods.len() == 2, "{}", node::brief(&shown));
        for pod in [&shared, &own] {
            pod.reaches(target).context("after the rebuild")?;
        }
        here.check(&shared, &added.success()?)?;
        here.until_shown("the pool is known again", s(20), |shown| node::free(shown) >= 4)?;
        let fresh = [Pod::new("a")?, Pod::new("b")?, Pod::new("c")?, Pod::new("d")?];
        for other in &fresh {
            let got = here.add(other)?;
            ensure!(!got.iter().any(|ip| taken.contains(ip)), "one of {taken:?} was given twice");
        }
        for pod in [&shared, &own] {
            pod.reaches(target).context("beside new pods")?;
        }
        // What was rebuilt is durable too.
        here.restart()?;
        for pod in [&shared, &own] {
            pod.reaches(target).context("after one more restart")?;
            here.del(pod)?;
        }
        for other in &fresh {
            here.del(other)?;
        }
        Ok(())
    });
}
