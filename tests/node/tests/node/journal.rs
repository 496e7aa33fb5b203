//! The journal: another node's, broken, and rebuilt.

use std::fs;

use anyhow::{Context as _, ensure};
use tideway_node_tests::{Pod, Setup, netns, node, wait::s};

use crate::run::run;

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
fn a_broken_journal_is_told_and_rebuilt_only_when_asked_and_living_pods_stay() {
    run(Setup::default(), |bed| {
        let target = *bed.lab.addresses("cp")?.first().unwrap();
        let here = bed.node_mut(0)?;
        let pod = Pod::new("survivor")?;
        let ips = here.add(&pod)?;
        here.stop()?;
        node::overwrite(&here.journal(), b"this is no journal")?;
        let output = here.run_to_end(&[])?;
        let said = netns::said(&output);
        ensure!(!output.status.success() && said.contains("--rebuild-journal"), "{said}");
        ensure!(said.contains(&here.journal().display().to_string()), "{said}");
        pod.reaches(target)?;

        here.spawn_with(&["--rebuild-journal"])?;
        here.wait_ready()?;
        let shown = here.until_shown("the ENIs are adopted", s(10), |shown| !shown.enis.is_empty())?;
        pod.reaches(target).context("after the rebuild")?;
        // A new pod never gets the address of one that lives, whatever the new journal knows of it.
        let fresh = [Pod::new("a")?, Pod::new("b")?, Pod::new("c")?, Pod::new("d")?];
        for other in &fresh {
            let got = here.add(other)?;
            ensure!(!got.iter().any(|ip| ips.contains(ip)), "{ips:?} was given twice; {}", node::brief(&shown));
        }
        pod.reaches(target).context("beside new pods")?;
        for other in &fresh {
            here.del(other)?;
        }
        here.del(&pod)
    });
}
