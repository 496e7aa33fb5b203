//! The single writer: one thread that owns the allocator and the journal.
//!
//! Loop: take every waiting message, step the allocator with each, make **one** commit for all of them, then execute the
//! commands. Nothing is promised before it is durable. The thread blocks on the commit (an fsync), which is why it is a
//! thread and no task; everybody else talks to it through [`EngineHandle`].
//!
//! While commits fail (a full disk, a read-only one) it goes on without promises: ADD is refused with the cause, no call is
//! sent to the cloud, pods are withdrawn but their DEL fails, so that the plugin leaves a ticket or the runtime comes again.
//! What was stepped meanwhile is committed as soon as the disk takes it.

use std::{
    collections::{BTreeMap, BTreeSet},
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
use tideway_journal::Journal;
use tideway_model::{Attachment, AttachmentKey};
use tokio::sync::oneshot;

use crate::{
    clock,
    ledger::{self, Ledger},
    operate,
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

/// Why a DEL is not durable, although its pod is withdrawn.
pub type Released = Result<(), String>;

/// Who waits for the end of a DEL, and what is said then.
#[derive(Debug)]
pub struct DelAnswer {
    caller: oneshot::Sender<Released>,
    verdict: Released,
}

impl From<oneshot::Sender<Released>> for DelAnswer {
    fn from(caller: oneshot::Sender<Released>) -> Self {
        Self { caller, verdict: Ok(()) }
    }
}

impl DelAnswer {
    /// Answers; a caller that went away repeats its DEL.
    pub fn give(self) {
        if self.caller.send(self.verdict).is_err() {
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
    /// Journal, and what it is owed.
    pub ledger: Ledger<J>,
    /// Executor of commands.
    pub executor: E,
    /// Withdrawals that an earlier run has not ended.
    pub withdrawals: Vec<Withdrawal>,
}

impl<J, E> std::fmt::Debug for Engine<J, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Why the engine ended before it was told to: a record could not be encoded.
#[derive(Debug, thiserror::Error)]
#[error("a record could not be encoded")]
pub struct EngineError(#[source] serde_json::Error);

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
            ipam: self.ipam,
            ledger: self.ledger,
            executor: self.executor,
            adds: BTreeMap::new(),
            dels: BTreeMap::new(),
            underway,
            volatile: BTreeSet::new(),
            held: None,
        };
        std::thread::Builder::new().name("ipam".into()).spawn(move || run.run(&inbox))
    }
}

struct Run<J, E> {
    ipam: Ipam,
    ledger: Ledger<J>,
    executor: E,
    adds: BTreeMap<RequestId, oneshot::Sender<AddAnswer>>,
    dels: BTreeMap<RequestId, DelAnswer>,
    underway: Underway,
    /// Attachments that have ended, which the journal does not know yet.
    volatile: BTreeSet<AttachmentKey>,
    /// Waits until the journal has what it follows from.
    held: Option<Command>,
}

impl<J: Journal + Send + 'static, E: Executor> Run<J, E> {
    fn run(mut self, inbox: &Receiver<Message>) -> Result<(), EngineError> {
        let mut effects = Effects::default();
        self.ipam.start(clock::now(), &mut effects);
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
        let due = self.ipam.next_deadline().into_iter().chain(self.ledger.again()).min();
        due.map_or(NAP, |due| due.saturating_sub(clock::boot()).min(NAP))
    }

    fn step(&mut self, event: Event, effects: &mut Effects) {
        self.ipam.step(clock::now(), event, effects);
    }

    /// Steps one message; true when it was the last.
    fn take(&mut self, message: Message, effects: &mut Effects) -> bool {
        match message {
            Message::Event(event) => self.step(event, effects),
            Message::Add { request, asked, answer } => {
                if let Some(cause) = self.ledger.trouble() {
                    drop(answer.send(AddAnswer::Refused(ledger::refusal(cause))));
                } else if !asked && self.ipam.needs_devices(&request.pod) {
                    drop(answer.send(AddAnswer::AskKubelet(request)));
                } else {
                    self.adds.insert(request.id, answer);
                    self.step(Event::Add(*request), effects);
                }
            }
            Message::Del(id, key, answer) => {
                self.dels.insert(id, answer);
                self.step(Event::Del { id, key }, effects);
            }
            Message::Withdrawn(key) => {
                if let Some((change, waiting)) = self.underway.end(&key) {
                    self.ledger.owe(change);
                    waiting.into_iter().for_each(DelAnswer::give);
                }
            }
            Message::Books(answer) => drop(answer.send(self.ipam.books(clock::now()))),
            Message::Counts(living, answer) => {
                let counts = self.ipam.counts(clock::boot(), |key, uid| living.lacks(key, uid));
                drop(answer.send(counts));
            }
            Message::Stop => return true,
        }
        false
    }

    fn carry_out(&mut self, effects: &mut Effects) -> Result<(), EngineError> {
        loop {
            let commands = self.note(effects).map_err(EngineError)?;
            if self.ledger.commit(clock::boot()) {
                self.volatile.clear();
                let held = self.held.take();
                commands.into_iter().chain(held).for_each(|command| self.execute(command));
                return Ok(());
            }
            if commands.is_empty() {
                return Ok(());
            }
            for command in commands {
                self.make_do(command, effects);
            }
        }
    }

    /// What is to be durable before the commands are executed; gives back the commands.
    fn note(&mut self, effects: &mut Effects) -> Result<Vec<Command>, serde_json::Error> {
        for Record { key, value } in effects.records.drain(..) {
            self.ledger.owe((key, value.as_ref().map(serde_json::to_vec).transpose()?));
        }
        for command in &effects.commands {
            if let Command::Unplumb { attachment, .. } = command
                && let Some(begins) = Withdrawal::of(attachment)
            {
                self.underway.begin(&begins.key);
                self.ledger.owe(begins.noted()?);
            }
        }
        Ok(std::mem::take(&mut effects.commands))
    }

    /// Executes a command whose records are durable.
    fn execute(&mut self, command: Command) {
        match command {
            Command::Grant { id, attachment, again } => {
                let told = Command::Grant { id, attachment: attachment.clone(), again };
                self.executor.execute(told, None);
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
                self.executor.execute(Command::Unplumb { id, attachment }, answer);
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
            | Command::Retire(_)
            | Command::Devices(_)
            | Command::LookAtCloud
            | Command::LookAtDevices
            | Command::Uninstalled) => self.executor.execute(other, None),
        }
    }

    /// What becomes of a command whose records cannot be made durable now. Promises are taken back and calls are not sent, as
    /// if they had failed; the allocator hears of it. What only takes away, cleans or asks is done: an earlier state of the
    /// journal, after a crash, has it done again. A DEL is not told to have succeeded.
    fn make_do(&mut self, command: Command, effects: &mut Effects) {
        let cause = self.ledger.trouble().unwrap_or_default().to_owned();
        match command {
            Command::Grant { id, attachment, again } => {
                self.execute(Command::Refuse { id, refusal: ledger::refusal(&cause) });
                if !again {
                    let key = attachment.key;
                    self.step(Event::PlumbFailed { key: key.clone() }, effects);
                    // Nobody was told, so there is nothing to withdraw.
                    let of_it = |c: &Command| matches!(c, Command::Unplumb { attachment, .. } if attachment.key == key);
                    effects.commands.retain(|command| !of_it(command));
                }
            }
            Command::Cloud { intent, op, .. } => {
                let result = Err(operate::not_recorded(&op, &cause));
                self.step(Event::CloudDone { intent, result }, effects);
            }
            Command::Unplumb { id, attachment } => {
                self.volatile.insert(attachment.key.clone());
                self.doubt(id, &cause);
                self.execute(Command::Unplumb { id, attachment });
            }
            Command::Unknown { id, key } => {
                if self.volatile.contains(&key) {
                    self.doubt(Some(id), &cause);
                }
                self.execute(Command::Unknown { id, key });
            }
            Command::Uninstalled => self.held = Some(Command::Uninstalled),
            other @ (Command::Refuse { .. }
            | Command::Quiesce { .. }
            | Command::Prepare(_)
            | Command::Retire(_)
            | Command::Devices(_)
            | Command::LookAtCloud
            | Command::LookAtDevices) => self.execute(other),
        }
    }

    /// This DEL is answered with a failure when its withdrawal has ended.
    fn doubt(&mut self, id: Option<RequestId>, cause: &str) {
        if let Some(answer) = id.and_then(|id| self.dels.get_mut(&id)) {
            answer.verdict = Err(cause.to_owned());
        }
    }
}
