//! The ledger: what changes. SQLite by default, PostgreSQL by URL.
