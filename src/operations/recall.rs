//! A journal that was lost, or begun beside backups: what manifests tell is entered again. What only it knew (failures, readings,
//! who asked) is gone.

use rust_i18n::t;

use super::{Context, Error, catalogue};
use crate::domain::name::Kind;
use crate::journal::Recalled;

/// Enters what is missing, once for each journal.
///
/// # Errors
/// When the directory cannot be listed; a journal that fails is only said.
pub async fn recall(context: &Context) -> Result<(), Error> {
    if context.journal.is_recalled().unwrap_or(true) {
        return Ok(());
    }
    let catalogue = catalogue::load(context).await?;
    let of = |entry: &crate::domain::catalogue::Entry| {
        let manifest = entry.manifest.as_ref().filter(|m| entry.own && m.kind == Kind::Backup)?;
        Some(Recalled {
            id: manifest.id.to_string(),
            file: manifest.file.clone(),
            started_at: manifest.started_at,
            finished_at: manifest.finished_at,
            bytes: manifest.stored.bytes,
        })
    };
    // Oldest first: the journal's order is that of being recorded.
    let backups: Vec<Recalled> = catalogue.entries().iter().rev().filter_map(of).collect();
    match context.journal.recall(&backups, context.clock.now()) {
        Ok(0) => {}
        Ok(count) => context.warn(t!("journal.recalled", count = count)),
        Err(error) => context.warn(error.to_string()),
    }
    Ok(())
}
