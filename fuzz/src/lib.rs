//! What comes from outside, as functions of bytes: one for each door. libFuzzer bends the bytes (`make fuzz`, the program
//! beside this library); `tests/corpus.rs` replays the committed corpora without it.
//!
//! A body fails by a panic: of the code that it drives (overflow checks and the allocator's own checker are on), or of an
//! assertion here about what that code promises. Bodies touch no file, no network and no state of their process; they are
//! given nothing that would let them.
#![expect(clippy::expect_used, reason = "a panic is how a body says what it found")]

mod allocator;
mod cloud;
mod cni;
mod configuration;
mod extender;
mod journal;
mod requests;

/// What one door is given.
pub type Body = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const TARGETS: [(&str, Body); 12] = [
    ("cni", cni::input),
    ("requests", requests::wire),
    ("metadata", cloud::metadata),
    ("cloud", cloud::answer),
    ("journal", journal::text),
    ("restore", journal::records),
    ("daemon-config", configuration::daemon),
    ("extender-config", configuration::extender),
    ("filter", extender::filter),
    ("prioritize", extender::prioritize),
    ("bind", extender::bind),
    ("preempt", extender::preempt),
];

/// The target of that name.
pub fn target(name: &str) -> Option<Body> {
    TARGETS.iter().find(|(own, _)| *own == name).map(|(_, body)| *body)
}
