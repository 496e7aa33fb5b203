//! `kill -9` of the daemon at points that nobody chose. The seed is fixed, so that a run can be repeated.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Result, ensure};
use tideway_lab::{FaultKind, FaultSpec};
use tideway_node_tests::{
    Node, Pod, Setup, cni, node,
    wait::{Look, s, until},
};

use crate::{
    exclusive::{comes_to, exclusive, has},
    run::run,
};

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn pause(&mut self, longest: Duration) {
        let micros = u64::try_from(longest.as_micros()).unwrap();
        thread::sleep(Duration::from_micros(self.below(micros)));
    }
}

/// Every address belongs to one pod only.
fn unique(node: &Node) -> Result<BTreeSet<String>> {
    let shown = node.show()?;
    let mut seen = BTreeSet::new();
    for ip in shown.pods.iter().flat_map(|pod| &pod.ips) {
        ensure!(seen.insert(ip.clone()), "{ip} was given twice");
    }
    Ok(seen)
}

fn rounds(seed: u64, setup: Setup) {
    run(setup, |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let mut dice = Dice(seed);
        for round in 0..8 {
            let pods: Vec<Pod> =
                (0..3).map(|n| Pod::new(&format!("r{round}-{n}"))).collect::<Result<_>>()?;
            let adds: Vec<_> =
                pods.iter().map(|p| here.cni_spawn("ADD", p)).collect::<Result<_>>()?;
            dice.pause(Duration::from_millis(60));
            here.kill()?;
            let answers: Vec<_> = adds.into_iter().map(cni::ended).collect::<Result<_>>()?;
            here.start()?;
            let held = unique(here)?;
            for (pod, answer) in pods.iter().zip(answers) {
                if answer.fine {
                    for ip in answer.ips()? {
                        ensure!(
                            held.contains(&ip.to_string()),
                            "round {round}: {ip} was promised and forgotten"
                        );
                    }
                } else {
                    answer.fails_with(11)?;
                }
                // The same container asks again, whatever it was told before.
                here.add(pod)?;
                pod.reaches(target)?;
            }
            unique(here)?;
            let dels: Vec<_> =
                pods.iter().map(|p| here.cni_spawn("DEL", p)).collect::<Result<_>>()?;
            dice.pause(Duration::from_millis(60));
            here.kill()?;
            for del in dels {
                cni::ended(del)?.success()?;
            }
            here.start()?;
            here.until_drained()?;
        }
        Ok(())
    });
}

#[test]
fn killed_in_the_middle_of_add_and_del_nothing_is_lost_or_given_twice() {
    rounds(1, Setup::default());
}

#[test]
fn killed_in_the_middle_of_add_and_del_with_both_families() {
    rounds(2, Setup::default().dual());
}

#[test]
fn killed_while_an_eni_moves_in_or_out_the_pod_keeps_it_and_nobody_else_gets_it() {
    run(Setup::default().devices(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let mut dice = Dice(4);
        let mut pod = Pod::new("own")?;
        let (ips, mac) = exclusive(here, &pod)?;
        for round in 0..8 {
            let del = here.cni_spawn("DEL", &pod)?;
            dice.pause(Duration::from_millis(60));
            here.kill()?;
            cni::ended(del)?.success()?;
            // After a DEL that was answered the runtime removes the namespace.
            pod.destroy_namespace();
            here.start()?;
            here.until_drained()?;
            comes_to(&here.host, &mac)?;
            // The kubelet makes the sandbox again.
            pod = pod.again()?;
            let add = here.cni_spawn("ADD", &pod)?;
            dice.pause(Duration::from_millis(60));
            here.kill()?;
            let answer = cni::ended(add)?;
            here.start()?;
            if answer.fine {
                ensure!(answer.ips()? == ips, "round {round}: another address");
                ensure!(here.show()?.pods.len() == 1, "round {round}: promised and forgotten");
            } else {
                answer.fails_with(11)?;
            }
            ensure!(here.add(&pod)? == ips, "round {round}: another address");
            ensure!(has(pod.path(), &mac)?, "round {round}: another ENI");
            pod.reaches(target)?;
        }
        here.del(&pod)
    });
}

#[test]
fn killed_while_the_pool_grows_no_eni_is_lost() {
    run(Setup::default().cold().sized(4, 10), |bed| {
        let mut dice = Dice(3);
        let here = bed.node_mut(0)?;
        for _ in 0..6 {
            here.spawn()?;
            dice.pause(Duration::from_millis(2500));
            here.kill()?;
        }
        here.start()?;
        here.warm()?;
        let enis = bed.lab.secondary_enis()?.len();
        let known = bed.node(0)?.show()?.enis.len();
        ensure!(enis == known, "{enis} ENIs in the cloud, {known} in the books");
        Ok(())
    });
}

#[test]
fn killed_while_addresses_go_back_none_of_them_stays_in_the_source_map() {
    run(Setup::default().pool("low", 1).pool("high", 2), |bed| {
        let here = bed.node(0)?;
        let pods: Vec<Pod> = (0..6).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for answer in here.add_all(&pods)? {
            answer.success()?;
        }
        // The daemon does not learn that the addresses are gone before it is killed.
        let lost = FaultSpec::new(FaultKind::LostAnswer).on("UnassignPrivateIpAddresses");
        let lost = bed.lab.fault(lost)?;
        for pod in &pods {
            here.del(pod)?;
        }
        until("addresses go back", s(40), || {
            let calls = bed.lab.api()?.calls_of("UnassignPrivateIpAddresses");
            Ok(Look::of(calls > 0, || "no call".into()))
        })?;
        let here = bed.node_mut(0)?;
        here.kill()?;
        bed.lab.clear(lost)?;
        bed.node_mut(0)?.start()?;
        // Whether the map equals the pool is looked at after every test.
        let again = bed.node(0)?;
        again.until_shown("the surplus is gone", s(40), |shown| node::free(shown) == 2)?;
        Ok(())
    });
}
