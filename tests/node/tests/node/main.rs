//! A whole node without Kubernetes, under every hazard that we know. Each test raises its own lab; see `tideway_node_tests`.
#![cfg(test)]

#[cfg(test)]
mod calls;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod clouds;
#[cfg(test)]
mod config;
#[cfg(test)]
mod conflist;
#[cfg(test)]
mod conntrack;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod denied;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod exclusive;
#[cfg(test)]
mod gone;
#[cfg(test)]
mod happy;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod prefixes;
#[cfg(test)]
mod run;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod strays;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod tickets;
#[cfg(test)]
mod withdrawn;
