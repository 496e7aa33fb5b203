//! The one task that tells the network what the cloud decided, in the order in which it was decided.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cloud::network;
use crate::cloud::vpc::Effect;
use crate::fabric::{Fabric, FabricError};
use crate::wire::shared::Shared;

/// Longest sleep; the task is woken earlier by every call.
const IDLE: Duration = Duration::from_hours(1);

/// Runs until `stop` becomes true. `tell` hears what the network could not do.
pub(crate) async fn run(
    shared: Arc<Shared>,
    fabric: Arc<dyn Fabric>,
    mut stop: watch::Receiver<bool>,
    tell: Arc<dyn Fn(String) + Send + Sync>,
) {
    loop {
        let (effects, next) = {
            let now = Shared::now();
            let mut cloud = shared.cloud();
            cloud.vpc.tick(now);
            (cloud.vpc.take_effects(), cloud.vpc.next_due(now))
        };
        let last = effects.last().map(|(number, _)| *number);
        for effect in fold(effects) {
            let result = execute(&shared, &fabric, &effect).await;
            if let Err(error) = &result {
                tell(format!("{effect:?}: {error}"));
            }
            let mut cloud = shared.cloud();
            cloud.vpc.finished(&effect, result.is_ok(), Shared::now());
            drop(cloud);
        }
        if let Some(last) = last {
            shared.done.send_replace(last);
            continue;
        }
        let wait = next.map_or(IDLE, |due| {
            Duration::from_millis(due.saturating_sub(Shared::now())).max(Duration::from_millis(1))
        });
        tokio::select! {
            () = shared.work.notified() => {}
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Of several orders to set all groups, the first one does the work of all: it tells what is true when it runs, and all
/// orders of one batch stem from changes that are already made. An attached ENI thus has its groups before it is in use.
fn fold(effects: Vec<(u64, Effect)>) -> Vec<Effect> {
    let mut seen = false;
    let first = |effect: &Effect| *effect != Effect::Groups || !std::mem::replace(&mut seen, true);
    effects.into_iter().map(|(_, effect)| effect).filter(first).collect()
}

/// One call of the fabric, ready to run on a thread that may block.
type Work = Box<dyn FnOnce(&dyn Fabric) -> Result<(), FabricError> + Send>;

async fn execute(
    shared: &Shared,
    fabric: &Arc<dyn Fabric>,
    effect: &Effect,
) -> Result<(), FabricError> {
    // What is told is what is true now, not what was true when it was ordered.
    let work: Work = {
        let cloud = shared.cloud();
        let vpc = &cloud.vpc;
        let net = |id: &str| {
            let eni = vpc.enis().get(id)?;
            Some((network::eni(vpc, eni), vpc.instance_name(eni)))
        };
        match effect {
            Effect::Attach(id) => match net(id) {
                Some((eni, instance)) => Box::new(move |fabric| fabric.attach(&eni, &instance)),
                None => return Ok(()),
            },
            Effect::Addresses(id) => match net(id) {
                Some((eni, _)) => Box::new(move |fabric| fabric.set_addresses(&eni)),
                None => return Ok(()),
            },
            Effect::Detach(id) => {
                let id = id.clone();
                Box::new(move |fabric| fabric.detach(&id))
            }
            Effect::Meddle(id) => {
                let id = id.clone();
                Box::new(move |fabric| fabric.meddle(&id))
            }
            Effect::Terminate(name) => {
                let name = name.clone();
                Box::new(move |fabric| fabric.delete_instance(&name))
            }
            Effect::Reboot(name) => match network::plugged(vpc, name) {
                Some((instance, enis)) => Box::new(move |fabric| {
                    fabric.delete_instance(&instance.name)?;
                    fabric.create_instance(&instance)?;
                    enis.iter().try_for_each(|eni| fabric.attach(eni, &instance.name))
                }),
                None => return Ok(()),
            },
            Effect::Groups => {
                let groups = network::groups(vpc);
                let members = network::membership(vpc);
                Box::new(move |fabric| fabric.set_security_groups(&groups, &members))
            }
        }
    };
    let fabric = Arc::clone(fabric);
    let done = tokio::task::spawn_blocking(move || work(fabric.as_ref())).await;
    // The runtime ends: nobody waits for this piece of work any more.
    done.unwrap_or(Ok(()))
}
