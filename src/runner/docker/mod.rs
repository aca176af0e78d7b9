//! Programs in the database's container, through the engine's socket.

use crate::error::Explain;

/// What the engine says or does not say.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {}

impl Explain for EngineError {}
