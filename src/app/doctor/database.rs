//! The server: whether it answers, its version beside that of its programs, the database and the role.

use rust_i18n::t;

use super::super::Place;
use super::{App, Check};
use crate::database::postgres::Postgres;
use crate::database::{Database as _, Facts, Server};
use crate::domain::text::{bytes, escape};

/// What the server says, and what is known of the database.
pub(super) async fn check(app: &App, place: &Place) -> (Vec<Check>, Option<Facts>) {
    let database = Postgres::new(app.runner_at(Place::clone(place)), app.connection());
    let server = match database.server().await {
        Err(error) => return (vec![Check::error("server", &error)], None),
        Ok(server) => server,
    };
    let mut checks = vec![versions(&server)];
    let facts = match database.facts(database.name()).await {
        Err(error) => {
            checks.push(Check::error("database", &error));
            return (checks, None);
        }
        Ok(facts) => facts,
    };
    checks.push(match &facts {
        None => Check::failure(
            "database",
            t!("database.no_database", database = escape(database.name())),
            Some(t!("database.no_database_hint").into_owned()),
        ),
        Some(facts) => {
            let role = escape(&server.role);
            let size = bytes(facts.record.size_bytes);
            let name = escape(&facts.record.name);
            let seen = t!("doctor.database", name = name, tables = facts.tables, size = size, role = role);
            if facts.open && facts.tables == 0 {
                Check::warning("database", seen, t!("doctor.no_tables"))
            } else if server.may_create {
                Check::ok("database", seen)
            } else {
                Check::warning("database", seen, t!("doctor.may_not_create", role = role))
            }
        }
    });
    (checks, facts)
}

/// The programs of the database's container are of its own version; those of a host may not be.
fn versions(server: &Server) -> Check {
    let client = server.client_version.split(|c: char| !c.is_ascii_digit()).next().and_then(|m| m.parse::<u32>().ok());
    let seen = t!("doctor.versions", server = escape(&server.version), client = escape(&server.client_version));
    match client {
        Some(client) if client < server.major() => {
            Check::failure("versions", seen, Some(t!("doctor.client_older", major = server.major()).into_owned()))
        }
        _ if !server.client_restricts => Check::warning("versions", seen, t!("doctor.client_unrestricted")),
        _ => Check::ok("versions", seen),
    }
}
