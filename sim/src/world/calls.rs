//! Cloud calls on their way: turns of the real limiter, the wire, the effect, the answer, and everything that can go wrong.

use std::{net::IpAddr, time::Duration};

use tideway_cloud::{
    CallId, CloudError, CloudOp, EniStatus, ErrorKind, OpAnswer, Outcome, Priority,
};
use tideway_ipam::{Event, IntentId, record::intent_key};
use tideway_model::EniId;

use super::{Ghost, Twin, World};
use crate::{
    cloud::{error, hosts},
    daemon::{Call, Settling, Stage},
};

const FIRST_POLL: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_secs(1);
const STUCK: Duration = Duration::from_mins(1);
const UNMOVED: Duration = Duration::from_secs(8);
/// Latest second coming of an answer, milliseconds.
const TWINS: u64 = 90_000;
/// A call that had no turn for so long is withdrawn: it did nothing.
const PATIENCE: Duration = Duration::from_mins(3);

impl World {
    /// The allocator orders a call.
    pub(crate) fn send(&mut self, intent: IntentId, op: CloudOp, urgency: Priority) {
        self.counts.calls += 1;
        if self.cloud.is_beyond_batch(&op) {
            self.oracle.broken("the limits of a call are kept", || format!("{op:?}"));
        }
        let durable = self.disk.has(&intent_key(intent));
        let boot = self.boot();
        let Some(d) = self.daemon.as_mut() else { return };
        let same = |c: &Call| c.op.eni().is_some() && c.op.eni() == op.eni();
        let ghosts: Vec<CloudOp> = self.ghosts.iter().map(|g| g.op.clone()).collect();
        self.oracle.sent(&op, durable, d.calls.iter().any(same), &ghosts);
        let ticket = d.limiter.ask(op.action(), urgency);
        let by = boot + PATIENCE;
        d.calls.push(Call { intent, op, urgency, stage: Stage::Queued(ticket), by });
    }

    /// Whether the account's limit lets a call through now.
    pub(crate) fn may_call(&mut self) -> bool {
        let (rate, burst) = self.profile.rate;
        let (left, at) = self.bucket;
        let since = self.time.saturating_sub(at).as_secs_f64();
        let left = rate.mul_add(since, left).min(burst);
        let passes = left >= 1.0 || self.calm;
        self.bucket = (if passes { left - 1.0 } else { left }, self.time);
        passes
    }

    /// Who has a turn now goes on the wire.
    pub(crate) fn pump_limiter(&mut self) {
        let boot = self.boot();
        loop {
            let Some(d) = self.daemon.as_mut() else { return };
            let Some(turn) = d.limiter.turn(boot) else { return };
            if let Some(at) = d.calls.iter().position(|c| c.stage == Stage::Queued(turn.id)) {
                self.goes_out(at, turn.id);
            } else if let Some(at) = d.cloud_looks.iter().position(|l| l.ticket == Some(turn.id)) {
                self.read_cloud(at);
            } else if let Some(at) = d.calls.iter().position(|c| asks(c, turn.id)) {
                self.poll(at, turn.id);
            }
        }
    }

    fn goes_out(&mut self, at: usize, ticket: CallId) {
        let by = self.within(5, 6_000);
        let Some(d) = self.daemon.as_mut() else { return };
        let Some(call) = d.calls.get_mut(at) else { return };
        call.stage = Stage::Sent(ticket);
        call.by = by;
        // Host first: what is given back leaves the host before the cloud hears of it.
        if let CloudOp::Detach { eni, .. } | CloudOp::Delete { eni } = &call.op {
            d.prepared.remove(eni);
        }
    }

    /// A call moves on by one step.
    pub(crate) fn move_call(&mut self, at: usize) {
        let Some(call) = self.daemon.as_ref().and_then(|d| d.calls.get(at)).cloned() else {
            return;
        };
        match call.stage {
            Stage::Queued(ticket) => self.withdraw_call(at, ticket),
            Stage::Sent(ticket) => self.reaches_cloud(at, ticket, &call),
            Stage::Applied(ticket, result) => self.answered(at, ticket, result),
            Stage::Settling(s) => self.ask_again(at, s),
        }
    }

    /// It waited too long for its turn: taken out of the queue, so nothing can come of it.
    fn withdraw_call(&mut self, at: usize, ticket: CallId) {
        let Some(d) = self.daemon.as_mut() else { return };
        d.limiter.withdraw(ticket);
        let call = d.calls.remove(at);
        let kind = ErrorKind::Throttled { retry_after: None };
        let result = Err(error(call.op.action(), kind));
        d.inbox.push(Event::CloudDone { intent: call.intent, result });
        self.note(|| format!("patience {:?}", call.intent));
    }

    fn reaches_cloud(&mut self, at: usize, ticket: CallId, call: &Call) {
        let result = self.fate(&call.op);
        let by = self.within(5, 4_000);
        self.note(|| format!("cloud   {:?} {}", call.intent, outcome(&result)));
        if let Some(call) = self.daemon.as_mut().and_then(|d| d.calls.get_mut(at)) {
            call.stage = Stage::Applied(ticket, result);
            call.by = by;
        }
    }

    fn fate(&mut self, op: &CloudOp) -> Result<OpAnswer, Box<CloudError>> {
        let action = op.action();
        let refuse = |kind| Err(Box::new(error(action, kind)));
        if !self.may_call() {
            let hint = self.dice.percent(30).then(|| Duration::from_secs(self.dice.between(1, 20)));
            return refuse(ErrorKind::Throttled { retry_after: hint });
        }
        if self.profile.troubles.calls && self.strikes(14) {
            return refuse(match self.dice.below(6) {
                0 => ErrorKind::Throttled { retry_after: Some(Duration::from_secs(30)) },
                1 => ErrorKind::Conflict,
                2 => ErrorKind::Denied(action.to_owned()),
                3 => ErrorKind::Credentials,
                _ => ErrorKind::Unavailable,
            });
        }
        if self.profile.troubles.empty_promises && self.strikes(6) {
            return self.empty_promise(op);
        }
        self.effect(op)
    }

    /// The call takes effect, before the eyes of the oracle.
    fn effect(&mut self, op: &CloudOp) -> Result<OpAnswer, Box<CloudError>> {
        let harm = self.oracle.harm(op, &self.node, &self.cloud);
        let result = self.cloud.apply(self.time, op, &mut self.dice);
        let beyond = matches!(&result, Err(e) if matches!(e.kind, ErrorKind::QuotaExceeded(_)));
        if beyond
            && self.asks_knowingly(op)
            && !self.oracle.strangers
            && !self.oracle.disk_lied
            && !self.oracle.shifted
        {
            self.oracle.broken("the limits of the type are kept", || format!("{op:?}"));
        }
        // What the cloud refuses takes nothing away.
        if let Some(harm) = harm.filter(|_| result.is_ok()) {
            self.oracle.broken(harm.rule, || harm.text);
        }
        result
    }

    /// Whether a call asks for more than what its ENI has leaves, and the outcome of no other call on it was unknown.
    fn asks_knowingly(&self, op: &CloudOp) -> bool {
        let (CloudOp::Assign { eni, .. } | CloudOp::AssignPrefixes { eni, .. }) = op else {
            return true;
        };
        !self.oracle.is_unseen(eni) && !self.ghosts.iter().any(|g| g.op.eni() == Some(eni))
    }

    /// The cloud says yes and does nothing.
    fn empty_promise(&mut self, op: &CloudOp) -> Result<OpAnswer, Box<CloudError>> {
        self.oracle.shifted = true;
        match op {
            CloudOp::Assign { eni, family, count, .. } => {
                let subnet = self.cloud.enis.get(eni).map(|v| v.subnet.clone());
                let Some(subnet) = subnet.and_then(|id| self.cloud.subnets.get_mut(&id)) else {
                    return self.effect(op);
                };
                let mut dice = self.dice.clone();
                let ips: Vec<_> =
                    (0..*count).filter_map(|_| subnet.take(*family, &mut dice)).collect();
                subnet.give_back(&ips);
                self.dice = dice;
                self.oracle.foul_addresses.extend(&ips);
                Ok(OpAnswer::Assigned(ips))
            }
            CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Unassign { .. }
            | CloudOp::UnassignPrefixes { .. } => Ok(OpAnswer::Done),
            CloudOp::AssignPrefixes { eni, family, .. } => {
                let subnet = self.cloud.enis.get(eni).map(|v| v.subnet.clone());
                let subnet = subnet.and_then(|id| self.cloud.subnets.get(&id));
                let Some(prefix) = subnet.and_then(|s| s.whole(*family).into_iter().next()) else {
                    return self.effect(op);
                };
                self.oracle.foul_addresses.extend(hosts(&prefix));
                Ok(OpAnswer::AssignedPrefixes(vec![prefix]))
            }
            CloudOp::Create(_) | CloudOp::Describe { .. } => self.effect(op),
        }
    }

    fn answered(&mut self, at: usize, ticket: CallId, result: Result<OpAnswer, Box<CloudError>>) {
        let (boot, random) = (self.boot(), self.dice.unit());
        let Some(d) = self.daemon.as_mut() else { return };
        let result = result.map_err(|e| *e);
        d.limiter.finished(boot, ticket, Outcome::of(&result), random);
        let Some(call) = d.calls.get_mut(at) else { return };
        let changes = matches!(call.op, CloudOp::Attach { .. } | CloudOp::Detach { .. });
        if changes && result.is_ok() {
            let next = boot + FIRST_POLL;
            let settling =
                Settling { asked: None, next, end: boot + STUCK, moved: false, still: None };
            call.stage = Stage::Settling(settling);
            call.by = next;
            return;
        }
        if let Ok(OpAnswer::Assigned(ips)) = &result {
            // What was left of a former owner is flushed before anybody hears of the address.
            self.node.kernel.conntrack.retain(|ip| !ips.contains(ip));
        }
        if let Ok(OpAnswer::AssignedPrefixes(prefixes)) = &result {
            let within = |ip: &IpAddr| prefixes.iter().any(|p| p.contains(ip));
            self.node.kernel.conntrack.retain(|ip| !within(ip));
        }
        let intent = d.calls.remove(at).intent;
        self.done(intent, result);
    }

    /// The allocator hears of the end of a call, some time later perhaps once more.
    fn done(&mut self, intent: IntentId, result: Result<OpAnswer, CloudError>) {
        let event = Event::CloudDone { intent, result };
        if self.strikes(4) {
            let by = self.time + Duration::from_millis(self.dice.between(0, TWINS));
            self.twins.push(Twin { event: event.clone(), by });
        }
        self.tell(event);
    }

    fn ask_again(&mut self, at: usize, s: Settling) {
        if s.asked.is_some() {
            return;
        }
        let Some(d) = self.daemon.as_mut() else { return };
        let asked = Some(d.limiter.ask(CloudOp::DESCRIBE, Priority::Waiting));
        if let Some(call) = d.calls.get_mut(at) {
            call.stage = Stage::Settling(Settling { asked, ..s });
        }
    }

    /// One question whether an attach or detach has ended.
    fn poll(&mut self, at: usize, ticket: CallId) {
        let silent = !self.may_call() || self.strikes(3);
        let moment = self.moment();
        let (boot, random) = (self.boot(), self.dice.unit());
        let Some(d) = self.daemon.as_mut() else { return };
        d.limiter.finished(boot, ticket, Outcome::Accepted, random);
        let Some(call) = d.calls.get_mut(at) else { return };
        let Stage::Settling(s) = &mut call.stage else { return };
        s.asked = None;
        s.next = boot + POLL;
        call.by = s.next;
        let attach = matches!(call.op, CloudOp::Attach { .. });
        let (wanted, fallback) = if attach {
            (EniStatus::InUse, EniStatus::Available)
        } else {
            (EniStatus::Available, EniStatus::InUse)
        };
        let status = call.op.eni().and_then(|eni| self.cloud.status_at(eni, moment));
        let kind = match status.filter(|_| !silent) {
            Some(status) if status == wanted => None,
            // Fallen back, or an old picture: only the allocator's looks can tell.
            Some(status) if status == fallback && s.moved => Some(ErrorKind::Unknown),
            Some(status) if status == fallback => {
                let since = *s.still.get_or_insert(boot);
                if boot <= since + UNMOVED {
                    return;
                }
                Some(ErrorKind::Unknown)
            }
            Some(_changing) => {
                s.moved = true;
                s.still = None;
                if boot <= s.end {
                    return;
                }
                Some(ErrorKind::Unknown)
            }
            None if boot > s.end => Some(ErrorKind::Unknown),
            None => return,
        };
        match kind {
            None => {
                let intent = d.calls.remove(at).intent;
                self.done(intent, Ok(OpAnswer::Done));
            }
            Some(ErrorKind::Unknown) => self.give_up(at),
            Some(kind) => {
                let call = d.calls.remove(at);
                self.done(call.intent, Err(error(call.op.action(), kind)));
            }
        }
    }

    /// The client waits no longer: what is on the wire may still take effect.
    pub(crate) fn give_up(&mut self, at: usize) {
        let boot = self.boot();
        let Some(d) = self.daemon.as_mut() else { return };
        if matches!(d.calls.get(at).map(|c| &c.stage), None | Some(Stage::Queued(_))) {
            return;
        }
        let call = d.calls.remove(at);
        if let Stage::Sent(id) | Stage::Applied(id, _) = &call.stage {
            d.limiter.finished(boot, *id, Outcome::Silent, 0.5);
        }
        let result = Err(error(call.op.action(), ErrorKind::Unknown));
        d.inbox.push(Event::CloudDone { intent: call.intent, result });
        self.note(|| format!("lost    {:?} {:?}", call.intent, call.stage));
        self.outlive(call);
    }

    /// A call without a client: what becomes of it.
    pub(crate) fn outlive(&mut self, call: Call) {
        let late = u64::try_from(self.profile.late.as_millis()).unwrap_or(0);
        let until = self.time + self.profile.late;
        match call.stage {
            Stage::Queued(_) => return,
            Stage::Sent(_) => {
                let lands = self.dice.percent(70);
                let by = self.time + Duration::from_millis(self.dice.between(0, late));
                self.ghosts.push(Ghost { op: call.op.clone(), by, lands });
            }
            Stage::Applied(..) | Stage::Settling(_) => {}
        }
        // A change that the cloud still works on ends within the same time.
        if let Some(changing) = call.op.eni().and_then(|eni| self.cloud.changing.get_mut(eni)) {
            changing.by = changing.by.min(until);
        }
        self.oracle.given_up(self.time, &call.op);
    }

    /// A call of the past takes effect.
    pub(crate) fn ghost_acts(&mut self, at: usize) {
        let ghost = self.ghosts.remove(at);
        if !ghost.lands {
            return;
        }
        let result = self.effect(&ghost.op);
        self.note(|| format!("ghost   {:?} {}", ghost.op, outcome(&result)));
        if result.is_ok()
            && let Some(changing) = ghost.op.eni().and_then(|eni| self.cloud.changing.get_mut(eni))
        {
            changing.by = changing.by.min(ghost.by.max(self.time));
        }
    }

    /// An attach, detach or delete ends in the cloud.
    pub(crate) fn end_change(&mut self, eni: &EniId) {
        let well = !(self.profile.troubles.calls && self.strikes(6));
        self.cloud.end_change(self.time, eni, well);
        if !self.cloud.is_attached(eni) {
            let lived = self.node.kernel.end_eni(eni);
            self.oracle.lived(self.time, lived);
        }
    }

    /// What of the calls is due moves on.
    pub(crate) fn move_calls(&mut self, boot: Duration) {
        let waits = |c: &Call| match &c.stage {
            Stage::Settling(s) => s.asked.is_none() && c.by <= boot,
            Stage::Queued(_) | Stage::Sent(_) | Stage::Applied(..) => c.by <= boot,
        };
        while let Some(at) = self.due(|d| d.calls.iter().position(waits)) {
            self.move_call(at);
        }
        self.pump_limiter();
    }
}

fn asks(call: &Call, ticket: CallId) -> bool {
    matches!(&call.stage, Stage::Settling(s) if s.asked == Some(ticket))
}

fn outcome(result: &Result<OpAnswer, Box<CloudError>>) -> String {
    match result {
        Ok(OpAnswer::Created(view)) => {
            format!("created {} {:?} {:?}", view.id, view.addresses, view.prefixes)
        }
        Ok(answer) => format!("{answer:?}"),
        Err(e) => e.code.clone(),
    }
}
