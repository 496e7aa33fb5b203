//! The control socket: HTTP with JSON on a Unix socket, for people's commands and for tests in other processes.
//!
//! | request | does |
//! |---|---|
//! | `GET /status` | description of the lab and all ENIs |
//! | `GET /faults`, `POST /faults`, `DELETE /faults[/ID]` | faults |
//! | `GET /ledger`, `GET /verify` | calls, addresses, violations |
//! | `GET /requests` | raw signed requests |
//! | `GET /enis` | ENIs as they are |
//! | `GET /snapshot/INSTANCE` | canonical text of an instance's network state |
//! | `POST /instances/NAME` `{"status":"Stopped"}` | state of an instance |
//! | `POST /instances/NAME/reboot` | boots it anew; answered when its network is back |
//! | `DELETE /instances/NAME` | ends it for good; answered when its network is gone |
//! | `POST /stop` | ends the lab |

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::cloud::cause::Cause;
use crate::cloud::faults::FaultSpec;
use crate::cloud::resources::{Eni, Instance, InstanceStatus};
use crate::description::LabDescription;
use crate::fabric::Fabric;
use crate::wire::incoming::Incoming;
use crate::wire::listen::{self, Answer};
use crate::wire::shared::Shared;

/// What the control socket acts on.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fabric: Arc<dyn Fabric>,
    pub(crate) description: LabDescription,
    pub(crate) stop: watch::Sender<bool>,
}

/// Opens the socket; must run inside the runtime's context.
pub(crate) fn serve(path: &Path, control: Control) -> io::Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let control = Arc::new(control);
    let handler: listen::Handler = Arc::new(move |request, _| {
        let control = Arc::clone(&control);
        Box::pin(async move { Some(control.answer(request).await) })
    });
    tokio::spawn(listen::serve_unix(listener, handler));
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetStatus {
    status: InstanceStatus,
}

fn json<T: Serialize>(value: &T) -> Answer {
    Answer::json(200, serde_json::to_string(value).unwrap_or_default())
}

fn wrong(status: u16, why: &str) -> Answer {
    Answer::json(status, json!({ "error": why }).to_string())
}

impl Control {
    async fn answer(&self, request: Incoming) -> Answer {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["snapshot", instance]) => self.snapshot(instance).await,
            ("POST", ["instances", name, "reboot"]) => {
                let ordered = self.shared.cloud().vpc.reboot(name);
                self.done(ordered, &json!({ "rebooted": name })).await
            }
            ("DELETE", ["instances", name]) => {
                let ordered = self.shared.cloud().vpc.terminate(name, Shared::now());
                self.done(ordered, &json!({ "terminated": name })).await
            }
            ("POST", ["stop"]) => {
                self.stop.send_replace(true);
                json(&json!({ "stopping": true }))
            }
            (method, parts) => {
                let answer = self.quick(method, parts, &request.body);
                self.shared.work.notify_one();
                answer
            }
        }
    }

    fn quick(&self, method: &str, parts: &[&str], body: &[u8]) -> Answer {
        let now = Shared::now();
        let mut cloud = self.shared.cloud();
        match (method, parts) {
            ("GET", ["status"]) => {
                let enis: Vec<&Eni> = cloud.vpc.enis().values().map(AsRef::as_ref).collect();
                json(&json!({
                    "lab": self.description,
                    "enis": enis,
                    "faults": cloud.vpc.faults.list(now),
                    "calls": cloud.vpc.ledger.total(),
                }))
            }
            ("GET", ["enis"]) => {
                let enis: Vec<&Eni> = cloud.vpc.enis().values().map(AsRef::as_ref).collect();
                json(&enis)
            }
            ("GET", ["faults"]) => json(&cloud.vpc.faults.list(now)),
            ("POST", ["faults"]) => match serde_json::from_slice::<FaultSpec>(body) {
                Err(error) => wrong(400, &format!("not a fault: {error}")),
                Ok(spec) => match cloud.add_fault(spec, now) {
                    Ok(id) => json(&json!({ "id": id })),
                    Err(error) => wrong(400, &error.to_string()),
                },
            },
            ("DELETE", ["faults"]) => json(&json!({ "cleared": cloud.vpc.faults.clear(None) })),
            ("DELETE", ["faults", id]) => match id.parse() {
                Ok(id) => json(&json!({ "cleared": cloud.vpc.faults.clear(Some(id)) })),
                Err(_) => wrong(400, "the id of a fault is a number"),
            },
            ("GET", ["ledger"]) => {
                let calls: Vec<Value> = cloud.vpc.ledger.calls().map(|c| json!(c)).collect();
                json(&json!({
                    "total": cloud.vpc.ledger.total(),
                    "counts": cloud.vpc.ledger.counts(),
                    "calls": calls,
                    "addresses": cloud.vpc.ledger.holdings(),
                    "violations": cloud.verify(),
                }))
            }
            ("GET", ["verify"]) => json(&json!({ "violations": cloud.verify() })),
            ("GET", ["requests"]) => {
                drop(cloud);
                json(&self.shared.requests().all())
            }
            ("POST", ["instances", name]) => {
                let Ok(wanted) = serde_json::from_slice::<SetStatus>(body) else {
                    return wrong(400, "give {\"status\": \"Running\" or \"Stopped\"}");
                };
                let living = |i: &&mut Instance| i.status != InstanceStatus::Terminated;
                let instances = cloud.vpc.instances.values_mut();
                let found = instances.filter(living).find(|i| i.name == **name);
                match found {
                    None => wrong(404, "no such instance"),
                    Some(instance) => {
                        instance.status = wanted.status;
                        json(&json!({ "status": wanted.status }))
                    }
                }
            }
            _ => wrong(404, "no such request; see the table in the lab's control module"),
        }
    }

    /// Answers when a piece of network work is done.
    async fn done(&self, ordered: Result<u64, Cause>, answer: &Value) -> Answer {
        let Ok(number) = ordered else { return wrong(404, "no such instance") };
        self.shared.work.notify_one();
        let mut done = self.shared.done.subscribe();
        match done.wait_for(|done| *done >= number).await {
            Ok(_) => json(answer),
            Err(_) => wrong(500, "the lab is stopping"),
        }
    }

    async fn snapshot(&self, instance: &str) -> Answer {
        let (fabric, name) = (Arc::clone(&self.fabric), instance.to_owned());
        match tokio::task::spawn_blocking(move || fabric.snapshot(&name)).await {
            Ok(Ok(text)) => Answer::text(200, text),
            Ok(Err(error)) => wrong(500, &error.to_string()),
            Err(_) => wrong(500, "the lab is stopping"),
        }
    }
}
