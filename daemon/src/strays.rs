//! Looks for objects of ours in the kernel that belong to nothing: what a task left that died, or what somebody put back.

use std::{sync::Arc, time::Duration};

use tideway_cloud::Cloud;
use tokio_util::sync::CancellationToken;

use crate::{hands::Tools, meter::Meter};

/// Looks every `pause` until cancelled; two looks that agree remove.
pub async fn watch<C: Cloud>(
    tools: Arc<Tools<C>>,
    meter: Meter,
    pause: Duration,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let promised = tools.promised.clone();
        let wanted = move || promised.all().iter().map(|a| (**a).clone()).collect();
        match tools.datapath.remove_strays(wanted).await {
            Ok(removed) => {
                for stray in removed {
                    tracing::warn!(%stray, "belonged to nothing; removed");
                    meter.drift("stray");
                }
            }
            Err(e) => tracing::warn!(error = %e, "what belongs to nothing could not be removed"),
        }
    }
}
