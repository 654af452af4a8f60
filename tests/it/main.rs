//! The whole from outside.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod bad_input;
mod clients;
mod crash;
mod journey;
mod object_storage;
mod open_lake;
mod architecture;
mod ledger;
