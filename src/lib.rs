//! Amarre backs up the database of a Docker Compose application and proves that each backup restores.
//!
//! The rooms of this crate, and which may use which, are drawn in `docs/ARCHITECTURE.md`;
//! `tests/layering.rs` fails on an arrow that the plan does not allow.

rust_i18n::i18n!("locales", fallback = "en");

pub mod app;
pub mod cli;
pub mod database;
pub mod domain;
pub mod dump;
pub mod error;
pub mod journal;
pub mod notify;
pub mod operations;
pub mod process;
pub mod runner;
pub mod settings;
pub mod store;
pub mod supervisor;
