//! Sees to it that nothing is left of former owners, many addresses at a time.
//!
//! Each look costs a dump of links, routes and conntrack entries, whatever the number of addresses; a node that ends a
//! hundred pods must not pay it a hundred times. An address rests for the cooldown anyway, so a twentieth of it is no loss. An
//! address whose pod is still being withdrawn leaves its batch and comes back later: no batch waits for one pod.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tideway_cloud::Cloud;
use tideway_ipam::Event;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use crate::{clock, hands::Tools, plumbed::Promised};

/// Shortest and longest time that a batch collects.
const COLLECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Pause after a failed look.
const AGAIN: Duration = Duration::from_secs(5);
/// After that an address is left alone: the allocator orders it again after [`tideway_ipam::COMMAND_PATIENCE`].
const PATIENCE: Duration = Duration::from_secs(100);

/// Works until cancelled; `cooldown` is how long an address rests.
pub async fn work<C: Cloud>(
    tools: Arc<Tools<C>>,
    mut asked: UnboundedReceiver<Vec<IpAddr>>,
    cooldown: Duration,
    cancel: CancellationToken,
) {
    let collect = (cooldown / 20).clamp(COLLECT.0, COLLECT.1);
    loop {
        let first = tokio::select! {
            () = cancel.cancelled() => return,
            first = asked.recv() => first,
        };
        let Some(mut batch) = first else { return };
        tokio::time::sleep(collect).await;
        while let Ok(more) = asked.try_recv() {
            batch.extend(more);
        }
        put_off(&tools.promised, &mut batch, &tools.quiet);
        // A batch may wait for a link that lives on; the next one does not wait for it.
        tokio::spawn(settle(Arc::clone(&tools), batch, cancel.clone()));
    }
}

/// Takes the addresses out of the batch whose withdrawal is in work. They are looked at when it has ended, or when the
/// allocator orders them again.
fn put_off(promised: &Promised, batch: &mut Vec<IpAddr>, again: &UnboundedSender<Vec<IpAddr>>) {
    batch.retain(|ip| {
        let (ip, again) = (*ip, again.clone());
        let Some(withdrawn) = promised.withdrawal(ip) else { return true };
        tokio::spawn(async move {
            if tokio::time::timeout(PATIENCE, withdrawn.cancelled()).await.is_ok() {
                // Nobody listens any more: the next start begins all rests anew.
                drop(again.send(vec![ip]));
            }
        });
        false
    });
}

async fn settle<C: Cloud>(tools: Arc<Tools<C>>, batch: Vec<IpAddr>, cancel: CancellationToken) {
    if batch.is_empty() {
        return;
    }
    let begun = clock::boot();
    let end = begun + PATIENCE;
    if tools.datapath.quiesce(&batch).await.is_ok() {
        tools.engine.tell(Event::Quiet { begun, addresses: batch });
        return;
    }
    // One address holds the others up: from here on each for itself.
    let mut left = batch;
    while !left.is_empty() && !cancel.is_cancelled() && clock::boot() < end {
        let mut loud = Vec::new();
        for ip in left {
            let begun = clock::boot();
            match tools.datapath.quiesce(&[ip]).await {
                Ok(()) => tools.engine.tell(Event::Quiet { begun, addresses: vec![ip] }),
                Err(e) => {
                    tracing::warn!(%ip, error = %e, "traces of a former owner are still there");
                    loud.push(ip);
                }
            }
        }
        left = loud;
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_withdrawal_that_does_not_end_holds_up_no_other_address_of_its_batch() {
        let (again, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let promised = Promised::default();
        let [stuck, done, other] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        let hangs = promised.withdrawing([stuck].into_iter());
        promised.withdrawing([done].into_iter()).cancel();
        let mut batch = vec![stuck, done, other];
        put_off(&promised, &mut batch, &again);
        assert_eq!(batch, [done, other]);
        assert!(asked.try_recv().is_err(), "its network is still there");
        hangs.cancel();
        assert_eq!(asked.recv().await, Some(vec![stuck]));
        assert!(promised.withdrawal(stuck).is_none());
    }
}
