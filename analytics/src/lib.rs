//! Questions about the lake, and what the numbers mean.
//!
//! Everything here decides from what it is given: nothing reads a clock or the environment.

mod error;
pub mod health;
pub mod trend;

pub use error::{Error, Result};
