//! The whole from outside.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "tests and benches are at the edge")]
#![allow(clippy::print_stdout, reason = "a seed has to be seen when a test fails")]

mod actions;
mod anomaly;
mod architecture;
mod bad_input;
mod bit_rot;
mod catalog;
mod clients;
mod collectors;
mod command_line;
mod crash;
mod crowd;
mod delivery;
mod effects;
mod failing_store;
mod forecast;
mod foresight;
mod full_disk;
mod healing;
mod hostile;
mod hourly;
mod idle;
mod idle_day;
mod import;
mod journey;
mod ledger;
mod object_storage;
mod on_demand;
mod open_lake;
mod power_loss;
mod published;
mod red;
mod rollups;
mod soak;
mod testbed;
