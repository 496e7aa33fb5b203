//! Objects with our protocol number, or of our names, that belong to nothing.

use anyhow::{Result, ensure};
use tideway_node_tests::{
    Node, Pod, Setup, netns,
    wait::{Look, s, until},
};

use crate::run::run;

/// A link as our pods have it, a route and a rule of ours: none of them belongs to anything.
const STRAYS: [&str; 3] = [
    "link add tw0123456789ab type veth peer name other-end",
    "route add 192.0.2.9/32 dev eth0 table 510 proto 84",
    "rule add from 192.0.2.9 lookup 1007 priority 900 protocol 84",
];

/// The same of somebody else.
const FOREIGN: [&str; 3] = [
    "link add tw-somebody type veth peer name his-end",
    "route add 192.0.2.8/32 dev eth0 table 510 proto static",
    "rule add from 192.0.2.8 lookup 1007 priority 901 protocol static",
];

fn ip(here: &Node, words: &str) -> Result<String> {
    netns::run(&here.host, "ip", words.split(' '))
}

/// What the kernel has of it all.
fn seen(here: &Node) -> Result<String> {
    let look = ["-br link", "route show table 510", "rule"].map(|words| ip(here, words));
    Ok(look.into_iter().collect::<Result<Vec<_>>>()?.join("\n"))
}

#[test]
fn what_belongs_to_nothing_goes_while_the_daemon_runs_and_what_is_foreign_stays() {
    run(Setup::default().devices(), |bed| {
        let target = bed.target()?;
        let here = bed.node(0)?;
        let (shared, own) = (Pod::new("shared")?, Pod::new("own")?);
        here.add(&shared)?;
        crate::exclusive::exclusive(here, &own)?;
        for words in STRAYS.iter().chain(&FOREIGN) {
            ip(here, words)?;
        }
        until("what belongs to nothing is gone", s(10), || {
            let now = seen(here)?;
            let there = now.contains("192.0.2.9") || now.contains("tw0123456789ab");
            Ok(Look::of(!there, || now))
        })?;
        let now = seen(here)?;
        ensure!(now.matches("192.0.2.8").count() == 2 && now.contains("tw-somebody"), "{now}");
        for pod in [&shared, &own] {
            pod.reaches(target)?;
            here.del(pod)?;
        }
        for words in FOREIGN {
            ip(here, &words.replacen(" add ", " del ", 1))?;
        }
        Ok(())
    });
}
