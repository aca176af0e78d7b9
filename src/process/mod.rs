//! This process: its clock, its memory, its signals, its rights, its lock, others of its kind.
//! What a run does is not known here.

mod asked;
pub mod clock;
mod limits;
pub mod lock;
pub mod privileges;
pub mod siblings;
pub mod signals;
pub mod status;

pub use asked::asked;
pub use clock::{SystemClock, random, since_boot};
pub use limits::no_core;
pub use status::peak_rss_bytes;
