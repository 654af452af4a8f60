//! serve
pub mod config;
