//! The node's socket while the journal cannot be used.
//!
//! A daemon that ended because of its disk would be started again for ever, and tell nobody why but its log. This one says what
//! is wrong to all who ask, refuses ADD with the cause and lets the plugin leave a ticket for a DEL; pods have what the kernel
//! has. It looks again by itself: disks get room, are mounted for writing, and files are put back.

use std::{
    os::unix::{fs::MetadataExt as _, net::UnixListener},
    path::Path,
    time::Duration,
};

use tideway_journal::{JournalError, LastingJournal};
use tideway_model::InstanceId;
use tideway_proto::node::{
    AddReply, AddRequest, CheckReply, CheckRequest, DeleteReply, DeleteRequest, ExplainReply,
    ExplainRequest, GcReply, GcRequest, ShowReply, ShowRequest, StatusReply, StatusRequest,
    node_server::{Node, NodeServer},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    clock,
    fault::Fault,
    ledger,
    pauses::Pauses,
    socket,
    sources::{JOURNAL, SourceErrors},
};

/// Longest pause between two looks at the journal.
const LONGEST: Duration = Duration::from_secs(10);
/// Longest wait for callers that are being answered when the door closes.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Opens the journal, and waits for it as long as it takes. None: the daemon is to stop. What no disk mends is an error: another
/// process has the journal, another instance wrote it, or it was set back.
pub async fn journal(
    path: &Path,
    witness: &Path,
    instance: &InstanceId,
    listener: &UnixListener,
    errors: &SourceErrors,
    cancel: &CancellationToken,
) -> anyhow::Result<Option<LastingJournal>> {
    let mut pauses = Pauses::at_most(LONGEST);
    let mut door: Option<Door> = None;
    loop {
        match LastingJournal::open(path, instance.as_str(), witness) {
            Ok(journal) => {
                errors.set(JOURNAL, None);
                if let Some(door) = door {
                    door.close().await;
                }
                return Ok(Some(journal));
            }
            Err(
                e @ (JournalError::Busy { .. }
                | JournalError::OtherInstance { .. }
                | JournalError::SetBack { .. }),
            ) => return Err(e.into()),
            Err(e) => errors.set(JOURNAL, Some(e.to_string())),
        }
        if door.is_none() {
            door = Some(Door::open(listener, errors.clone())?);
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = pause(path, &mut pauses) => {}
        }
    }
}

/// A pause, and further ones while somebody writes to the file: opening a journal may repair it, and half of a copy that is
/// just being put back must not be repaired.
async fn pause(path: &Path, pauses: &mut Pauses) {
    let stamp =
        || std::fs::metadata(path).ok().map(|m| (m.ino(), m.len(), m.ctime(), m.ctime_nsec()));
    let mut seen = stamp();
    loop {
        tokio::time::sleep(pauses.next(clock::jitter())).await;
        let now = stamp();
        if now == seen {
            return;
        }
        seen = now;
        *pauses = Pauses::at_most(LONGEST);
    }
}

/// The server that has nothing to give.
#[derive(Debug)]
struct Door {
    shut: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Door {
    fn open(listener: &UnixListener, errors: SourceErrors) -> std::io::Result<Self> {
        let shut = CancellationToken::new();
        let server = Server::builder()
            .add_service(NodeServer::with_interceptor(Refusing(errors), socket::authorise))
            .serve_with_incoming_shutdown(
                socket::incoming(listener)?,
                shut.clone().cancelled_owned(),
            );
        Ok(Self { shut, server: tokio::spawn(server) })
    }

    async fn close(self) {
        self.shut.cancel();
        let abort = self.server.abort_handle();
        if tokio::time::timeout(LAST_ANSWERS, self.server).await.is_err() {
            abort.abort();
        }
    }
}

#[derive(Debug)]
struct Refusing(SourceErrors);

impl Refusing {
    fn cause(&self) -> String {
        self.0.of(JOURNAL).unwrap_or_else(|| "the daemon is starting".to_owned())
    }

    fn refuse<T>(&self) -> Result<Response<T>, Status> {
        Err(Fault::from(ledger::refusal(&self.cause())).into())
    }
}

#[tonic::async_trait]
impl Node for Refusing {
    async fn add(&self, _: Request<AddRequest>) -> Result<Response<AddReply>, Status> {
        self.refuse()
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteReply>, Status> {
        self.refuse()
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckReply>, Status> {
        self.refuse()
    }

    async fn gc(&self, _: Request<GcRequest>) -> Result<Response<GcReply>, Status> {
        self.refuse()
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(StatusReply { ready: false, reason: self.cause() }))
    }

    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowReply>, Status> {
        self.refuse()
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Result<Response<ExplainReply>, Status> {
        self.refuse()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_is_being_put_back_is_not_opened_before_it_stands_still() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let copy = tokio::spawn(async move {
            for _ in 0..50 {
                file.write_all(&[0; 4096]).unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            file
        });
        pause(&path, &mut Pauses::at_most(LONGEST)).await;
        assert!(copy.is_finished(), "{:?}", std::fs::metadata(&path).unwrap().len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_nobody_touches_is_looked_at_again_and_again() {
        let begun = tokio::time::Instant::now();
        let mut pauses = Pauses::at_most(LONGEST);
        for _ in 0..10 {
            pause(Path::new("/nonexistent"), &mut pauses).await;
        }
        assert!(begun.elapsed() <= 10 * LONGEST, "{:?}", begun.elapsed());
    }
}
