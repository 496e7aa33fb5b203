//! Attachments that nobody deletes: found dead by the rule of looks.
//!
//! An attachment leaves the books for absence only when the runtime and the kernel were both asked about it and do not show
//! it, in looks begun after its last event, the first and the last of them `settle` apart, with no look in between that shows it.

use std::{collections::BTreeMap, time::Duration};

use tideway_model::AttachmentKey;

use crate::{Effects, Ipam, Look, Source};

/// Looks that did not show an attachment: first and last beginning, by source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Absences(BTreeMap<Source, (Duration, Duration)>);

impl Absences {
    fn note(&mut self, source: Source, begun: Duration) {
        let span = self.0.entry(source).or_insert((begun, begun));
        span.0 = span.0.min(begun);
        span.1 = span.1.max(begun);
    }

    /// Two sources, one of them the runtime or the kernel (both are), over at least `settle`.
    fn prove(&self, settle: Duration) -> bool {
        let first = self.0.values().map(|(first, _last)| *first).min();
        let last = self.0.values().map(|(_first, last)| *last).max();
        self.0.len() >= 2 && first.zip(last).is_some_and(|(first, last)| last >= first + settle)
    }
}

impl Ipam {
    pub(crate) fn seen(&mut self, t: Duration, look: &Look, out: &mut Effects) {
        let settle = self.settings.settle;
        let mut dead: Vec<AttachmentKey> = Vec::new();
        for (key, granted) in &mut self.attachments {
            if look.begun <= granted.touched {
                continue;
            }
            let lives = match look.source {
                // The runtime knows no interface names: all of a container's live.
                Source::Runtime => look.live.iter().any(|l| l.container == key.container),
                Source::Kernel => look.live.contains(key),
            };
            if lives {
                granted.absences = Absences::default();
                continue;
            }
            if !look.asked.contains(key) {
                continue;
            }
            granted.absences.note(look.source, look.begun);
            if granted.absences.prove(settle) {
                dead.push(key.clone());
            }
        }
        for key in dead {
            self.release(t, &key, None, out);
        }
    }
}
