//! Tells people in Kubernetes events which pods wait or fail, and why; [`crate::notices`] decides what is said and when.
//!
//! Nobody waits for it. A failed ADD leaves its cause in a bounded channel and goes on; what finds no place there is not
//! told. Without an API server the causes are known here until they are over, and are said when it answers.

use std::time::Duration;

use tideway_kubeapi::{KubeConfig, NoticeWriter, Unwritten};
use tideway_model::{PodRef, Why};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{clock, engine::EngineHandle, notices::Notices, sources::SourceErrors};

/// Between two looks at who waits.
const PACE: Duration = Duration::from_secs(5);
/// Between two tries of an API server that does not answer.
const AWAY: Duration = Duration::from_secs(30);
/// Most failures between two looks; of a pod that fails again one is enough.
const MOST: usize = 256;
/// Its name among the sources.
const SOURCE: &str = "API server (events)";

/// Takes what failed. Clones share one channel.
#[derive(Debug, Clone)]
pub struct Failures(mpsc::Sender<(PodRef, Why)>);

impl Failures {
    /// The ADD of this pod failed.
    pub fn tell(&self, pod: &PodRef, why: &Why) {
        // No place, or nobody who listens: the runtime's next try fails again if it must.
        drop(self.0.try_send((pod.clone(), why.clone())));
    }
}

/// A channel for failures: whoever answers an ADD exists before it is known whether there is an API server.
pub fn failures() -> (Failures, mpsc::Receiver<(PodRef, Why)>) {
    let (sender, receiver) = mpsc::channel(MOST);
    (Failures(sender), receiver)
}

/// Tells until cancelled.
pub async fn tell(
    engine: EngineHandle,
    kube: KubeConfig,
    mut failed: mpsc::Receiver<(PodRef, Why)>,
    errors: SourceErrors,
    cancel: CancellationToken,
) {
    let (notices, writer) = (Notices::default(), NoticeWriter::new(kube));
    let mut teller = Teller { notices, writer, errors, fails: false };
    let mut pause = PACE;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        while let Ok((pod, why)) = failed.try_recv() {
            teller.notices.failed(clock::boot(), &pod, why);
        }
        // After the failures: a pod whose later try succeeded is served.
        let Some(books) = engine.books().await else { return };
        teller.notices.look(clock::boot(), &books);
        let Some(answered) = cancel.run_until_cancelled(teller.say()).await else { return };
        pause = if answered { PACE } else { AWAY };
    }
}

struct Teller {
    notices: Notices,
    writer: NoticeWriter,
    errors: SourceErrors,
    /// The last try did.
    fails: bool,
}

impl Teller {
    /// Says what is to be said now; false: the API server does not answer.
    async fn say(&mut self) -> bool {
        while let Some(notice) = self.notices.next(clock::boot()) {
            let written = self.writer.write(&notice).await;
            self.note(written.as_ref().err().map(ToString::to_string));
            if let Err(Unwritten::Away(_)) = written {
                return false;
            }
            self.notices.said(clock::boot(), &notice);
        }
        // What could not be said is over.
        if self.fails && self.notices.is_quiet(clock::boot()) {
            self.note(None);
        }
        true
    }

    fn note(&mut self, error: Option<String>) {
        self.fails = error.is_some();
        self.errors.set(SOURCE, error);
    }
}
