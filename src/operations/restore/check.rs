//! What must hold before anything is touched: the file is whole and what was proven, holds nothing that psql would run,
//! and the server can take it.

use rust_i18n::t;

use super::Request;
use super::choose::Chosen;
use crate::database::{Facts, Server};
use crate::domain::content::Needs;
use crate::domain::text::escape;
use crate::domain::timings::Timings;
use crate::dump::{Foreign, Proof, Scan};
use crate::operations::backup::Expected;
use crate::operations::{Context, Error, verify};

/// Reads the whole file; with a manifest it must be what that says.
pub(super) async fn file(context: &Context, chosen: &Chosen) -> Result<(Proof, Timings), Error> {
    let limit = chosen.manifest.as_ref().map(|m| m.plain.bytes);
    let (proof, timings) = verify::read_from(context, &*chosen.store, &chosen.file, limit).await?;
    if let Some(manifest) = &chosen.manifest {
        let (stored, plain, content) = (&manifest.stored, &manifest.plain, &manifest.content);
        Expected { file: &chosen.file, stored, plain, content }.check(&proof)?;
    }
    proof.scan.complete()?;
    Ok((proof, timings))
}

/// Refuses what psql would run (fault 83, 84); what only names the database is left out and said.
pub(super) fn commands(
    chosen: &Chosen,
    scan: &Scan,
    server: &Server,
    database: &str,
    notices: &mut Vec<String>,
) -> Result<(), Error> {
    let mut refused = Vec::new();
    for command in &scan.foreign {
        match command {
            Foreign::Meta { line, text } => refused.push((*line, text.clone())),
            Foreign::Program { line } => refused.push((*line, "COPY … PROGRAM".to_owned())),
            Foreign::ServerFile { .. } | Foreign::Doubtful { .. } => {
                refused.push((command.line(), command.describe()));
            }
            Foreign::Connect { line, database: to } if to == database => {
                notices.push(t!("restore.connect_ignored", line = line, database = escape(to)).into_owned());
            }
            Foreign::Connect { line, database: to } => refused.push((*line, format!("\\connect {to}"))),
            Foreign::DatabaseStatement { line, text } => {
                notices.push(t!("restore.statement_ignored", line = line, text = escape(text)).into_owned());
            }
        }
    }
    let mut commands: Vec<String> = refused
        .iter()
        .take(5)
        .map(|(line, text)| t!("operations.line", line = line, text = escape(text)).into_owned())
        .collect();
    // A psql that knows \restrict refuses meta-commands itself, however the quotes are read.
    if scan.ambiguous_quoting && chosen.manifest.is_none() && !server.client_restricts {
        commands.push(t!("operations.foreign_ambiguous").into_owned());
    }
    if commands.is_empty() {
        return Ok(());
    }
    Err(Error::Foreign { file: chosen.file.clone(), commands: commands.join("; ") })
}

/// A dump of a newer major version may hold what an older server does not know (fault 81).
pub(super) fn version(chosen: &Chosen, scan: &Scan, server: &Server) -> Result<(), Error> {
    let dumped = chosen.manifest.as_ref().map(|m| m.server_version.clone()).or_else(|| scan.server_version.clone());
    let Some(dumped) = dumped else { return Ok(()) };
    let major = dumped.split(|c: char| !c.is_ascii_digit()).next().and_then(|m| m.parse::<u32>().ok());
    match major {
        Some(major) if major > server.major() => Err(Error::Newer { dumped, server: server.version.clone() }),
        _ => Ok(()),
    }
}

/// Whom the objects of a file without owners go to. A file of the old scripts, loaded by a superuser, would lock the
/// application out of its own tables. Our own dumps leave owners out only where nothing is lost by it.
pub(super) fn adoption(chosen: &Chosen, scan: &Scan, server: &Server, live: Option<&Facts>) -> Option<String> {
    if chosen.manifest.is_some() || !scan.needs.roles.is_empty() {
        return None;
    }
    Some(live.map_or_else(|| server.role.clone(), |l| l.record.owner.clone()))
}

/// Roles, extensions and tablespaces that the server lacks (fault 74, 90).
pub(super) async fn needs(context: &Context, chosen: &Chosen, scan: &Scan, live: Option<&Facts>) -> Result<(), Error> {
    let mut needs: Needs = scan.needs.clone();
    if let (None, Some(manifest)) = (live, &chosen.manifest) {
        needs.roles.insert(manifest.database.owner.clone());
        needs.roles.extend(manifest.database.settings.iter().filter_map(|s| s.role.clone()));
    }
    let missing = context.database.missing(&needs).await?;
    let list = |names: &std::collections::BTreeSet<String>| {
        names.iter().map(|n| format!("'{}'", escape(n))).collect::<Vec<_>>().join(", ")
    };
    let mut what = Vec::new();
    if !missing.roles.is_empty() {
        what.push(t!("operations.missing_roles", names = list(&missing.roles)).into_owned());
    }
    if !missing.extensions.is_empty() {
        what.push(t!("operations.missing_extensions", names = list(&missing.extensions)).into_owned());
    }
    if !missing.tablespaces.is_empty() {
        what.push(t!("operations.missing_tablespaces", names = list(&missing.tablespaces)).into_owned());
    }
    if what.is_empty() {
        return Ok(());
    }
    let roles_file = chosen.manifest.as_ref().and_then(|m| m.roles_file.as_ref()).map(|r| r.file.clone());
    let roles_file = roles_file.filter(|_| !missing.roles.is_empty());
    Err(Error::Missing { what: what.join("; "), roles_file })
}

/// Prepared transactions, slots, subscriptions, rights (fault 75); a side database that is there already.
pub(super) async fn room(context: &Context, request: &Request, live: Option<&Facts>) -> Result<(), Error> {
    if let Some(into) = &request.into {
        return match context.database.facts(into).await? {
            Some(_) => Err(Error::Exists { database: into.clone() }),
            None => Ok(()),
        };
    }
    let database = context.database.name();
    let obstacles = context.database.obstacles(database).await?;
    // Without a live database there is nothing to rename, only to create.
    let relevant: Vec<String> = obstacles
        .iter()
        .filter(|o| live.is_some() || o.kind == "rights")
        .map(|o| t!(format!("operations.obstacle.{}", o.kind), name = escape(&o.name)).into_owned())
        .collect();
    if relevant.is_empty() {
        return Ok(());
    }
    Err(Error::Obstacles { database: database.to_owned(), obstacles: relevant.join(", ") })
}

/// The new database takes the live one's owner, grants and settings; where the backup had others, that is said.
pub(super) fn settings_notices(chosen: &Chosen, live: Option<&Facts>, notices: &mut Vec<String>) {
    let (Some(manifest), Some(live)) = (&chosen.manifest, live) else { return };
    let (was, is) = (&manifest.database, &live.record);
    if was.owner != is.owner || was.acl != is.acl || was.settings != is.settings {
        notices.push(t!("restore.properties_differ").into_owned());
    }
    if was.encoding != is.encoding {
        notices.push(t!("restore.encoding_differs", was = was.encoding, is = is.encoding).into_owned());
    }
}
