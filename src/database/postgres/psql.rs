//! Scripts through `psql`: SQL in by standard input, one JSON value or nothing out.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::Postgres;
use crate::database::Error;
use crate::runner::Input;

/// An answer is a description of a database, not its data.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

/// `-X`: no psqlrc; `-w`: never ask for a password; `VERBOSITY=verbose`: errors carry their SQLSTATE, which no
/// translation changes.
pub(super) const PSQL: [&str; 12] =
    ["psql", "-X", "-w", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-f", "-"];

impl Postgres {
    /// Runs a script in `database` and reads its only output, a JSON value.
    pub(super) async fn ask<T: DeserializeOwned>(&self, database: &str, script: &str) -> Result<T, Error> {
        let text = self.run_script(database, script).await?;
        serde_json::from_str(text.trim()).map_err(|error| Error::Answer { cause: error.to_string() })
    }

    /// Runs a script whose output does not matter.
    pub(super) async fn execute(&self, database: &str, script: &str) -> Result<(), Error> {
        self.run_script(database, script).await.map(drop)
    }

    /// What a script prints.
    pub(super) async fn run_script(&self, database: &str, script: &str) -> Result<String, Error> {
        self.run_script_with(database, script, None).await
    }

    /// The same, with one more variable in the environment of `psql`.
    pub(super) async fn run_script_with(
        &self,
        database: &str,
        script: &str,
        more: Option<(String, String)>,
    ) -> Result<String, Error> {
        let mut program = self.program(&PSQL, "amarre/ask", database, "-c default_transaction_read_only=off");
        program.env.push(("PGCLIENTENCODING".to_owned(), "UTF8".to_owned()));
        program.env.extend(more);
        let input = Input::Bytes(Bytes::copy_from_slice(script.as_bytes()));
        let output = match self.runner.start(&program, input).await {
            Ok(running) => running.collect(ANSWER_LIMIT).await,
            Err(error) => Err(error),
        };
        let output = output.map_err(|error| self.classify(error))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// `text` as an SQL literal. Sessions run with `standard_conforming_strings` on, so only the quote is special,
/// and psql substitutes nothing inside a quoted literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A line that takes `psql` to `database`. As a connection string, because a plain name that looks like one would be read as one.
pub(super) fn connect(database: &str) -> String {
    let escaped = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
    // One line: `psql` reads its own escapes in quotes, then libpq its own.
    // Then it drops double quotes, as from an identifier, also inside single ones: four of them leave one.
    let quoted = escaped(&format!("dbname='{}'", escaped(database))).replace('"', r#""""""#);
    format!("\\connect -reuse-previous=on '{}'\n", quoted.replace('\n', r"\n").replace('\r', r"\r"))
}

/// `text` as a quoted SQL identifier.
pub(super) fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_28_a_name_to_connect_to_stays_a_name() {
        assert_eq!(connect("plain"), "\\connect -reuse-previous=on 'dbname=\\'plain\\''\n");
        assert_eq!(connect("d\"q"), r#"\connect -reuse-previous=on 'dbname=\'d""""q\''"#.to_owned() + "\n");
        assert_eq!(connect("a'b\n\\"), r"\connect -reuse-previous=on 'dbname=\'a\\\'b\n\\\\\''".to_owned() + "\n");
    }

    #[test]
    fn quotes_are_doubled_and_backslashes_left() {
        assert_eq!(literal(r"it's a \ "), r"'it''s a \ '");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
