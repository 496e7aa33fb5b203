//! DEL while the daemon is away.

use anyhow::{Result, ensure};
use serde_json::json;
use tideway_node_tests::{Pod, Setup, cni::Call};

use crate::run::run;

#[test]
fn a_del_while_the_daemon_is_down_is_done_at_its_start() {
    run(Setup::default(), |bed| {
        let here = bed.node_mut(0)?;
        let mut pods: Vec<Pod> =
            (0..3).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for pod in &pods {
            here.add(pod)?;
        }
        here.stop()?;
        for pod in &mut pods {
            here.del(pod)?;
            pod.destroy_namespace();
            here.del(pod)?;
        }
        ensure!(here.waiting_tickets()?.len() == 3, "{:?}", here.waiting_tickets()?);
        let late = Pod::new("late")?;
        here.cni("ADD", &late, &Call::default())?.fails_with(11)?;
        here.start()?;
        here.until_drained()
    });
}

#[test]
fn a_ticket_that_appears_while_the_daemon_runs_is_not_left_for_the_next_start() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let pod = Pod::new("p")?;
        here.add(&pod)?;
        // A plugin that cannot reach the daemon, although it runs.
        let conf = Some(json!({ "socket": here.file("nobody.sock") }));
        here.cni("DEL", &pod, &Call { conf, ..Call::default() })?.success()?;
        here.until_drained()
    });
}
