//! Pods that vanish without a DEL, and sources that say so by mistake.

use anyhow::ensure;
use tideway_node_tests::{
    Pod, Setup, node,
    wait::{Look, s, until},
};

use crate::run::run;

#[test]
fn a_pod_that_vanished_without_a_del_is_freed_by_two_sources() {
    run(Setup::default().runtime(), |bed| {
        let here = bed.node(0)?;
        let mut pod = Pod::new("gone")?;
        let ips = here.add(&pod)?;
        pod.destroy_namespace();
        here.runtime()?.removed(&pod);
        here.until_free(&ips)?;
        ensure!(here.show()?.pods.is_empty());
        Ok(())
    });
}

#[test]
fn a_runtime_that_lists_nothing_frees_no_living_pod() {
    run(Setup::default().runtime(), |bed| {
        let target = bed.target()?;
        let here = bed.node(0)?;
        let pods = [Pod::new("a")?, Pod::new("b")?];
        for pod in &pods {
            here.add(pod)?;
        }
        let sandboxes = here.runtime()?.forget_all();
        // More looks than any rule asks for.
        for n in 0..4 {
            here.pod_passes(&format!("other{n}"))?;
        }
        let shown = here.show()?;
        ensure!(shown.pods.len() == 2, "{}", node::brief(&shown));
        here.runtime()?.remember(sandboxes);
        for pod in &pods {
            pod.reaches(target)?;
            here.del(pod)?;
        }
        Ok(())
    });
}

#[test]
fn a_pod_that_came_while_the_runtime_was_slow_to_answer_is_not_taken_for_dead() {
    run(Setup::default().runtime(), |bed| {
        let target = bed.target()?;
        let here = bed.node(0)?;
        let runtime = here.runtime()?;
        let asked = |more: u64| {
            let enough = runtime.listings() + more;
            until("the runtime is asked", s(20), || {
                let listings = runtime.listings();
                Ok(Look::of(listings >= enough, || format!("{listings} of {enough} times")))
            })
        };
        // Without pods nothing is looked at.
        let first = Pod::new("first")?;
        here.add(&first)?;
        runtime.hold();
        asked(1)?;
        let late = Pod::new("late")?;
        here.add(&late)?;
        // Some runtimes list a sandbox only when all of it is there.
        runtime.removed(&late);
        runtime.let_go();
        asked(4)?;
        let shown = here.show()?;
        ensure!(shown.pods.len() == 2, "{}", node::brief(&shown));
        late.reaches(target)?;
        here.del(&late)?;
        here.del(&first)
    });
}

#[test]
fn a_namespace_that_vanished_while_the_runtime_lists_the_sandbox_frees_nothing_yet() {
    run(Setup::default().runtime(), |bed| {
        let here = bed.node(0)?;
        let mut pod = Pod::new("half")?;
        here.add(&pod)?;
        pod.destroy_namespace();
        for n in 0..4 {
            here.pod_passes(&format!("other{n}"))?;
        }
        ensure!(here.show()?.pods.len() == 1, "freed by one source: {:?}", here.show()?.pods);
        here.del(&pod)
    });
}

#[test]
fn a_sandbox_that_ended_with_its_namespace_is_freed_before_somebody_removes_it() {
    run(Setup::default().runtime(), |bed| {
        let here = bed.node(0)?;
        let (mut dead, living) = (Pod::new("dead")?, Pod::new("living")?);
        let ips = here.add(&dead)?;
        here.add(&living)?;
        // The sandbox of the second one ended, too, but its namespace lives: the kernel's word keeps it.
        here.runtime()?.ended(&dead);
        here.runtime()?.ended(&living);
        dead.destroy_namespace();
        here.until_free(&ips)?;
        let shown = here.show()?;
        ensure!(shown.pods.len() == 1, "{}", node::brief(&shown));
        here.del(&living)
    });
}
