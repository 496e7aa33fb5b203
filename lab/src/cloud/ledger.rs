//! The book of what happened: every call, and every address ever given.
//!
//! Address records are written where the address space changes; [`Ledger::verify`] holds them against each other and
//! against what the ENIs say they have. So a mistake of the lab itself shows as well as one of a client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use serde::Serialize;

use super::clock::Millis;

/// Single calls kept; older ones stay in the counters.
const CALLS_KEPT: usize = 50_000;

/// One API call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Milliseconds since the epoch.
    pub at: Millis,
    /// Action.
    pub action: String,
    /// Instance name of the source address, or `outside`.
    pub caller: String,
    /// Access key id.
    pub access_key: String,
    /// `OK` or the error code.
    pub outcome: String,
    /// True when the answer was thrown away on purpose.
    pub lost: bool,
    /// ENI, instance or subnet that the call named first.
    pub subject: String,
}

/// One time that an address was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// The address.
    pub address: IpAddr,
    /// The ENI that held it.
    pub eni: String,
    /// When it was given.
    pub given: Millis,
    /// When it was given back.
    pub released: Option<Millis>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Violation {
    /// Two ENIs had the address at one time.
    #[serde(rename_all = "camelCase")]
    GivenTwice {
        /// The address.
        address: IpAddr,
        /// First holder.
        first: String,
        /// Second holder.
        second: String,
    },
    /// The address is booked as held, but its ENI does not have it or is gone.
    #[serde(rename_all = "camelCase")]
    Lost {
        /// The address.
        address: IpAddr,
        /// The ENI that should have it.
        eni: String,
    },
    /// An ENI has an address that was never given to it.
    #[serde(rename_all = "camelCase")]
    NeverGiven {
        /// The address.
        address: IpAddr,
        /// The ENI that has it.
        eni: String,
    },
}

/// Calls and addresses.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    calls: VecDeque<Call>,
    counts: BTreeMap<(String, String, String), u64>,
    holdings: Vec<Holding>,
}

/// Number of calls of one action by one caller with one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallCount {
    /// Action.
    pub action: String,
    /// Instance name, or `outside`.
    pub caller: String,
    /// `OK` or the error code.
    pub outcome: String,
    /// How often.
    pub calls: u64,
}

impl Ledger {
    /// Books a call.
    pub fn record(&mut self, call: Call) {
        let key = (call.action.clone(), call.caller.clone(), call.outcome.clone());
        *self.counts.entry(key).or_default() += 1;
        if self.calls.len() == CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// Books that an address was given.
    pub fn given(&mut self, address: IpAddr, eni: &str, now: Millis) {
        self.holdings.push(Holding { address, eni: eni.to_owned(), given: now, released: None });
    }

    /// Books that an address was given back.
    pub fn released(&mut self, address: IpAddr, eni: &str, now: Millis) {
        let open = self
            .holdings
            .iter_mut()
            .rev()
            .find(|h| h.address == address && h.eni == eni && h.released.is_none());
        if let Some(holding) = open {
            holding.released = Some(now);
        }
    }

    /// Calls that are still kept singly, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// Every holding, in the order of giving.
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    /// Counters by action, caller, outcome.
    pub fn counts(&self) -> Vec<CallCount> {
        self.counts
            .iter()
            .map(|((action, caller, outcome), calls)| CallCount {
                action: action.clone(),
                caller: caller.clone(),
                outcome: outcome.clone(),
                calls: *calls,
            })
            .collect()
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Everything that is wrong, given what each ENI says it has.
    pub fn verify(&self, present: &BTreeMap<String, BTreeSet<IpAddr>>) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut by_address: BTreeMap<IpAddr, Vec<&Holding>> = BTreeMap::new();
        for holding in &self.holdings {
            by_address.entry(holding.address).or_default().push(holding);
        }
        for (address, held) in &by_address {
            // Book order is time order; equal times are fine, an open or later end is not.
            for (earlier, later) in held.iter().zip(held.iter().skip(1)) {
                if earlier.released.is_none_or(|end| end > later.given) {
                    found.push(Violation::GivenTwice {
                        address: *address,
                        first: earlier.eni.clone(),
                        second: later.eni.clone(),
                    });
                }
            }
        }
        let mut open: BTreeSet<(&str, IpAddr)> = BTreeSet::new();
        for holding in self.holdings.iter().filter(|h| h.released.is_none()) {
            open.insert((holding.eni.as_str(), holding.address));
            let there = present.get(&holding.eni).is_some_and(|has| has.contains(&holding.address));
            if !there {
                found.push(Violation::Lost { address: holding.address, eni: holding.eni.clone() });
            }
        }
        for (eni, addresses) in present {
            for address in addresses {
                if !open.contains(&(eni.as_str(), *address)) {
                    found.push(Violation::NeverGiven { address: *address, eni: eni.clone() });
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(eni: &str, address: IpAddr) -> BTreeMap<String, BTreeSet<IpAddr>> {
        BTreeMap::from([(eni.to_owned(), BTreeSet::from([address]))])
    }

    #[test]
    fn address_held_by_two_enis_at_once_is_found() {
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        let mut ledger = Ledger::default();
        ledger.given(address, "eni-1", 10);
        ledger.given(address, "eni-2", 20);
        ledger.released(address, "eni-1", 30);
        let found = ledger.verify(&has("eni-2", address));
        assert!(matches!(found.as_slice(), [Violation::GivenTwice { .. }]), "{found:?}");
    }

    #[test]
    fn address_of_a_vanished_eni_that_was_never_released_is_lost() {
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        let mut ledger = Ledger::default();
        ledger.given(address, "eni-1", 10);
        let found = ledger.verify(&BTreeMap::new());
        assert_eq!(found, [Violation::Lost { address, eni: "eni-1".to_owned() }]);
        assert_eq!(ledger.verify(&has("eni-1", address)), []);
    }

    #[test]
    fn release_and_later_grant_to_another_eni_is_fine() {
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        let mut ledger = Ledger::default();
        ledger.given(address, "eni-1", 10);
        ledger.released(address, "eni-1", 30);
        ledger.given(address, "eni-2", 30);
        assert_eq!(ledger.verify(&has("eni-2", address)), []);
        assert_eq!(
            ledger.verify(&has("eni-7", address)).len(),
            2,
            "one lost, one that was never given"
        );
    }
}
