//! Incidents and the outbox, as pure decisions.
//!
//! ```text
//! finding ── incident ── promise (delivery) ── attempt ── again, or never
//! ```
//!
//! Invariants: a finding with the key of an unresolved incident never opens a second one; a resolved
//! incident stays resolved; a delivery is tried until it arrived, was refused for good, or its schedule
//! is used up. Deciding takes `now` and touches nothing; `data::ledger` keeps what was decided.

pub mod incident;
pub mod outbox;
