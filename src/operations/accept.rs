//! A person says that a suspicious backup is as it should be.

use super::{Context, Error};
use crate::domain::catalogue::Entry;
use crate::journal::Acceptance;

/// Remembers it; says which files, and their identities. Those that are accepted already are left out.
///
/// # Errors
/// [`Error::NotSuspicious`]: nothing of them is remembered then; or the journal cannot be written.
pub fn accept(context: &Context, entries: &[&Entry], by: &str) -> Result<Vec<(String, String)>, Error> {
    let is_one = |entry: &&&Entry| entry.accepted || entry.is_suspicious();
    if let Some(entry) = entries.iter().find(|entry| !is_one(entry)) {
        return Err(Error::NotSuspicious { file: entry.file.clone() });
    }
    let mut accepted = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_suspicious()) {
        let Some(manifest) = &entry.manifest else { continue };
        let (id, at, by) = (manifest.id.to_string(), context.clock.now(), by.to_owned());
        context.journal.accept(&Acceptance { id: id.clone(), at, by })?;
        accepted.push((entry.file.clone(), id));
    }
    // Where there is no journal nothing is remembered, and the older backups stay held.
    let known = context.journal.acceptances()?;
    match accepted.iter().find(|(_, id)| !known.iter().any(|one| one.id == *id)) {
        Some((file, _)) => Err(Error::NotRemembered { file: file.clone() }),
        None => Ok(accepted),
    }
}
