//! `tidewayd`: the daemon of one node.
//!
//! Who owns what: the engine's thread owns allocator and journal ([`engine`]); [`hands`] execute its commands as tasks;
//! [`service`] answers the CNI plugin; [`sources`], [`tickets`], [`plugin`] and the pod watch bring facts. All meet in the
//! engine's inbox, so there is one order of things and no lock around state.

pub mod asked;
pub mod assemble;
pub mod clock;
pub mod cloud_log;
pub mod cloud_looks;
pub mod conflist;
pub mod connect;
pub mod denials;
pub mod door;
pub mod elsewhere;
pub mod engine;
pub mod events;
pub mod facts;
pub mod fault;
pub mod hands;
pub mod holders;
pub mod identity;
pub mod ledger;
pub mod mapped;
pub mod meter;
pub mod node_status;
pub mod notices;
pub mod operate;
pub mod owners;
pub mod pauses;
pub mod plugin;
pub mod plumbed;
pub mod publish;
pub mod quiet;
pub mod rebuild;
pub mod service;
pub mod show;
pub mod socket;
pub mod sources;
pub mod start;
pub mod strays;
pub mod sweep;
pub mod tickets;
pub mod uninstall;
pub mod withdrawals;
