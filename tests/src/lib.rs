//! What the tests and benches share: the built program as a process, its clients, and load.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "tests and benches are at the edge")]

pub mod amqp;
pub mod chaos;
pub mod client;
pub mod delta;
pub mod faketime;
pub mod flaky_store;
pub mod in_process;
pub mod load;
pub mod lossy_disk;
pub mod opened;
pub mod postgres;
pub mod process;
pub mod python;
pub mod rabbitmq;
pub mod receiver;
pub mod redis;
pub mod s3;
pub mod sender;
pub mod soak;
