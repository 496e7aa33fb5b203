//! The state on the wire.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tideway_proto::node::{
    AddReply, AddRequest, CheckReply, CheckRequest, DeleteReply, DeleteRequest, ExplainReply,
    ExplainRequest, GcReply, GcRequest, ShowReply, ShowRequest, StatusReply, StatusRequest,
    node_server::Node,
};
use tonic::{Request, Response, Status};

use super::state::{State, Verb};

#[derive(Debug)]
pub(super) struct Service {
    pub(super) state: Arc<Mutex<State>>,
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(&self, verb: Verb) -> Result<(), Status> {
        let delay = {
            let mut state = self.lock();
            *state.calls.entry(verb).or_default() += 1;
            state.delays.get(&verb).copied()
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        let fault = self.lock().faults.get(&verb).cloned();
        fault.map_or(Ok(()), |fault| Err(fault.status()))
    }
}

#[tonic::async_trait]
impl Node for Service {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddReply>, Status> {
        self.admit(Verb::Add).await?;
        let reply = self.lock().add(request.into_inner())?;
        Ok(Response::new(reply))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteReply>, Status> {
        self.admit(Verb::Delete).await?;
        let request = request.into_inner();
        self.lock().delete(&request.container_id, &request.ifname);
        Ok(Response::new(DeleteReply {}))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        self.admit(Verb::Check).await?;
        let request = request.into_inner();
        self.lock().check(&request.container_id, &request.ifname)?;
        Ok(Response::new(CheckReply {}))
    }

    async fn gc(&self, request: Request<GcRequest>) -> Result<Response<GcReply>, Status> {
        self.admit(Verb::Gc).await?;
        let valid: BTreeSet<_> = request
            .into_inner()
            .valid
            .into_iter()
            .map(|attachment| (attachment.container_id, attachment.ifname))
            .collect();
        self.lock().gc(&valid);
        Ok(Response::new(GcReply {}))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        self.admit(Verb::Status).await?;
        Ok(Response::new(StatusReply { ready: true, reason: String::new() }))
    }

    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowReply>, Status> {
        self.admit(Verb::Show).await?;
        let reply = self.lock().show();
        Ok(Response::new(reply))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainReply>, Status> {
        self.admit(Verb::Explain).await?;
        let request = request.into_inner();
        let reply = self.lock().explain(&request.namespace, &request.name);
        Ok(Response::new(reply))
    }
}
