//! Looks at what lives: the runtime's sandboxes and the kernel, every so often, and only while there is something to judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tideway_cloud::Cloud;
use tideway_ipam::{Event, Look, Source};
use tideway_nodeapi::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{clock, hands::Tools};

/// Sources that do not answer, by name, with the cause. Shown to people: a source that is down frees nothing.
#[derive(Debug, Clone, Default)]
pub struct SourceErrors(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl SourceErrors {
    /// Notes how a question to `source` ended.
    pub fn set(&self, source: &'static str, error: Option<String>) {
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(text) => {
                if errors.insert(source, text.clone()).is_none() {
                    tracing::warn!(source, error = %text, "a source does not answer; absences are not believed meanwhile");
                }
            }
            None => {
                if errors.remove(source).is_some() {
                    tracing::info!(source, "a source answers again");
                }
            }
        }
    }

    /// For people.
    pub fn list(&self) -> Vec<String> {
        let errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().map(|(source, error)| format!("{source}: {error}")).collect()
    }
}

/// Looks every `pause` until cancelled.
pub async fn watch<C: Cloud>(
    tools: Arc<Tools<C>>,
    runtime: Option<Runtime>,
    errors: SourceErrors,
    pause: Duration,
    cancel: CancellationToken,
) {
    loop {
        look(&tools, runtime.as_ref(), &errors).await;
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One look at every source.
pub async fn look<C: Cloud>(tools: &Tools<C>, runtime: Option<&Runtime>, errors: &SourceErrors) {
    let promised = tools.promised.all();
    if promised.is_empty() {
        return;
    }
    if let Some(runtime) = runtime {
        let begun = clock::boot();
        match runtime.sandboxes().await {
            Ok(list) => {
                errors.set("container runtime", None);
                let ids: BTreeSet<&str> = list.iter().map(|s| s.id.as_str()).collect();
                let live = tools.promised.of_containers(&ids);
                tools.engine.tell(Event::Seen(Look { source: Source::Runtime, begun, live }));
            }
            Err(e) => errors.set("container runtime", Some(e.to_string())),
        }
    }
    let begun = clock::boot();
    let list: Vec<_> = promised.iter().map(|a| (**a).clone()).collect();
    match tools.datapath.live(&list).await {
        Ok(live) => {
            errors.set("kernel", None);
            tools.engine.tell(Event::Seen(Look { source: Source::Kernel, begun, live }));
        }
        Err(e) => errors.set("kernel", Some(e.to_string())),
    }
}
