//! Who holds which device: the kubelet's word, asked on its local socket, one question at a time.

use std::collections::BTreeMap;

use tideway_cloud::Cloud;
use tideway_ipam::Event;
use tideway_model::{Cause, PodKey, SlotId, names::RESOURCE_ENI};
use tideway_nodeapi::PodResources;

use crate::{clock, engine::EngineHandle, fault::Fault, hands::Tools, sources::SourceErrors};

/// Asks the kubelet.
#[derive(Debug, Clone)]
pub struct Holders {
    api: PodResources,
    errors: SourceErrors,
}

impl Holders {
    /// Asks on this API.
    pub fn new(api: PodResources, errors: SourceErrors) -> Self {
        Self { api, errors }
    }

    /// Which pod holds which device, or why that is not known.
    pub async fn held(&self) -> Result<BTreeMap<SlotId, PodKey>, String> {
        self.api.list().await.map(|list| list.slots(RESOURCE_ENI)).map_err(|e| e.to_string())
    }

    /// Asks once and tells the engine. The error is also shown to people.
    pub async fn look(&self, engine: &EngineHandle) -> Option<String> {
        let begun = clock::boot();
        match self.api.list().await {
            Ok(list) => {
                self.errors.set("kubelet pod-resources", None);
                let holders = list.slots(RESOURCE_ENI);
                engine.tell(Event::DevicesSeen { begun, holders });
                None
            }
            Err(e) => {
                let text = e.to_string();
                self.errors.set("kubelet pod-resources", Some(text.clone()));
                Some(text)
            }
        }
    }
}

impl<C: Cloud> Tools<C> {
    /// Asks the kubelet. A node that is configured without one has no devices to give, so nobody holds any.
    pub async fn ask_holders(&self) -> Option<String> {
        if let Some(holders) = &self.holders {
            return holders.look(&self.engine).await;
        }
        let begun = clock::boot();
        self.engine.tell(Event::DevicesSeen { begun, holders: BTreeMap::new() });
        None
    }

    /// Before an ADD whose pod may hold a device. An ADD must never get a shared address by mistake: without an answer it
    /// is told to come again.
    pub async fn look_at_devices(&self) -> Result<(), Fault> {
        match self.ask_holders().await {
            None => Ok(()),
            Some(cause) => Err(Fault::new(
                Cause::KubeletSilent,
                "the kubelet did not tell which pod holds which device",
                &format!(
                    "{cause}; the runtime tries again by itself, check the kubelet if it lasts"
                ),
            )),
        }
    }
}
