//! Named mutants of the allocator: each breaks one promise the way a slip in the code would, in the doorway between the
//! allocator and its shell. They prove that the checker can fail.

use std::time::Duration;

use tideway_cloud::ErrorKind;
use tideway_ipam::{Command, Effects, Entry, Event, Look, NodeFacts, Settings, Source};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// Addresses do not rest.
    SkipsCooling,
    /// Conntrack entries are taken for flushed.
    SkipsFlush,
    /// One look of one source proves an absence.
    FreesOnOneLook,
    /// What the runtime does not list is dead, whatever the kernel says.
    TrustsTheRuntime,
    /// Intents are not written.
    ForgetsIntents,
    /// Promises are not written.
    ForgetsPromises,
    /// Rests are not written: after a restart the address is free.
    ForgetsRests,
    /// Leases are not written: after a restart the address is anybody's.
    ForgetsLeases,
    /// A call whose answer was lost is sent again at once.
    SendsAgain,
    /// An address whose Unassign was sent counts as free after a restart.
    UnassignedIsFree,
    /// Calls are taken to have no late effect.
    TrustsEarlyLooks,
    /// One ENI more than the type allows.
    OneSlotTooMany,
    /// One address more than a call allows.
    AsksTooMuchAtOnce,
    /// One address more than the type allows.
    OneAddressTooMany,
    /// The first subnet is the only one.
    UsesOneSubnet,
    /// ENIs of others are taken for ours.
    TakesForeignEnis,
    /// DELs are answered and not obeyed, and looks are not believed.
    KeepsTheDead,
    /// DELs are neither answered nor obeyed.
    SwallowsDels,
    /// What looks find dead is kept for minutes.
    LetsTheDeadLinger,
    /// An ENI without our tags is taken for gone.
    NeedsTags,
    /// Looks at the cloud are not read.
    IgnoresTheCloud,
    /// Requests wait longer than their callers.
    WaitsTooLong,
    /// A lost answer of a Create or Attach counts as a refusal.
    TakesLostForRefused,
    /// The kubelet's lists of devices are taken for empty.
    IgnoresDevices,
    /// With one empty prefix all others of its ENI are given back too.
    GivesBackLivePrefixes,
    /// The host is not told of ENIs that are no more.
    LeavesRemains,
}

/// All of them.
pub const ALL: [Mutant; 26] = [
    Mutant::SkipsCooling,
    Mutant::SkipsFlush,
    Mutant::FreesOnOneLook,
    Mutant::TrustsTheRuntime,
    Mutant::ForgetsIntents,
    Mutant::ForgetsPromises,
    Mutant::ForgetsRests,
    Mutant::ForgetsLeases,
    Mutant::SendsAgain,
    Mutant::UnassignedIsFree,
    Mutant::TrustsEarlyLooks,
    Mutant::OneSlotTooMany,
    Mutant::OneAddressTooMany,
    Mutant::UsesOneSubnet,
    Mutant::AsksTooMuchAtOnce,
    Mutant::TakesForeignEnis,
    Mutant::KeepsTheDead,
    Mutant::SwallowsDels,
    Mutant::LetsTheDeadLinger,
    Mutant::NeedsTags,
    Mutant::IgnoresTheCloud,
    Mutant::WaitsTooLong,
    Mutant::TakesLostForRefused,
    Mutant::IgnoresDevices,
    Mutant::GivesBackLivePrefixes,
    Mutant::LeavesRemains,
];

impl Mutant {
    /// Its name on the command line.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The mutant of a name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|m| m.name() == name)
    }

    /// Settings and facts as the mutant reads them.
    pub(crate) fn misread(self, settings: &mut Settings, facts: &mut NodeFacts) {
        match self {
            Self::SkipsCooling => settings.cooldown = Duration::ZERO,
            Self::FreesOnOneLook => settings.settle = Duration::ZERO,
            Self::TrustsEarlyLooks => settings.late_effect = Duration::ZERO,
            Self::LetsTheDeadLinger => settings.settle *= 10,
            Self::OneSlotTooMany => facts.limits.enis += 1,
            Self::OneAddressTooMany => {
                facts.limits.ipv4_per_eni += 1;
                facts.limits.ipv6_per_eni += 1;
            }
            Self::UsesOneSubnet => facts.subnets.truncate(1),
            Self::AsksTooMuchAtOnce => {
                settings.create_secondary_max += 1;
                settings.assign_batch += 1;
            }
            Self::TakesForeignEnis => facts.tags.clear(),
            Self::SkipsFlush
            | Self::TrustsTheRuntime
            | Self::ForgetsIntents
            | Self::ForgetsPromises
            | Self::ForgetsRests
            | Self::ForgetsLeases
            | Self::SendsAgain
            | Self::UnassignedIsFree
            | Self::KeepsTheDead
            | Self::SwallowsDels
            | Self::NeedsTags
            | Self::IgnoresTheCloud
            | Self::WaitsTooLong
            | Self::TakesLostForRefused
            | Self::IgnoresDevices
            | Self::GivesBackLivePrefixes
            | Self::LeavesRemains => {}
        }
    }

    /// What the allocator hears instead of `event`.
    pub(crate) fn before(self, event: Event, out: &mut Effects) -> Vec<Event> {
        match (self, event) {
            (Self::FreesOnOneLook, Event::Seen(look)) => {
                let other = match look.source {
                    Source::Runtime => Source::Kernel,
                    Source::Kernel => Source::Runtime,
                };
                let twin = Look { source: other, ..look.clone() };
                vec![Event::Seen(look), Event::Seen(twin)]
            }
            (Self::TrustsTheRuntime, Event::Seen(look)) if look.source == Source::Runtime => {
                let twin = Look { source: Source::Kernel, ..look.clone() };
                vec![Event::Seen(look), Event::Seen(twin)]
            }
            (Self::TrustsTheRuntime, Event::Seen(_)) => vec![Event::Tick],
            (Self::KeepsTheDead, Event::Del { id, key }) => {
                out.commands.push(Command::Unknown { id, key });
                vec![Event::Tick]
            }
            (Self::KeepsTheDead, Event::Seen(_)) | (Self::SwallowsDels, Event::Del { .. }) => {
                vec![Event::Tick]
            }
            (Self::IgnoresDevices, Event::DevicesSeen { begun, .. }) => {
                let holders = std::collections::BTreeMap::new();
                vec![Event::DevicesSeen { begun, holders }]
            }
            (Self::NeedsTags, Event::CloudSeen { begun, mut enis }) => {
                enis.retain(|view| view.primary || !view.tags.is_empty());
                vec![Event::CloudSeen { begun, enis }]
            }
            (Self::IgnoresTheCloud, Event::CloudSeen { begun, .. }) => {
                vec![Event::CloudSeen { begun, enis: Vec::new() }]
            }
            (Self::WaitsTooLong, Event::Add(mut add)) => {
                add.deadline += Duration::from_mins(5);
                vec![Event::Add(add)]
            }
            (Self::TakesLostForRefused, Event::CloudDone { intent, result: Err(mut e) })
                if e.kind == ErrorKind::Unknown =>
            {
                e.kind = ErrorKind::Unavailable;
                vec![Event::CloudDone { intent, result: Err(e) }]
            }
            (_, event) => vec![event],
        }
    }

    /// What becomes of its effects.
    pub(crate) fn after(self, out: &mut Effects) {
        match self {
            Self::ForgetsIntents => out.records.retain(|r| !r.key.starts_with("intent/")),
            Self::ForgetsPromises => out.records.retain(|r| !r.key.starts_with("attachment/")),
            Self::ForgetsLeases => out.records.retain(|r| !r.key.starts_with("lease/")),
            Self::LeavesRemains => out.commands.retain(|c| !matches!(c, Command::Retire(_))),
            Self::ForgetsRests => out.records.retain(|r| !r.key.starts_with("cooling/")),
            Self::UnassignedIsFree => {
                for r in &mut out.records {
                    if let Some(Entry::Eni(eni)) = &mut r.value {
                        eni.releasing.clear();
                    }
                }
            }
            _ => {}
        }
    }
}
