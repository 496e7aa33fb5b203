//! The gRPC service on the node's socket: turns questions of the CNI plugin and of people into messages for the engine, and
//! plumbs what the engine grants.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tideway_cloud::Cloud;
use tideway_ipam::{AddRequest, Books, Event, Look, RequestId, Source};
use tideway_model::{Attachment, AttachmentKey, Cause, Mode};
use tideway_proto::node::{
    AddReply, AddRequest as WireAdd, Capacity, CheckReply, CheckRequest, DeleteReply,
    DeleteRequest, ExplainReply, ExplainRequest, GcReply, GcRequest, ShowReply, ShowRequest,
    StatusReply, StatusRequest, node_server::Node,
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

use crate::{
    asked, clock,
    engine::{AddAnswer, EngineHandle, Message},
    events::Failures,
    fault::Fault,
    hands::Tools,
    meter::Meter,
    show,
    sources::{JOURNAL, SourceErrors},
};

/// Request ids of this run, shared by everyone who asks the engine.
#[derive(Debug, Clone, Default)]
pub struct RequestIds(Arc<AtomicU64>);

impl RequestIds {
    /// The next id.
    pub fn next(&self) -> RequestId {
        RequestId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// What people see of the node beside the books.
#[derive(Debug, Clone)]
pub struct NodeCard {
    /// Kubernetes node.
    pub node: String,
    /// Instance type.
    pub instance_type: String,
    /// `pool.low`: below so many free addresses more are asked for.
    pub low: u16,
    /// `pool.high`: up to so many.
    pub high: u16,
    /// What the configuration says of the node's capacity; the allocator's numbers come with each answer.
    pub capacity: Capacity,
}

/// The service.
pub struct Service<C> {
    /// Tools.
    pub tools: Arc<Tools<C>>,
    /// Ids.
    pub ids: RequestIds,
    /// Longest wait of an ADD.
    pub add_timeout: Duration,
    /// Work that outlives its caller.
    pub tasks: TaskTracker,
    /// The card.
    pub card: NodeCard,
    /// Sources that fail.
    pub source_errors: SourceErrors,
    /// Counters.
    pub meter: Meter,
    /// Pods whose ADD failed.
    pub failures: Failures,
}

impl<C> Clone for Service<C> {
    fn clone(&self) -> Self {
        Self {
            tools: Arc::clone(&self.tools),
            ids: self.ids.clone(),
            add_timeout: self.add_timeout,
            tasks: self.tasks.clone(),
            card: self.card.clone(),
            source_errors: self.source_errors.clone(),
            meter: self.meter.clone(),
            failures: self.failures.clone(),
        }
    }
}

impl<C> std::fmt::Debug for Service<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("card", &self.card).finish_non_exhaustive()
    }
}

impl<C: Cloud> Service<C> {
    async fn add_now(&self, wire: WireAdd) -> Result<AddReply, Fault> {
        let request = asked::add(wire, self.ids.next(), clock::boot() + self.add_timeout)?;
        let pod = request.pod.clone();
        let added = match self.grant(request).await {
            Ok(attachment) => self.plumb(&attachment).await,
            Err(fault) => Err(fault),
        };
        added.inspect_err(|fault| self.failures.tell(&pod, &fault.why))
    }

    /// Asks the engine, and the kubelet where the engine must know first who holds which device.
    async fn grant(&self, request: AddRequest) -> Result<Box<Attachment>, Fault> {
        let (mut request, mut asked) = (Box::new(request), false);
        loop {
            let (answer, answered) = oneshot::channel();
            self.tools.engine.send(Message::Add { request, asked, answer });
            match answered.await {
                Ok(AddAnswer::Granted(attachment)) => return Ok(attachment),
                Ok(AddAnswer::Refused(refusal)) => return Err(refusal.into()),
                Ok(AddAnswer::AskKubelet(same)) => {
                    self.tools.look_at_devices().await?;
                    (request, asked) = (same, true);
                }
                Err(_closed) => {
                    return Err(Fault::new(
                        Cause::Stopping,
                        "the daemon is stopping",
                        "the runtime tries again by itself",
                    ));
                }
            }
        }
    }

    async fn plumb(&self, attachment: &Attachment) -> Result<AddReply, Fault> {
        let _one = self.tools.promised.lock(&attachment.key).await;
        if self.tools.promised.get(&attachment.key).as_deref() != Some(attachment) {
            return Err(Fault::new(
                Cause::Overtaken,
                "what was promised to the pod ended while its network was being made",
                "the pod was deleted, or the same ADD failed before; the runtime tries again if the pod still exists",
            ));
        }
        if attachment.mode == Mode::Veth
            && let Some(why) = self.tools.unusable(&attachment.eni).await
        {
            self.give_up(attachment);
            self.tools.cloud_asked.notify_one();
            return Err(Fault::new(
                Cause::EniNotHere,
                &why,
                "the runtime tries again by itself and then gets an address that works; see `tideway status`",
            ));
        }
        let addresses: Vec<_> = attachment.addresses.iter().collect();
        let mapped = match attachment.mode {
            Mode::Veth => self.tools.ensure_mapped(&attachment.eni, &addresses).await,
            Mode::Exclusive => Ok(()),
        };
        let plumbed = match mapped {
            Ok(()) => self.tools.datapath.add(attachment).await.map_err(|e| e.to_string()),
            Err(e) => Err(e),
        };
        match plumbed {
            Ok(plumbed) => Ok(show::add_reply(&plumbed)),
            Err(cause) => {
                self.give_up(attachment);
                let message = "the pod's network could not be made";
                Err(Fault::new(Cause::PlumbingFailed, message, &cause))
            }
        }
    }

    /// What was promised cannot be plumbed. The promise ends before the lock does: the same ADD, repeated meanwhile, would
    /// plumb it, answer, and lose it again when the engine withdraws it.
    fn give_up(&self, attachment: &Attachment) {
        if self.tools.promised.fail(attachment) {
            self.tools.engine.tell(Event::PlumbFailed { key: attachment.key.clone() });
        }
    }

    /// Releases one attachment and waits until it is withdrawn.
    pub async fn release(&self, key: AttachmentKey) -> Result<(), Fault> {
        let (tx, rx) = oneshot::channel();
        self.tools.engine.send(Message::Del(self.ids.next(), key, tx.into()));
        let released = rx.await.map_err(|_closed| {
            Fault::new(Cause::Stopping, "the daemon is stopping", "the runtime repeats the DEL")
        })?;
        released.map_err(|cause| {
            let message = "the pod's network is gone, but that is not durable";
            Fault::new(Cause::JournalFailed, message, &cause)
        })
    }

    async fn books(&self) -> Result<Books, Status> {
        let books = self.tools.engine.books().await;
        books.ok_or_else(|| Status::unavailable("the allocator has stopped; see the daemon's log"))
    }

    /// Runs `work` to its end even when the caller goes away.
    async fn unbroken<T: Send + 'static>(
        &self,
        verb: &'static str,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let begun = clock::boot();
        let result = self.tasks.spawn(work).await;
        let result = result.unwrap_or_else(|e| {
            let message = "the daemon failed inside";
            Err(Fault::new(Cause::DaemonDefect, message, &e.to_string()))
        });
        let code = result.as_ref().err().map_or(0, Fault::code);
        self.meter.cni(verb, code, clock::boot().saturating_sub(begun));
        if let Err(fault) = &result {
            let cause = fault.why.cause.word();
            self.meter.cni_failure(verb, cause);
            tracing::warn!(verb, code, cause, error = %fault, "CNI request failed");
        }
        result.map(Response::new).map_err(Status::from)
    }
}

#[tonic::async_trait]
impl<C: Cloud> Node for Service<C> {
    async fn add(&self, request: Request<WireAdd>) -> Result<Response<AddReply>, Status> {
        let me = self.clone();
        self.unbroken("ADD", async move { me.add_now(request.into_inner()).await }).await
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteReply>, Status> {
        let me = self.clone();
        let wire = request.into_inner();
        self.unbroken("DEL", async move {
            me.release(asked::key(&wire.container_id, &wire.ifname)?).await?;
            Ok(DeleteReply {})
        })
        .await
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        let me = self.clone();
        let wire = request.into_inner();
        self.unbroken("CHECK", async move {
            let key = asked::key(&wire.container_id, &wire.ifname)?;
            let Some(attachment) = me.tools.promised.get(&key) else {
                return Err(Fault::unknown_container(&key));
            };
            let found = me.tools.datapath.check(&attachment).await;
            let mut findings = found.map_err(|e| {
                let message = "the pod's network could not be read";
                Fault::new(Cause::KernelUnreadable, message, &e.to_string())
            })?;
            findings.extend(asked::strangers(&wire.ips, &attachment));
            if findings.is_empty() { Ok(CheckReply {}) } else { Err(Fault::check(&findings)) }
        })
        .await
    }

    async fn gc(&self, request: Request<GcRequest>) -> Result<Response<GcReply>, Status> {
        let me = self.clone();
        let wire = request.into_inner();
        self.unbroken("GC", async move {
            // The list may be older than a pod that was added meanwhile: it is one look, and frees nothing alone.
            let begun = clock::boot();
            let valid = asked::valid(&wire)?;
            let asked = me.tools.promised.keys();
            let live = asked.iter().filter(|key| valid.contains(*key)).cloned().collect();
            let look = Look { source: Source::Runtime, begun, asked, live };
            me.tools.engine.tell(Event::Seen(look));
            me.tools.living_asked.notify_one();
            Ok(GcReply {})
        })
        .await
    }

    async fn status(
        &self,
        _request: Request<StatusRequest>,
    ) -> Result<Response<StatusReply>, Status> {
        let ready = ready(&self.tools.engine, &self.source_errors).await;
        let reason = ready.as_ref().err().cloned().unwrap_or_default();
        Ok(Response::new(StatusReply { ready: ready.is_ok(), reason }))
    }

    async fn show(&self, _request: Request<ShowRequest>) -> Result<Response<ShowReply>, Status> {
        let books = self.books().await?;
        let mut reply = show::show(&self.card, &self.tools, books, &self.source_errors).await;
        let pending = self.tools.datapath.count_pending_links().await;
        reply.pending_links = u32::try_from(pending).unwrap_or(u32::MAX);
        Ok(Response::new(reply))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainReply>, Status> {
        let wire = request.into_inner();
        let books = self.books().await?;
        Ok(Response::new(show::explain(&self.tools, &books, &wire.namespace, &wire.name).await))
    }
}

/// Whether an ADD could be served; otherwise why not. By it the runtime shows the whole node as not ready, so what an ADD can
/// wait for, such as an address, is no reason.
pub async fn ready(engine: &EngineHandle, errors: &SourceErrors) -> Result<(), String> {
    if let Some(cause) = errors.of(JOURNAL) {
        return Err(cause);
    }
    let books = engine.books().await;
    books.map(drop).ok_or_else(|| "the allocator has stopped; see the daemon's log".to_owned())
}
