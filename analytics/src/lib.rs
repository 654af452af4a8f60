//! Questions about the lake, and what the numbers mean.
//!
//! Everything here decides from what it is given: nothing reads a clock or the environment.

pub mod accuracy;
pub mod anomaly;
mod apart;
pub mod baseline;
pub mod bottleneck;
mod catalog;
pub mod change;
mod damage;
mod engine;
mod error;
pub mod explain;
pub mod forecast;
mod function;
mod guard;
pub mod health;
pub mod kpi;
mod like;
pub mod observed;
pub mod outlier;
mod part;
mod patience;
mod plan;
mod prune;
mod reader;
pub mod red;
pub mod risk;
mod run;
pub mod seasonality;
pub mod slo;
mod table;
#[cfg(test)]
mod traps;
pub mod trend;
mod view;

pub use engine::{Answer, Engine, Limits};
pub use error::{Error, Result};
