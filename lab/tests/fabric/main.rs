//! The lab's network against the kernel of this machine, in namespaces of its own. Needs root.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test tells what is wrong by failing, and its skips go to stderr"
)]

mod lifecycle;
mod lost;
mod reach;
mod security;
mod snapshot;
mod spoofing;
mod support;
