//! Commands of the operator's that run before and after a backup.

use std::fmt;
use std::time::Duration;

use crate::settings::problem::Problem;
use crate::settings::reader::Reader;

/// Where a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the sidecar, or on the host.
    Here,
    /// Beside the database.
    Database,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Where it runs.
    pub place: Place,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place == Place::Database { DATABASE } else { "" };
        write!(f, "{place}{}", shell_words::join(&self.argv))
    }
}

/// The hooks of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// `BACKUP_BEFORE`: a failure stops the run.
    pub before: Option<Hook>,
    /// `BACKUP_AFTER`: the backup is there.
    pub after: Option<Hook>,
    /// `BACKUP_ON_FAILURE`: it is not.
    pub on_failure: Option<Hook>,
    /// `BACKUP_HOOK_TIMEOUT`: how long each may take.
    pub limit: Duration,
}

/// What stands before the command where it runs beside the database.
const DATABASE: &str = "db: ";

pub(super) fn read(reader: &mut Reader<'_>) -> Hooks {
    Hooks {
        before: hook(reader, "BACKUP_BEFORE"),
        after: hook(reader, "BACKUP_AFTER"),
        on_failure: hook(reader, "BACKUP_ON_FAILURE"),
        limit: Duration::from_secs(u64::from(reader.number("BACKUP_HOOK_TIMEOUT", 300, 1, 86_400))),
    }
}

/// Words as a shell splits them; nothing is expanded, and no shell is run.
fn hook(reader: &mut Reader<'_>, name: &'static str) -> Option<Hook> {
    let text = reader.text(name)?;
    let (place, words) = match text.strip_prefix(DATABASE.trim_end()) {
        Some(rest) => (Place::Database, rest),
        None => (Place::Here, text.as_str()),
    };
    match shell_words::split(words) {
        Ok(argv) if argv.first().is_some_and(|program| !program.is_empty()) => Some(Hook { place, argv }),
        _ => {
            reader.problem(Problem::Hook { name, value: text });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing::{load, problems};

    #[test]
    fn a_hook_is_words_and_no_shell() {
        let hooks =
            load(&[("BACKUP_BEFORE", "db: psql -c 'select 1; $(x)'"), ("BACKUP_AFTER", "/bin/touch \"a b\"")]).hooks;
        let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(hooks.before, Some(Hook { place: Place::Database, argv: argv(&["psql", "-c", "select 1; $(x)"]) }));
        assert_eq!(hooks.after, Some(Hook { place: Place::Here, argv: argv(&["/bin/touch", "a b"]) }));
        assert_eq!((hooks.on_failure, hooks.limit), (None, Duration::from_secs(300)));
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_name() {
        for text in ["db:", "'", "''"] {
            let found = problems(&[("BACKUP_BEFORE", text)]);
            assert!(matches!(&found[..], [Problem::Hook { name: "BACKUP_BEFORE", .. }]), "{text}: {found:?}");
            assert!(found[0].to_string().contains("BACKUP_BEFORE"), "{}", found[0]);
        }
    }
}
