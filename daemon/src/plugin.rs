//! The device plugin in the daemon: the engine's device list goes to the kubelet, the kubelet's allocations to the engine.

use std::path::PathBuf;

use tideway_deviceplugin::{Device, PluginConfig, PluginEvent};
use tideway_ipam::{DeviceState, Event};
use tideway_model::{SlotId, names::RESOURCE_ENI};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{engine::EngineHandle, meter::Meter};

/// Serves `aliyun/eni` until cancelled.
pub async fn serve(
    dir: PathBuf,
    mut inventory: watch::Receiver<Vec<DeviceState>>,
    engine: EngineHandle,
    meter: Meter,
    cancel: CancellationToken,
) {
    // An empty list must not be registered: devices of running pods would turn unhealthy.
    tokio::select! {
        () = cancel.cancelled() => return,
        known = inventory.wait_for(|list| !list.is_empty()) => if known.is_err() { return },
    }
    let config = PluginConfig {
        dir,
        resource: RESOURCE_ENI.to_owned(),
        socket_name: format!("tideway-eni-{}.sock", std::process::id()),
    };
    let list = watch::Sender::new(words(&inventory.borrow_and_update()));
    let (allocated, mut allocations) = mpsc::channel(64);
    let (told, mut events) = mpsc::unbounded_channel();
    let plugin =
        tideway_deviceplugin::run(config, list.subscribe(), allocated, told, cancel.clone());
    let bridge = async {
        loop {
            tokio::select! {
                changed = inventory.changed() => match changed {
                    Ok(()) => drop(list.send_replace(words(&inventory.borrow_and_update()))),
                    Err(_ended) => return,
                },
                Some(ids) = allocations.recv() => {
                    let ids: Vec<String> = ids;
                    for slot in ids.iter().filter_map(|id| SlotId::from_device_id(id)) {
                        engine.tell(Event::Allocated { slot });
                    }
                }
                Some(event) = events.recv() => match event {
                    PluginEvent::Registered => meter.registered(RESOURCE_ENI),
                    PluginEvent::Listed => {
                        tracing::info!(resource = RESOURCE_ENI, "the kubelet knows our devices");
                    }
                    PluginEvent::KubeletRestarted => engine.tell(Event::KubeletRestarted),
                    PluginEvent::Error(text) => tracing::warn!(error = %text, "device plugin"),
                },
            }
        }
    };
    tokio::select! {
        () = plugin => {}
        () = bridge => {}
    }
}

fn words(list: &[DeviceState]) -> Vec<Device> {
    list.iter().map(|d| Device { id: d.slot.to_string(), healthy: d.healthy }).collect()
}
