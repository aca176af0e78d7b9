//! What the words of `psql` and `pg_dump` mean.

use super::Postgres;
use super::psql::literal;
use crate::database::Error;
use crate::domain::text::escape;
use crate::runner;

/// Errors of a server's own words are cut here: a message names one thing.
const WORDS: usize = 600;

/// Whether the same question may be answered a moment later.
pub(super) fn waiting_helps(error: &Error) -> bool {
    match error {
        Error::Statement { cause, .. } => !cause.contains("ERROR:"),
        Error::Runner(error) => error.may_pass(),
        _ => false,
    }
}

/// The bare cause, for a message that has a frame of its own.
pub(super) fn cause(error: &Error) -> String {
    match error {
        Error::Statement { cause, .. } => cause.clone(),
        other => other.to_string(),
    }
}

impl Postgres {
    /// The meaning of a failed program, from its exit code and its words alone.
    pub(super) fn classify(&self, error: runner::Error) -> Error {
        let runner::Error::ExitCode { program, code, stderr } = &error else { return Error::Runner(error) };
        // Killed: the words, if any, are not the reason.
        if *code > 128 {
            return Error::Runner(error);
        }
        let cause = words(stderr);
        if cause.is_empty() {
            return Error::Runner(error);
        }
        let user = self.user();
        let says = |patterns: &[&str]| patterns.iter().any(|p| stderr.contains(p));
        if says(&["28P01", "28000", "password authentication failed", "no password supplied", "no pg_hba.conf entry"])
            || (says(&["FATAL:  role "]) && says(&["does not exist"]))
        {
            Error::Refused { user, cause }
        } else if says(&["FATAL:  database "]) && says(&["does not exist"]) {
            Error::NoDatabase { database: self.connection.database.clone() }
        } else if says(&["row-level security", "row security policy"]) {
            Error::RowSecurity { table: cause }
        } else if says(&["53100", "No space left on device", "could not extend file"]) {
            Error::DiskFull { cause }
        } else if says(&["42501", "permission denied", "must be owner"]) {
            Error::Permission { user, cause }
        } else {
            Error::Statement { program: program.clone(), cause }
        }
    }

    /// As [`Self::classify`]; a lock timeout is followed up with the question who holds the lock.
    pub(super) async fn explain_error(&self, database: &str, error: runner::Error) -> Error {
        let error = self.classify(error);
        match error {
            Error::Statement { cause, .. } if is_lock_timeout(&cause) => {
                let holders = self.lock_holders(database).await.unwrap_or_else(|error| error.to_string());
                Error::Locked { cause, holders }
            }
            other => other,
        }
    }

    async fn lock_holders(&self, database: &str) -> Result<String, Error> {
        // Of its statement the first words: the others may hold rows, or a password.
        let script = format!(
            "select coalesce(json_agg(format('%s (pid %s, %s, since %s): %s', usename, pid, application_name,
                 date_trunc('second', xact_start), substring(query from '^\\s*([A-Za-z]+(\\s+[A-Za-z]+)?)'))), '[]')
             from pg_catalog.pg_stat_activity where pid in (
                 select l.pid from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.oid = l.database
                 where d.datname = {} and l.granted and l.mode = 'AccessExclusiveLock' and l.pid <> pg_catalog.pg_backend_pid());",
            literal(database)
        );
        let holders: Vec<String> = self.ask(database, &script).await?;
        Ok(if holders.is_empty() {
            rust_i18n::t!("database.holders_none").into_owned()
        } else {
            holders.iter().map(|h| escape(h)).collect::<Vec<_>>().join("; ")
        })
    }
}

/// `pg_dump --lock-wait-timeout` sets a statement timeout around its LOCK TABLE, so the server calls it that.
fn is_lock_timeout(cause: &str) -> bool {
    cause.contains("lock timeout") || (cause.contains("statement timeout") && cause.contains("LOCK TABLE"))
}

/// The program's words on one line, without the frame that psql's verbose mode puts around them.
fn words(stderr: &str) -> String {
    let kept: Vec<&str> =
        stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("LOCATION:")).collect();
    let text = escape(&kept.join("; "));
    match text.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_line_without_source_locations() {
        let stderr = "psql:<stdin>:1: ERROR:  42P01: relation \"x\" does not exist\nLOCATION:  parserOpenTable, parse_relation.c:1392\n";
        assert_eq!(words(stderr), "psql:<stdin>:1: ERROR:  42P01: relation \"x\" does not exist");
    }

    #[test]
    fn fault_23_a_lock_timeout_is_known_by_either_name() {
        assert!(is_lock_timeout("ERROR: canceling statement due to lock timeout"));
        assert!(is_lock_timeout("ERROR: canceling statement due to statement timeout; Query was: LOCK TABLE public.t"));
        assert!(!is_lock_timeout("ERROR: canceling statement due to statement timeout; Query was: COPY public.t"));
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(words(&"é".repeat(2000)).chars().count(), WORDS + 1);
    }
}
