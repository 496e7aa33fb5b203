//! Sees to it that nothing is left of former owners, many addresses at a time.
//!
//! Each look costs a dump of links, routes and conntrack entries, whatever the number of addresses; a node that ends a
//! hundred pods must not pay it a hundred times. An address rests for the cooldown anyway, so half a second is no loss.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tideway_cloud::Cloud;
use tideway_ipam::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::{clock, hands::Tools};

/// How long a batch collects.
const COLLECT: Duration = Duration::from_millis(500);
/// Pause after a failed look.
const AGAIN: Duration = Duration::from_secs(5);
/// After that an address is left alone: the allocator orders it again after [`tideway_ipam::COMMAND_PATIENCE`].
const PATIENCE: Duration = Duration::from_secs(100);

/// Works until cancelled.
pub async fn work<C: Cloud>(
    tools: Arc<Tools<C>>,
    mut asked: UnboundedReceiver<Vec<IpAddr>>,
    cancel: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            () = cancel.cancelled() => return,
            first = asked.recv() => first,
        };
        let Some(mut batch) = first else { return };
        tokio::time::sleep(COLLECT).await;
        while let Ok(more) = asked.try_recv() {
            batch.extend(more);
        }
        // A batch may wait for a link that lives on; the next one does not wait for it.
        tokio::spawn(settle(Arc::clone(&tools), batch, cancel.clone()));
    }
}

async fn settle<C: Cloud>(tools: Arc<Tools<C>>, batch: Vec<IpAddr>, cancel: CancellationToken) {
    let end = clock::boot() + PATIENCE;
    tools.promised.withdrawn(&batch).await;
    let begun = clock::boot();
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
