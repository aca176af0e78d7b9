//! Pure rules: names, manifests, the catalogue, retention, the schedule, comparing contents.
//! No I/O, no clock, no environment: time comes in as a value.

pub mod alert;
pub mod bandwidth;
pub mod catalogue;
pub mod clock;
pub mod compare;
pub mod compression;
pub mod content;
pub mod cost;
pub mod event;
pub mod keep;
pub mod manifest;
pub mod name;
pub mod notice;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod space;
pub mod suspicion;
pub mod text;
pub mod timings;
