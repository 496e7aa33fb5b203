//! Tests of the allocator against a model world: a cloud, a kernel, a kubelet, a runtime and a journal that can all be late,
//! silent or wrong.

mod causes;
mod cloud;
mod counts;
mod crashes;
mod damaged;
mod devices;
mod hazards;
mod hold;
mod invariants;
mod leases;
mod pool;
mod prefixes;
mod random;
mod rebuilt;
mod setup;
mod simulated;
mod subnets;
mod unknown;
mod world;
