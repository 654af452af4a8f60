//! Questions about the lake, and what the numbers mean.
//!
//! Everything here decides from what it is given: nothing reads a clock or the environment.

pub mod accuracy;
mod catalog;
mod damage;
mod engine;
mod error;
mod function;
mod like;
mod prune;
mod reader;
mod table;
mod view;
pub mod baseline;
pub mod anomaly;
pub mod bottleneck;
pub mod change;
pub mod explain;
pub mod forecast;
pub mod health;
pub mod observed;
pub mod risk;
pub mod seasonality;
pub mod slo;
pub mod trend;

pub use engine::{Answer, Engine, Limits};
pub use error::{Error, Result};
