//! The harness of the end-to-end tests: a database of its own in a running PostgreSQL container, a backup directory, and
//! the real binary with an environment that is said whole. It asserts nothing about the product.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use expectrl::process::unix::WaitStatus;
use expectrl::{Eof, Expect};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than any step of a test takes, on a machine that does four things at once.
pub const PATIENCE: Duration = Duration::from_secs(120);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A name that no other test has.
pub fn unique(label: &str) -> String {
    format!("e2e_{label}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn needed(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is missing: run ./scripts/test.sh (or: eval \"$(scripts/testbed.sh up)\")"))
}

/// Settings by `AMARRE_TEST_VARIANT`, words between commas: `fifo` is the fast lane (the default is exec), all others are values
/// of BACKUP_COMPRESSION.
fn variant() -> BTreeMap<String, String> {
    let words = std::env::var("AMARRE_TEST_VARIANT").unwrap_or_default();
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    let setting = |word: &str| match word {
        "fifo" => ("BACKUP_LANE_DIR".to_owned(), needed("AMARRE_TEST_LANE_DIR")),
        compression => ("BACKUP_COMPRESSION".to_owned(), compression.to_owned()),
    };
    words.map(setting).collect()
}

/// How names of backups end in this variant.
pub fn end() -> &'static str {
    match variant().get("BACKUP_COMPRESSION").map(|format| format.split(':').next().unwrap_or_default()) {
        Some("zstd") => ".sql.zst",
        Some("none") => ".sql",
        _ => ".sql.gz",
    }
}

/// The lane of bulk in this variant, as manifests name it.
pub fn lane() -> &'static str {
    if variant().contains_key("BACKUP_LANE_DIR") { "fifo" } else { "exec" }
}

/// A PostgreSQL server in a container.
#[derive(Clone)]
pub struct Server {
    pub container: String,
    pub user: String,
    pub password: String,
}

impl Server {
    pub fn pg17() -> Self {
        Self::shared("AMARRE_TEST_PG17")
    }

    pub fn pg15() -> Self {
        Self::shared("AMARRE_TEST_PG15")
    }

    fn shared(name: &str) -> Self {
        Self {
            container: needed(name),
            user: needed("AMARRE_TEST_PG_USER"),
            password: needed("AMARRE_TEST_PG_PASSWORD"),
        }
    }

    /// `docker exec` of a program as a client of this server. The database's name travels by environment: in an argument
    /// libpq takes what looks like `key=value` for a connection string.
    pub fn client(&self, database: &str, argv: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", "-i", "-e", &format!("PGDATABASE={database}"), "-e", &format!("PGUSER={}", self.user)]);
        command.arg(&self.container).args(argv);
        command
    }

    /// What `psql` says to `sql`; it must succeed.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let ran = self.try_psql(database, sql.as_bytes());
        assert_eq!(ran.code, Some(0), "{sql}\n{}", ran.err);
        ran.out.trim_end().to_owned()
    }

    pub fn try_psql(&self, database: &str, sql: &[u8]) -> Ran {
        fed(self.client(database, &["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]), sql)
    }

    /// Bytes of `pg_dump`.
    pub fn pg_dump(&self, database: &str, options: &[&str]) -> Vec<u8> {
        let argv: Vec<&str> = ["pg_dump"].iter().chain(options).copied().collect();
        let output = self.client(database, &argv).output().expect("pg_dump ran");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// What a database holds, as text to compare: a dump without comments and `\restrict` tokens.
    pub fn content(&self, database: &str) -> String {
        content_of(&self.pg_dump(database, &[]))
    }

    /// All databases whose name begins so.
    pub fn databases(&self, prefix: &str) -> Vec<String> {
        let sql = format!("select datname from pg_database where starts_with(datname, {}) order by 1", literal(prefix));
        self.psql("postgres", &sql).lines().map(str::to_owned).collect()
    }

    /// A session that stays, after it has executed `sql`.
    pub fn session(&self, database: &str, sql: &str) -> Session {
        let mut command = self.client(database, &["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql started");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        writeln!(stdin, "{sql}\n\\echo ready").expect("written");
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).expect("read"), 0, "the session ended: {sql}");
        }
        Session { child, stdin: Some(stdin), _stdout: stdout }
    }

    /// Waits until `sql` answers `true`.
    pub fn until(&self, database: &str, sql: &str) {
        wait_for(sql, || self.psql(database, sql) == "t");
    }
}

pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A dump without what differs each time.
pub fn content_of(dump: &[u8]) -> String {
    let text = String::from_utf8_lossy(dump);
    let kept = text.lines().filter(|l| {
        !l.is_empty() && !l.starts_with("--") && !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict")
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// Waits until `condition` holds, which must be within [`PATIENCE`].
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An open session; ends when dropped.
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// A server of its own, removed when dropped.
pub struct OwnServer {
    pub server: Server,
    id: String,
}

impl OwnServer {
    /// Starts a server with these options of `docker run`, and waits until it answers.
    pub fn start(options: &[&str], settings: &[&str]) -> Self {
        let own = Self::begin(options, settings);
        own.wait();
        own
    }

    /// The same, for one that is restarted: an engine under load has removed what it should start again (20.10, `--rm`).
    pub fn lasting(settings: &[&str]) -> Self {
        let own = Self::run(&["-d"], &[], settings);
        own.wait();
        own
    }

    /// Until it answers. Over TCP: the entry point's own first server listens on its socket only.
    pub fn wait(&self) {
        wait_for("the server's first answer", || {
            let ready = ["pg_isready", "-q", "-h", "127.0.0.1"];
            self.server.client("postgres", &ready).status().is_ok_and(|s| s.success())
        });
    }

    /// Starts it and does not wait.
    pub fn begin(options: &[&str], settings: &[&str]) -> Self {
        Self::run(&["-d", "--rm"], options, settings)
    }

    fn run(how: &[&str], options: &[&str], settings: &[&str]) -> Self {
        let image = std::env::var("AMARRE_TEST_PG_IMAGE_17").unwrap_or_else(|_| "amarre-testbed/postgres:17".into());
        let (user, password) = ("hub", "own-canary");
        let mut run = Command::new("docker");
        run.arg("run").args(how).args(["--name", &unique("server")]);
        run.args(["-e", &format!("POSTGRES_USER={user}"), "-e", &format!("POSTGRES_PASSWORD={password}")]);
        run.args(["-e", "POSTGRES_DB=hub_chantier"]).args(options).arg(image).arg("postgres").args(settings);
        let output = run.output().expect("docker ran");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let server = Server { container: id.clone(), user: user.into(), password: password.into() };
        Self { server, id }
    }

    pub fn exec_as_root(&self, argv: &[&str]) {
        let status = Command::new("docker").args(["exec", "-u", "root", &self.id]).args(argv).status();
        assert!(status.expect("docker ran").success(), "{argv:?}");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.id]).output();
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "'{text}' is not in stderr:\n{}\nstdout:\n{}", self.err, self.out);
        self
    }

    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "'{text}' is not in stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }
}

fn ran(status: ExitStatus, out: &[u8], err: &[u8]) -> Ran {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: status.code(), out: text(out), err: text(err) }
}

/// Runs a program with this input.
pub fn fed(mut command: Command, input: &[u8]) -> Ran {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A program that ends early closes its input: that shows in its exit code.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("ended");
    writer.join().expect("written");
    ran(output.status, &output.stdout, &output.stderr)
}

/// An installation: a database, a directory for its backups, and the environment of the binary.
pub struct Bed {
    pub server: Server,
    pub database: String,
    pub env: BTreeMap<String, String>,
    place: TempDir,
}

impl Bed {
    /// On the shared server, with an empty database.
    pub fn new(label: &str) -> Self {
        Self::on(&Server::pg17(), &unique(label))
    }

    /// On the shared server, with something of everything in it.
    pub fn filled(label: &str) -> Self {
        let bed = Self::new(label);
        bed.psql(SHOP);
        bed
    }

    /// With an empty database of this name.
    pub fn on(server: &Server, database: &str) -> Self {
        server.psql("postgres", &format!("create database {}", identifier(database)));
        Self::without_database(server, database)
    }

    /// For a database that is there already, or not at all.
    pub fn without_database(server: &Server, database: &str) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let dir = place.path().join("backups");
        fs::create_dir(&dir).expect("made");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("its mode");
        let mut bed = Self { server: server.clone(), database: database.into(), env: BTreeMap::new(), place };
        let log = bed.path().join("amarre.log").display().to_string();
        bed.env.extend(variant());
        for (name, value) in [
            ("POSTGRES_USER", server.user.clone()),
            ("POSTGRES_PASSWORD", server.password.clone()),
            ("POSTGRES_DB", database.to_owned()),
            ("BACKUP_DIR", dir.display().to_string()),
            ("BACKUP_LOG_FILE", log),
            ("BACKUP_DB_CONTAINER", server.container.clone()),
            ("BACKUP_LANG", "en".into()),
            ("ENV_FILE", "/dev/null".into()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
        ] {
            bed.env.insert(name.into(), value);
        }
        bed
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The directory around BACKUP_DIR.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// BACKUP_DIR.
    pub fn dir(&self) -> PathBuf {
        PathBuf::from(&self.env["BACKUP_DIR"])
    }

    pub fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }

    pub fn content(&self) -> String {
        self.server.content(&self.database)
    }

    /// Databases that a restore made or put aside.
    pub fn beside(&self) -> Vec<String> {
        self.server.databases(&format!("{}_amarre_", self.database))
    }

    /// Makes the time of what restores put aside be over, by its mark: as if a day had passed.
    pub fn age_what_is_kept(&self) {
        for name in self.beside() {
            let sql = format!(
                "select regexp_replace(shobj_description(oid, 'pg_database'), '\"until\":\"[^\"]*\"', '\"until\":\"2020-01-01T00:00:00Z\"')
                 from pg_database where datname = {}",
                literal(&name)
            );
            let mark = self.server.psql("postgres", &sql);
            assert!(mark.contains("2020-01-01"), "{mark}");
            self.server.psql("postgres", &format!("comment on database \"{name}\" is {}", literal(&mark)));
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
        command.args(arguments).env_clear().envs(&self.env).current_dir(self.path());
        command
    }

    /// Runs the binary, its standard input closed.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("started");
        ran(output.status, &output.stdout, &output.stderr)
    }

    /// Starts the binary; [`Started::end`] waits for it.
    pub fn start(&self, arguments: &[&str]) -> Started {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Started { child: command.spawn().expect("started") }
    }

    /// Makes a backup; returns what `--json` says of it.
    #[track_caller]
    pub fn backup(&self) -> Value {
        self.run(&["backup", "--json"]).expect(0).json()
    }

    /// Makes a backup; returns its file.
    #[track_caller]
    pub fn backup_file(&self) -> PathBuf {
        self.dir().join(self.backup()["file"].as_str().expect("a name"))
    }

    /// `restore` without a question.
    pub fn restore(&self, what: &str) -> Ran {
        self.run(&["restore", what, &format!("--yes-replace={}", self.database)])
    }

    /// Runs the binary on a terminal and types `keys` at its question: its exit code and all that it printed.
    pub fn typed(&self, arguments: &[&str], keys: &str) -> (i32, String) {
        self.typed_after(arguments, || (), keys)
    }

    /// The same; `meanwhile` happens while the question waits.
    pub fn typed_after(&self, arguments: &[&str], meanwhile: impl FnOnce(), keys: &str) -> (i32, String) {
        let mut session = expectrl::Session::spawn(self.command(arguments)).expect("a terminal");
        session.set_expect_timeout(Some(PATIENCE));
        let asked = session.expect("Type OUI to go on: ").expect("the question");
        let mut text = String::from_utf8_lossy(asked.before()).into_owned();
        meanwhile();
        session.send(keys).expect("typed");
        let rest = session.expect(Eof).expect("the end");
        text.push_str(&String::from_utf8_lossy(rest.before()));
        text.push_str(&String::from_utf8_lossy(rest.get(0).unwrap_or_default()));
        match session.get_process().wait().expect("waited") {
            WaitStatus::Exited(_, code) => (code, text),
            other => panic!("{other:?}\n{text}"),
        }
    }

    /// Names in BACKUP_DIR, sorted, without those of the program's own keeping.
    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir())
            .expect("listed")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|n| n.contains(".sql.") || n.ends_with(".sql"))
            .collect();
        names.sort();
        names
    }

    /// Entries of `list --json`.
    pub fn list(&self) -> Vec<Value> {
        self.run(&["list", "--json"]).expect(0).json()["backups"].as_array().expect("a list").clone()
    }

    /// The manifest of a backup's file.
    pub fn manifest(&self, file: &str) -> Value {
        let bytes = fs::read(self.dir().join(format!("{file}.json"))).expect("a manifest");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Writes a file beside BACKUP_DIR.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let names = format!(
            "select datname from pg_database where datname = {0}
             or strpos(shobj_description(oid, 'pg_database'), to_json({0}::text)::text) > 0",
            literal(&self.database)
        );
        let drops = format!(
            "select format('drop database %I with (force)', datname) from ({names}) d where datname <> 'postgres' \\gexec\n"
        );
        self.server.try_psql("postgres", drops.as_bytes());
    }
}

/// A run that goes on.
pub struct Started {
    child: Child,
}

impl Started {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn end(self) -> Ran {
        let output = self.child.wait_with_output().expect("ended");
        ran(output.status, &output.stdout, &output.stderr)
    }
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("compressed");
    encoder.finish().expect("compressed")
}

/// The SQL of a backup, unpacked by what its name says and by none of our own code.
pub fn sql_of(path: &Path) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut file = fs::File::open(path).expect("opened");
    let read = match path.extension().and_then(|end| end.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut plain),
        Some("zst") => zstd::Decoder::new(file).expect("zstd").read_to_end(&mut plain),
        _ => file.read_to_end(&mut plain),
    };
    read.expect("unpacked");
    plain
}

/// A role of the whole server, dropped at the end.
pub struct Role {
    pub name: String,
    server: Server,
}

impl Role {
    pub fn new(server: &Server, options: &str) -> Self {
        let name = unique("role");
        server.psql("postgres", &format!("create role {name} {options}"));
        Self { name, server: server.clone() }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.server.try_psql("postgres", format!("drop role if exists {}", self.name).as_bytes());
    }
}

/// Something of everything that a dump can hold and a plain server has.
pub const SHOP: &str = r"
create type status as enum ('open', 'closed');
create schema stock;
create table customer (
    id int generated always as identity primary key, name text not null, state status default 'open',
    loud text generated always as (upper(name)) stored);
insert into customer (name, state) select 'customer ' || i, 'open' from generate_series(1, 500) i;
create table stock.item (id serial primary key, data jsonb, bytes bytea, price numeric(10, 2), at timestamptz);
insert into stock.item (data, bytes, price, at)
    select jsonb_build_object('n', i, 't', E'tab\t\\ ''quote'' \n end'), decode(md5(i::text), 'hex'), i / 3.0,
           '2024-03-31 01:30:00+00'::timestamptz + i * interval '1 hour' from generate_series(1, 300) i;
create table journal (id bigint, day date not null, note text) partition by range (day);
create table journal_2024 partition of journal for values from ('2024-01-01') to ('2025-01-01');
create table journal_2025 partition of journal for values from ('2025-01-01') to ('2026-01-01');
insert into journal select i, '2024-06-01'::date + i, repeat('x', i) from generate_series(1, 400) i;
create index on stock.item (price);
create table item_of_customer (
    customer int references customer, item int references stock.item, primary key (customer, item));
insert into item_of_customer select i, i from generate_series(1, 200) i;
create table nothing ();
create view open_customers as select id, name from customer where state = 'open';
create materialized view totals as select state, count(*) as n from customer group by state;
create function twice(n int) returns int language plpgsql as $f$ begin return n * 2; -- \! echo no
end $f$;
create sequence tickets start 1000;
select setval('tickets', 4711);
select lo_from_bytea(0, decode(repeat('00ff5c27', 1000), 'hex'));
comment on table customer is 'those who pay; $(x) \n';
";
