//! The single writer: one thread that owns the allocator and the journal.
//!
//! Loop: take every waiting message, step the allocator with each, make **one** commit for all of them, then execute the
//! commands. Nothing is promised before it is durable. The thread blocks on the commit (an fsync), which is why it is a
//! thread and no task; everybody else talks to it through [`EngineHandle`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tideway_ipam::{
    AddRequest, Books, Command, Counts, Effects, Event, Ipam, Record, Refusal, RequestId,
};
use tideway_journal::{Journal, JournalError};
use tideway_model::{Attachment, AttachmentKey};
use tokio::sync::oneshot;

use crate::{
    clock,
    publish::Living,
    withdrawals::{Underway, Withdrawal},
};

/// Most messages that share one commit.
const BATCH: usize = 256;
/// Longest sleep without a look at the clock.
const NAP: Duration = Duration::from_secs(5);

/// Answer to an ADD.
#[derive(Debug)]
pub enum AddAnswer {
    /// The pod's network, durable.
    Granted(Box<Attachment>),
    /// It cannot be had.
    Refused(Refusal),
    /// Who holds which device must be known first: ask the kubelet, then send the request again as `asked`.
    AskKubelet(Box<AddRequest>),
}

/// Who waits for the end of a DEL.
#[derive(Debug)]
pub struct DelAnswer(oneshot::Sender<()>);

impl From<oneshot::Sender<()>> for DelAnswer {
    fn from(caller: oneshot::Sender<()>) -> Self {
        Self(caller)
    }
}

impl DelAnswer {
    /// Answers; a caller that went away repeats its DEL.
    pub fn give(self) {
        if self.0.send(()).is_err() {
            tracing::debug!("the caller of a DEL went away before its answer");
        }
    }
}

/// What reaches the engine.
#[derive(Debug)]
pub enum Message {
    /// A fact.
    Event(Event),
    /// An ADD and who waits for it.
    Add {
        /// The request.
        request: Box<AddRequest>,
        /// The kubelet was asked about devices for it.
        asked: bool,
        /// The caller.
        answer: oneshot::Sender<AddAnswer>,
    },
    /// A DEL and who waits for it.
    Del(RequestId, AttachmentKey, DelAnswer),
    /// An exclusive ENI is out of the namespace of this attachment, which ended before.
    Withdrawn(AttachmentKey),
    /// The books, for people.
    Books(oneshot::Sender<Books>),
    /// The numbers for the API; pods that are not among the living are leaving.
    Counts(Arc<Living>, oneshot::Sender<Counts>),
    /// The end.
    Stop,
}

/// Executes commands that are no answers.
pub trait Executor: Send + 'static {
    /// Starts what a command asks for and returns at once. `answer` is given when a DEL is done.
    fn execute(&self, command: Command, answer: Option<DelAnswer>);
}

/// Talks to the engine from anywhere.
#[derive(Debug, Clone)]
pub struct EngineHandle(Sender<Message>);

impl EngineHandle {
    /// Tells a fact. After the engine's end it is dropped: the journal tells the next run what was promised.
    pub fn tell(&self, event: Event) {
        self.send(Message::Event(event));
    }

    /// Sends a message.
    pub fn send(&self, message: Message) {
        if self.0.send(message).is_err() {
            tracing::debug!("the engine has ended; a message was dropped");
        }
    }

    /// The books; none when the engine has ended.
    pub async fn books(&self) -> Option<Books> {
        let (tx, rx) = oneshot::channel();
        self.send(Message::Books(tx));
        rx.await.ok()
    }

    /// The numbers; none when the engine has ended.
    pub async fn counts(&self, living: Arc<Living>) -> Option<Counts> {
        let (tx, rx) = oneshot::channel();
        self.send(Message::Counts(living, tx));
        rx.await.ok()
    }
}

/// A channel for messages: its handle exists before the engine does, since executors need it.
pub fn inbox() -> (EngineHandle, Receiver<Message>) {
    let (tx, rx) = channel();
    (EngineHandle(tx), rx)
}

/// The engine before it runs.
pub struct Engine<J, E> {
    /// Allocator, restored.
    pub ipam: Ipam,
    /// Journal.
    pub journal: J,
    /// Executor of commands.
    pub executor: E,
    /// Withdrawals that an earlier run has not ended.
    pub withdrawals: Vec<Withdrawal>,
    /// Called after each commit: whether it held, and how long it took.
    pub committed: Box<dyn Fn(bool, Duration) + Send>,
}

impl<J, E> std::fmt::Debug for Engine<J, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Why the engine ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A commit failed: nothing that depends on it was done or promised.
    #[error(
        "the journal could not be written, so nothing more can be promised; free space or repair the disk, then restart tidewayd"
    )]
    Commit(#[source] JournalError),
    /// A record could not be encoded.
    #[error("a record could not be encoded")]
    Encode(#[source] serde_json::Error),
}

impl<J: Journal + Send + 'static, E: Executor> Engine<J, E> {
    /// Starts the thread.
    pub fn spawn(
        self,
        inbox: Receiver<Message>,
    ) -> std::io::Result<JoinHandle<Result<(), EngineError>>> {
        let mut underway = Underway::default();
        for one in &self.withdrawals {
            underway.begin(&one.key);
        }
        let run = Run {
            engine: self,
            adds: BTreeMap::new(),
            dels: BTreeMap::new(),
            underway,
            ended: Vec::new(),
        };
        std::thread::Builder::new().name("ipam".into()).spawn(move || run.run(&inbox))
    }
}

struct Run<J, E> {
    engine: Engine<J, E>,
    adds: BTreeMap<RequestId, oneshot::Sender<AddAnswer>>,
    dels: BTreeMap<RequestId, DelAnswer>,
    underway: Underway,
    /// Withdrawals that have ended, to be forgotten with the next commit.
    ended: Batch,
}

impl<J: Journal + Send + 'static, E: Executor> Run<J, E> {
    fn run(mut self, inbox: &Receiver<Message>) -> Result<(), EngineError> {
        let mut effects = Effects::default();
        self.engine.ipam.start(clock::now(), &mut effects);
        self.carry_out(&mut effects)?;
        loop {
            let first = match inbox.recv_timeout(self.patience()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => Some(Message::Event(Event::Tick)),
                Err(RecvTimeoutError::Disconnected) => None,
            };
            let Some(first) = first else { return Ok(()) };
            let mut next = Some(first);
            let mut taken = 0;
            let mut stop = false;
            while let Some(message) = next {
                stop |= self.take(message, &mut effects);
                taken += 1;
                next = match inbox.try_recv() {
                    Ok(message) if taken < BATCH && !stop => Some(message),
                    Ok(message) => {
                        stop |= self.take(message, &mut effects);
                        None
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
                };
            }
            self.carry_out(&mut effects)?;
            if stop {
                return Ok(());
            }
        }
    }

    fn patience(&self) -> Duration {
        let due = self.engine.ipam.next_deadline();
        due.map_or(NAP, |due| due.saturating_sub(clock::boot()).min(NAP))
    }

    /// Steps one message; true when it was the last.
    fn take(&mut self, message: Message, effects: &mut Effects) -> bool {
        let ipam = &mut self.engine.ipam;
        match message {
            Message::Event(event) => ipam.step(clock::now(), event, effects),
            Message::Add { request, asked: false, answer } if ipam.needs_devices(&request.pod) => {
                drop(answer.send(AddAnswer::AskKubelet(request)));
            }
            Message::Add { request, answer, .. } => {
                self.adds.insert(request.id, answer);
                ipam.step(clock::now(), Event::Add(*request), effects);
            }
            Message::Del(id, key, answer) => {
                self.dels.insert(id, answer);
                ipam.step(clock::now(), Event::Del { id, key }, effects);
            }
            Message::Withdrawn(key) => {
                if let Some((change, waiting)) = self.underway.end(&key) {
                    self.ended.push(change);
                    waiting.into_iter().for_each(DelAnswer::give);
                }
            }
            Message::Books(answer) => drop(answer.send(ipam.books(clock::now()))),
            Message::Counts(living, answer) => {
                let counts = ipam.counts(clock::boot(), |key, uid| living.lacks(key, uid));
                drop(answer.send(counts));
            }
            Message::Stop => return true,
        }
        false
    }

    fn carry_out(&mut self, effects: &mut Effects) -> Result<(), EngineError> {
        let batch = self.batch(effects).map_err(EngineError::Encode)?;
        if !batch.is_empty() {
            let begun = clock::boot();
            let done = self.engine.journal.commit(&batch);
            (self.engine.committed)(done.is_ok(), clock::boot().saturating_sub(begun));
            done.map_err(EngineError::Commit)?;
            effects.records.clear();
        }
        for command in effects.commands.drain(..) {
            match command {
                Command::Grant { id, attachment, again } => {
                    let told = Command::Grant { id, attachment: attachment.clone(), again };
                    self.engine.executor.execute(told, None);
                    if let Some(answer) = self.adds.remove(&id)
                        && answer.send(AddAnswer::Granted(attachment.clone())).is_err()
                    {
                        tracing::info!(pod = %attachment.pod.key, "the caller of an ADD went away before its answer");
                    }
                }
                Command::Refuse { id, refusal } => {
                    if let Some(answer) = self.adds.remove(&id) {
                        drop(answer.send(AddAnswer::Refused(refusal)));
                    }
                }
                Command::Unplumb { id, attachment } => {
                    let answer = id.and_then(|id| self.dels.remove(&id));
                    self.engine.executor.execute(Command::Unplumb { id, attachment }, answer);
                }
                Command::Unknown { id, key } => {
                    let answer = self.dels.remove(&id);
                    if let Some(answer) = answer.and_then(|a| self.underway.wait(&key, a)) {
                        answer.give();
                    }
                }
                other @ (Command::Quiesce { .. }
                | Command::Cloud { .. }
                | Command::Prepare(_)
                | Command::Devices(_)
                | Command::LookAtCloud
                | Command::LookAtDevices
                | Command::Uninstalled) => self.engine.executor.execute(other, None),
            }
        }
        Ok(())
    }

    /// What is to be durable before the commands are executed.
    fn batch(&mut self, effects: &Effects) -> Result<Batch, serde_json::Error> {
        let mut batch = encode(&effects.records)?;
        batch.append(&mut self.ended);
        for command in &effects.commands {
            if let Command::Unplumb { attachment, .. } = command
                && let Some(begins) = Withdrawal::of(attachment)
            {
                self.underway.begin(&begins.key);
                batch.push(begins.noted()?);
            }
        }
        Ok(batch)
    }
}

/// One commit: keys with their new values, none where the key ends.
type Batch = Vec<(String, Option<Vec<u8>>)>;

fn encode(records: &[Record]) -> Result<Batch, serde_json::Error> {
    records
        .iter()
        .map(|r| Ok((r.key.clone(), r.value.as_ref().map(serde_json::to_vec).transpose()?)))
        .collect()
}
