//! Incidents, what is done about them, and the outbox.
//!
//! ```text
//! observation ── symptom ── incident ── playbook ── guard ── action ── verification
//!                               └────────── notice ── promise (delivery) ── attempt
//! ```
//!
//! Invariants:
//! - Symptoms of one cause are one incident.
//! - An action is written down before it is done, under the lease of the one process that acts, and one
//!   at a time per target. What a crash leaves behind is settled by observing, not by acting again.
//! - No action counts as a success because it says so: the metric that gave the trouble away is measured
//!   again.
//! - What cannot be fixed within its limits is told to people, once, with everything that was tried.
//!
//! Deciding takes `now` and touches nothing; doing ([`action`]) is short. Who measures is the caller.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test is at the edge"))]

pub mod action;
pub mod control;
pub mod delivery;
pub mod desk;
pub mod fix;
pub mod guard;
pub mod incident;
pub mod kind;
pub mod notice;
pub mod playbook;
pub mod span;
pub mod symptom;
