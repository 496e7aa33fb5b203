//! Looks at what lives: the runtime's sandboxes and the kernel, every so often and when a list of somebody else calls for it,
//! and only while there is something to judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tideway_cloud::Cloud;
use tideway_ipam::{Event, Look, Source};
use tideway_model::Attachment;
use tideway_nodeapi::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{clock, hands::Tools, meter::Meter};

/// The journal's name among the sources.
pub const JOURNAL: &str = "journal";

/// Sources that do not answer, by name, with the cause. Shown to people: a source that is down frees nothing.
#[derive(Debug, Clone)]
pub struct SourceErrors {
    errors: Arc<Mutex<BTreeMap<&'static str, String>>>,
    meter: Meter,
}

impl SourceErrors {
    /// An empty list that counts on `meter`.
    pub fn new(meter: Meter) -> Self {
        Self { errors: Arc::default(), meter }
    }

    /// Where it counts.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Notes how a question to `source` ended.
    pub fn set(&self, source: &'static str, error: Option<String>) {
        self.meter.source(source, error.is_none());
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(text) => {
                if errors.insert(source, text.clone()).is_none() {
                    tracing::warn!(source, error = %text, "a source cannot be used; nothing is believed on its word meanwhile");
                }
            }
            None => {
                if errors.remove(source).is_some() {
                    tracing::info!(source, "a source can be used again");
                }
            }
        }
    }

    /// What is wrong with one source.
    pub fn of(&self, source: &str) -> Option<String> {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.get(source).cloned()
    }

    /// For people.
    pub fn list(&self) -> Vec<String> {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().map(|(source, error)| format!("{source}: {error}")).collect()
    }
}

/// Looks every `pause`, and when it is asked to, until cancelled.
pub async fn watch<C: Cloud>(
    tools: Arc<Tools<C>>,
    runtime: Option<Runtime>,
    errors: SourceErrors,
    pause: Duration,
    cancel: CancellationToken,
) {
    let mut steady = false;
    loop {
        if !tools.promised.all().is_empty() {
            if let Some(runtime) = &runtime {
                steady = ask_runtime(&tools, runtime, &errors, steady).await;
            }
            ask_kernel(&tools, &errors).await;
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tools.living_asked.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Asks for the runtime's sandboxes that run; true when it answered. `steady`: it answered the last time too. An empty list
/// of a runtime that was just started proves nothing.
async fn ask_runtime<C: Cloud>(
    tools: &Tools<C>,
    runtime: &Runtime,
    errors: &SourceErrors,
    steady: bool,
) -> bool {
    let begun = clock::boot();
    let asked = tools.promised.keys();
    match runtime.sandboxes().await {
        Ok(list) => {
            errors.set("container runtime", None);
            if steady || !list.is_empty() {
                // A sandbox that does not run is no sign of life: of a pod that the kubelet refused after a reboot it is
                // removed a minute later. As long as its namespace lives, the kernel's word keeps what it has.
                let running = list.iter().filter(|s| s.ready);
                let ids: BTreeSet<&str> = running.map(|s| s.id.as_str()).collect();
                let live = tools.promised.of_containers(&ids);
                tools.engine.tell(Event::Seen(Look {
                    source: Source::Runtime,
                    begun,
                    asked,
                    live,
                }));
            }
            true
        }
        Err(e) => {
            errors.set("container runtime", Some(e.to_string()));
            false
        }
    }
}

async fn ask_kernel<C: Cloud>(tools: &Tools<C>, errors: &SourceErrors) {
    // In this order: a list from before the question lacks what was promised meanwhile, or has where a former sandbox of the
    // same name was.
    let begun = clock::boot();
    let list: Vec<Attachment> = tools.promised.all().iter().map(|a| (**a).clone()).collect();
    let asked = list.iter().map(|a| a.key.clone()).collect();
    match tools.datapath.live(&list).await {
        Ok(live) => {
            errors.set("kernel", None);
            tools.engine.tell(Event::Seen(Look { source: Source::Kernel, begun, asked, live }));
        }
        Err(e) => errors.set("kernel", Some(e.to_string())),
    }
}
