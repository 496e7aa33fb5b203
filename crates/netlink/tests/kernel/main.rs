//! The datapath against a real kernel: a VPC, a node and pods as network namespaces of this test, veth ends as ENIs.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::doc_markdown,
    clippy::similar_names,
    unused_crate_dependencies,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::allow_attributes,
    reason = "tests fail by panicking"
)]

mod exclusive;
mod figures;
mod nat;
mod quiet;
mod repair;
mod shaping;
mod shared;
mod world;
