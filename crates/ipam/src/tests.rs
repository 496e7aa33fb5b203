//! Tests of the allocator against a model world: a cloud, a kernel, a kubelet, a runtime and a journal that can all be late,
//! silent or wrong.

mod causes;
mod cloud;
mod counts;
mod crashes;
mod damaged;
mod devices;
mod growth;
mod hazards;
mod hold;
mod identities;
mod invariants;
mod journal;
mod leases;
mod lists;
mod outcomes;
mod pool;
mod prefixes;
mod random;
mod rebuilt;
mod setup;
mod shown;
mod simulated;
mod subnets;
mod unknown;
mod world;
