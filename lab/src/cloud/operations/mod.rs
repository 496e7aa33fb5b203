//! What the VPC can do, in the words of no cloud: each operation checks every rule before the first change, then changes.
//! The actions of the clouds read parameters, call these and shape answers.

pub mod address;
pub mod attachment;
pub mod eni;
pub mod tag;
pub mod wanted;
