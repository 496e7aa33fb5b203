//! For tests only. Fakes, not mocks: a fake here keeps state and can be slow, fail or vanish; it plays no script of
//! expected calls. Nothing in the programs depends on this crate.

pub mod api_server;
pub mod disk;
pub mod fake_node;
pub mod netns;
pub mod skip;

pub use disk::TinyDisk;
pub use fake_node::{FakeNode, Fault, Verb};
pub use netns::Netns;
pub use skip::{requires_root, skip};
