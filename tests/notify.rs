//! Notifications through real ends: each channel is told exactly once, whatever goes wrong in between, and nobody is told a secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that panics has failed"
)]

#[path = "common/disk.rs"]
mod disk;
#[allow(dead_code, reason = "shared with tests that need other parts of it")]
#[path = "common/simulated.rs"]
mod simulated;
#[path = "common/sink.rs"]
mod sink;

#[path = "notify/digest.rs"]
mod digest;

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amarre::app::App;
use amarre::domain::clock::Clock;
use amarre::domain::event::{Event, Observer};
use amarre::domain::notice::channel::PING_START;
use amarre::domain::notice::{Level, Notice};
use amarre::journal::{Outbox, SqliteJournal};
use amarre::settings::{Settings, Sources};
use chrono::{DateTime, TimeDelta, Utc};
use disk::Disk;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use sink::{Answer, Authority, MailSink, Sink};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const CANARY: &str = "K4n4rienvogel-Zx9";
const RUN: &str = "20261121T020000Z-abcdef";
/// Runs after that one.
const SECOND: &str = "20261121T024000Z-abcdef";
const THIRD: &str = "20261121T034000Z-abcdef";

/// A clock that is set by hand.
struct Hand(Mutex<DateTime<Utc>>);

impl Hand {
    fn forward(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Hand {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// What the log would say.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// An installation whose directory has a journal.
struct House {
    dir: TempDir,
    clock: Arc<Hand>,
    heard: Arc<Heard>,
    environment: Vec<(String, String)>,
}

impl House {
    fn new(environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut all = vec![
            ("BACKUP_DIR".to_owned(), dir.path().display().to_string()),
            ("BACKUP_LOG_FILE".to_owned(), dir.path().join("amarre.log").display().to_string()),
            ("BACKUP_NAME".to_owned(), "hub/hub_chantier".to_owned()),
            ("ENV_FILE".to_owned(), "/dev/null".to_owned()),
        ];
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let clock = Arc::new(Hand(Mutex::new("2026-11-21T02:00:05Z".parse().unwrap())));
        Self { dir, clock, heard: Arc::default(), environment: all }
    }

    /// A process of it, with nothing in its memory.
    fn app(&self) -> App {
        let environment = self.environment.iter().cloned().collect();
        let sources = Sources { environment, cwd: "/nonexistent".into(), cores: 2, ..Sources::default() };
        App {
            settings: Arc::new(Settings::load(&sources).unwrap()),
            observer: self.heard.clone(),
            cancel: CancellationToken::new(),
            clock: self.clock.clone(),
            pace: amarre::app::pace(),
            work: "test",
            left: Arc::default(),
            post: Arc::default(),
            known: Arc::default(),
            asked: "test".into(),
            spare: Arc::default(),
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amarre"));
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(self.dir.path()).output().unwrap()
    }
}

fn failed(app: &App) -> Notice {
    let title = format!("backup failed: password '{CANARY}' is wrong");
    let notice = app.notice_of(Level::Failure, "backup_failed", &title).of_run(RUN);
    notice.line("secret", CANARY).text(["log begins", &format!("PGPASSWORD={CANARY} pg_dump")])
}

/// What a run that fails tells: people, and the dead man's switch.
fn tell_failure(app: &App) {
    app.notice(failed(app));
    app.ping_fail(RUN, ["log begins", &format!("PGPASSWORD={CANARY} pg_dump")]);
}

/// What a run that begins tells, as [`App::ping_start`] has it; but nothing is sent beside the run, which would be at a time
/// of its own.
fn tell_start(app: &App, run: &str) {
    app.notice(app.notice_of(Level::Success, PING_START, "a backup begins").of_run(run));
}

async fn deliver(app: &App) -> (u32, u32) {
    let done = app.deliver(&CancellationToken::new(), Duration::from_secs(20)).await;
    (done.sent, done.failed)
}

/// All kinds that HTTP carries, at one sink, each with a path of its own; secrets everywhere.
fn hooks(address: &str) -> String {
    let slow = "a-part-that-is-random";
    [
        format!("slack+http://{address}/slack/T0/{CANARY}"),
        format!("discord+http://{address}/discord/1/{CANARY}"),
        format!("teams+http://{address}/teams/workflows/1?sig={CANARY}-{slow}"),
        format!("telegram+http://12:{CANARY}@{address}/-1001"),
        format!("ntfy+http://tk_{CANARY}@{address}/ntfy/topic"),
        format!("gotify+http://{address}/gotify/{CANARY}"),
        format!("webhook+http://u:{CANARY}@{address}/webhook"),
        format!("ping+http://{address}{SWITCH}{CANARY}"),
    ]
    .join(",")
}

/// The path of the dead man's switch, which hears of other things than people.
const SWITCH: &str = "/ping/";

/// Which path each of the others posts to.
const PATHS: [&str; 7] = ["/slack/", "/discord/", "/teams/", "/bot12", "/ntfy/", "/gotify/message", "/webhook"];

fn count(sink: &Sink, path: &str) -> usize {
    sink.taken().iter().filter(|got| got.path.starts_with(path)).count()
}

fn each_once(sink: &Sink) {
    for path in PATHS {
        assert_eq!(count(sink, path), 1, "{path}: {:?}", sink.taken());
    }
}

/// What the dead man's switch was told, in its order: of which run, and the end of the path.
fn pings(sink: &Sink) -> Vec<String> {
    let told = |got: &sink::Got| {
        let end = got.path.strip_prefix(&format!("{SWITCH}{CANARY}"))?.split('?').next()?;
        let run = [RUN, SECOND, THIRD].into_iter().find(|run| got.body.contains(*run)).unwrap_or("?");
        Some(format!("{run}{end}"))
    };
    sink.taken().iter().filter_map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_gets_one_message_for_an_event() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &hooks(&sink.address.to_string())), ("POSTGRES_PASSWORD", CANARY)]);
    let app = house.app();
    tell_failure(&app);
    tell_failure(&app);
    assert_eq!(deliver(&app).await, (8, 0), "{:?}", house.heard.all());
    assert_eq!(deliver(&app).await, (0, 0));
    // Another process of the same house, which is told of the same event once more.
    let app = house.app();
    tell_failure(&app);
    assert_eq!(deliver(&app).await, (0, 0));
    each_once(&sink);
    assert_eq!(pings(&sink), [format!("{RUN}/fail")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_hears_what_its_level_says() {
    let sink = Sink::start();
    let at = sink.address;
    let list = format!(
        "slack+http://{at}/failure/x?level=failure,slack+http://{at}/warning/x,slack+http://{at}/success/x?level=success,slack+http://{at}/digest/x?level=digest"
    );
    let house = House::new(&[("BACKUP_NOTIFY", &list), ("BACKUP_NOTIFY_DIGEST", "weekly")]);
    let app = house.app();
    for (event, level) in [("a", Level::Failure), ("b", Level::Warning), ("c", Level::Success), ("d", Level::Digest)] {
        app.notice(app.notice_of(level, event, event));
    }
    app.notice(app.notice_of(Level::Warning, "b", "b").recovered());
    deliver(&app).await;
    let told = |path: &str| sink.taken().iter().filter(|got| got.path.starts_with(path)).count();
    assert_eq!([told("/failure"), told("/warning"), told("/success"), told("/digest")], [2, 4, 5, 1]);
    let quiet = House::new(&[("BACKUP_NOTIFY", &list)]);
    let app = quiet.app();
    app.notice(app.notice_of(Level::Digest, "d", "d"));
    assert_eq!(deliver(&app).await, (1, 0), "a digest is for those who asked for it");
    assert_eq!(told("/digest"), 2);
}

/// Tells every channel of a run that fails and lets an hour pass in which `down` holds; then all is well again. The dead
/// man's switch is told of a good run within that hour too, and of one after it.
async fn an_hour(house: &House, address: &str, down: impl FnOnce() -> Option<Sink>) -> (usize, Sink) {
    let mut app = house.app();
    tell_start(&app, RUN);
    tell_failure(&app);
    let broken = down();
    let mut settled = 0;
    for minute in 0..60 {
        if minute == 40 {
            tell_start(&app, SECOND);
            app.ping_success(SECOND, ["all is well"]);
        }
        let done = app.deliver(&CancellationToken::new(), Duration::from_millis(300)).await;
        settled += done.sent;
        house.clock.forward(TimeDelta::minutes(1));
        // The machine is restarted in between.
        if minute == 30 {
            app = house.app();
        }
    }
    assert_eq!(settled, 1, "after ten minutes it is no news that the first run begins; all else waits");
    let asked = broken.as_ref().map_or(0, Sink::asked);
    drop(broken);
    let sink = Sink::at(address.parse().unwrap());
    for _ in 0..40 {
        deliver(&app).await;
        house.clock.forward(TimeDelta::minutes(1));
    }
    each_once(&sink);
    assert_eq!(pings(&sink), [format!("{RUN}/fail"), SECOND.to_owned()], "how both ended, not that they began");
    assert_eq!(deliver(&app).await, (0, 0));
    tell_start(&app, THIRD);
    assert_eq!(deliver(&app).await, (1, 0));
    app.ping_success(THIRD, ["all is well"]);
    assert_eq!(deliver(&app).await, (1, 0));
    assert_eq!(pings(&sink)[2..], [format!("{THIRD}/start"), THIRD.to_owned()]);
    (asked, sink)
}

fn free() -> String {
    Sink::start().address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_refuses_connections_for_an_hour_gets_one_message() {
    let address = free();
    let house = House::new(&[("BACKUP_NOTIFY", &hooks(&address))]);
    an_hour(&house, &address, || None).await;
    let warnings = house.heard.all().iter().filter(|event| event.contains("could not be told")).count();
    assert_eq!(warnings, 8, "once for each channel, not at each try: {:#?}", house.heard.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_overloaded_for_an_hour_gets_one_message() {
    let address = free();
    let house = House::new(&[("BACKUP_NOTIFY", &hooks(&address))]);
    let (asked, _) = an_hour(&house, &address, || {
        let sink = Sink::at(address.parse().unwrap());
        sink.always(Answer::Status(503, "retry-after: 1500", "busy"));
        Some(sink)
    })
    .await;
    assert_eq!(asked, 8 * 3, "at 0, 25 and 50 minutes, as it asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_hangs_for_an_hour_gets_one_message() {
    let address = free();
    let house = House::new(&[("BACKUP_NOTIFY", &hooks(&address))]);
    let (asked, _) = an_hour(&house, &address, || {
        let sink = Sink::at(address.parse().unwrap());
        sink.always(Answer::Hang);
        Some(sink)
    })
    .await;
    // The switch's second message, tried once before the machine restarts, begins with short pauses after that.
    assert!((8 * 5..=7 * 8 + 12).contains(&asked), "{asked}: pauses grow from half a minute to half an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_away_for_a_day_is_given_up_and_said() {
    let address = free();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("slack+http://{address}/T/B/x"))]);
    let app = house.app();
    app.notice(failed(&app));
    deliver(&app).await;
    house.clock.forward(TimeDelta::hours(23));
    assert_eq!(deliver(&app).await, (0, 1));
    assert_eq!(app.post_counts().unwrap()[0].waiting, 1);
    house.clock.forward(TimeDelta::hours(1));
    assert_eq!(deliver(&app).await, (0, 1));
    assert_eq!((app.post_counts().unwrap()[0].waiting, app.post_counts().unwrap()[0].given_up), (0, 1));
    assert!(house.heard.all().iter().any(|event| event.contains("will never be told")), "{:?}", house.heard.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_is_not_tried_again_and_the_next_message_goes_out() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("slack+http://{}/T/B/x", sink.address))]);
    let app = house.app();
    for event in ["one", "two"] {
        app.notice(app.notice_of(Level::Failure, event, event));
    }
    sink.script([Answer::Status(400, "", "invalid_payload")]);
    deliver(&app).await;
    house.clock.forward(TimeDelta::hours(1));
    deliver(&app).await;
    assert_eq!((sink.asked(), sink.taken().len()), (2, 1));
    assert!(sink.taken()[0].body.contains("two"));
    let said = house.heard.all().concat();
    assert!(said.contains("refuses (400): invalid_payload") && said.contains("will never be told of 'one'"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_channel_come_in_their_order() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("webhook+http://{}/x", sink.address))]);
    let app = house.app();
    for number in 0..5 {
        app.notice(app.notice_of(Level::Failure, &format!("event {number}"), "x"));
    }
    sink.script([Answer::Close]);
    for _ in 0..3 {
        deliver(&app).await;
        house.clock.forward(TimeDelta::minutes(1));
    }
    let events: Vec<_> = sink.taken().iter().map(|got| got.json()["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, (0..5).map(|number| format!("event {number}")).collect::<Vec<_>>());
}

/// The supervisor and a command of a person send at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_send_each_message_once() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &hooks(&sink.address.to_string()))]);
    let (one, two) = (house.app(), house.app());
    for number in 0..10 {
        one.notice(one.notice_of(Level::Failure, &format!("event {number}"), "x"));
        one.ping_success(&format!("run {number}"), ["x"]);
    }
    loop {
        let (first, second) = tokio::join!(deliver(&one), deliver(&two));
        assert_eq!((first.1, second.1), (0, 0), "{:?}", house.heard.all());
        if first.0 + second.0 == 0 {
            break;
        }
    }
    for path in PATHS.into_iter().chain([SWITCH]) {
        assert_eq!(count(&sink, path), 10, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_a_process_that_dies_while_it_sends_leaves_the_letter_to_the_next() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("slack+http://{}/T/B/x", sink.address))]);
    let app = house.app();
    app.notice(failed(&app));
    let channel = app.settings.notify.channels[0].id.clone();
    let dead = SqliteJournal::open(house.dir.path(), house.clock.now()).unwrap().journal;
    assert!(dead.due(&channel, 1, house.clock.now()).unwrap().is_some());
    drop(dead);
    assert_eq!(deliver(&app).await, (0, 0), "it may still be sending");
    house.clock.forward(TimeDelta::minutes(2));
    assert_eq!(deliver(&app).await, (1, 0));
    assert_eq!(sink.taken().len(), 1);
}

/// A journal that takes nothing: the disk is full, or it was lost.
#[tokio::test(flavor = "multi_thread")]
async fn fault_35_without_a_journal_people_are_told_all_the_same() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("slack+http://{}/T/B/x", sink.address))]);
    std::fs::create_dir(house.dir.path().join("amarre.sqlite")).unwrap();
    let app = house.app();
    app.notice(failed(&app));
    app.notice(failed(&app));
    sink.script([Answer::Status(500, "", "")]);
    assert_eq!(deliver(&app).await, (0, 1));
    house.clock.forward(TimeDelta::minutes(1));
    assert_eq!((deliver(&app).await, deliver(&app).await), ((1, 0), (0, 0)));
    assert_eq!(sink.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mans_switch_hears_of_start_and_end() {
    let sink = Sink::start();
    let at = sink.address;
    let house = House::new(&[("BACKUP_NOTIFY_PING_URL", &format!("http://{at}/ping/{CANARY}"))]);
    let app = house.app();
    app.notice(failed(&app));
    app.ping_start(RUN);
    while sink.taken().is_empty() {
        tokio::task::yield_now().await;
    }
    app.ping_success(RUN, ["all is well"]);
    app.ping_fail("20261122T020000Z-abcdef", ["no room", &format!("PGPASSWORD={CANARY}")]);
    // The start may be being written down still, and the others wait behind it.
    while sink.taken().len() < 3 {
        deliver(&app).await;
    }
    let taken = sink.taken();
    let paths: Vec<_> = taken.iter().map(|got| got.path.split('?').next().unwrap().to_owned()).collect();
    let base = format!("/ping/{CANARY}");
    assert_eq!(paths, [format!("{base}/start"), base.clone(), format!("{base}/fail")]);
    let query = |index: usize| taken[index].path.split_once('?').unwrap().1.to_owned();
    assert!(query(0).starts_with("rid=") && query(0) == query(1) && query(1) != query(2));
    assert!(taken[1].body.contains("all is well") && taken[2].body.contains("no room"));
    assert!(taken.iter().all(|got| !got.body.contains(CANARY)));
    // One that could not be told is no news later.
    drop(sink);
    app.ping_start("20261123T020000Z-abcdef");
    deliver(&app).await;
    house.clock.forward(TimeDelta::minutes(11));
    assert_eq!(deliver(&app).await.1, 0, "it is not even tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_86_no_message_and_no_error_holds_a_secret() {
    let sink = Sink::start();
    let list = hooks(&sink.address.to_string());
    let house = House::new(&[
        ("BACKUP_NOTIFY", &list),
        ("POSTGRES_PASSWORD", CANARY),
        ("BACKUP_NOTIFY_WEBHOOK_SECRET", "hmac-K4n4rienvogel"),
    ]);
    let app = house.app();
    tell_failure(&app);
    assert_eq!(deliver(&app).await, (8, 0));
    for got in sink.taken() {
        assert!(!got.body.contains(CANARY), "{}: {}", got.path, got.body);
        assert!(got.body.contains("***"), "{}", got.body);
    }
    // What is answered may quote what was asked.
    sink.always(Answer::Status(404, "", "no such hook: K4n4rienvogel-Zx9"));
    app.notice(app.notice_of(Level::Failure, "another", "x"));
    deliver(&app).await;
    drop(sink);
    app.notice(app.notice_of(Level::Failure, "third", "x"));
    deliver(&app).await;
    let said = house.heard.all().concat();
    assert!(said.contains("refuses (404): no such hook: ***") && said.contains("cannot be reached"), "{said}");
    assert!(!said.contains("K4n4rienvogel"), "{said}");
    for arguments in [&["notify", "--test"][..], &["notify", "--test", "--json"], &["notify"], &["config"]] {
        let output = house.run(arguments);
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains("K4n4rienvogel"), "{arguments:?}");
    }
    for file in std::fs::read_dir(house.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!bytes.windows(12).any(|w| w == b"K4n4rienvoge"), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_no_token_anywhere() {
    let (elsewhere, sink) = (Sink::start(), Sink::start());
    let house = House::new(&[("BACKUP_NOTIFY", &format!("ntfy+http://tk_{CANARY}@{}/topic", sink.address))]);
    let location: &'static str = Box::leak(format!("location: http://{}/", elsewhere.address).into_boxed_str());
    sink.always(Answer::Status(307, location, ""));
    let tried = house.app().try_channels(None).await.remove(0).result.unwrap_err();
    assert!(tried.message.contains("redirects elsewhere (307)") && tried.hint.is_some(), "{tried:?}");
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_only_a_trusted_server_hears_anything() {
    let authority = Authority::new();
    let sink = Sink::with_tls(authority.server());
    let list = format!("webhook+https://{}/x", sink.address);
    let ca = authority.file().display().to_string();
    let trusting = House::new(&[("BACKUP_NOTIFY", &list), ("BACKUP_NOTIFY_CA_FILE", &ca)]);
    assert!(trusting.app().try_channels(None).await[0].result.is_ok());
    assert_eq!(sink.taken().len(), 1);
    let other = Authority::new().file().display().to_string();
    let set = [("BACKUP_NOTIFY", list.as_str()), ("BACKUP_NOTIFY_CA_FILE", &other)];
    for environment in [&set[..1], &set[..]] {
        let failure = House::new(environment).app().try_channels(None).await.remove(0).result.unwrap_err();
        assert!(failure.hint.unwrap().contains("BACKUP_NOTIFY_CA_FILE"), "{}", failure.message);
    }
    // A server without TLS behind `https`.
    let plain = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("webhook+https://{}/x", plain.address))]);
    assert!(house.app().try_channels(None).await[0].result.is_err());
    assert_eq!((sink.asked(), plain.asked()), (1, 0), "not a word without trust");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_can_be_checked_by_whoever_gets_it() {
    let sink = Sink::start();
    let address = format!("http://{}/hook", sink.address);
    let house = House::new(&[("BACKUP_NOTIFY_WEBHOOK_URL", &address), ("BACKUP_NOTIFY_WEBHOOK_SECRET", "shared")]);
    let app = house.app();
    app.notice(failed(&app));
    deliver(&app).await;
    let got = sink.taken().remove(0);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"shared").unwrap();
    mac.update(format!("{}.{}", got.headers["x-amarre-timestamp"], got.body).as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(got.headers["x-amarre-signature"], format!("sha256={hex}"));
    assert_eq!(got.headers["x-amarre-timestamp"], house.clock.now().timestamp().to_string());
    let body = got.json();
    assert_eq!(
        (body["format"].as_u64(), body["event"].as_str(), body["run"].as_str()),
        (Some(1), Some("backup_failed"), Some(RUN))
    );
}

// --- mail -----------------------------------------------------------------------------------------------------------

fn mail(house: &[(&str, &str)], authority: &Authority, port: u16, tls: &str) -> House {
    let (port, ca) = (port.to_string(), authority.file().display().to_string());
    let mut all = vec![
        ("BACKUP_NOTIFY_SMTP_HOST", "127.0.0.1"),
        ("BACKUP_NOTIFY_SMTP_PORT", &port),
        ("BACKUP_NOTIFY_SMTP_TLS", tls),
        ("BACKUP_NOTIFY_SMTP_FROM", "Amarre <backup@example.org>"),
        ("BACKUP_NOTIFY_MAIL_TO", "ops@example.org, chef@example.org"),
        ("BACKUP_NOTIFY_CA_FILE", &ca),
        ("POSTGRES_PASSWORD", CANARY),
    ];
    all.extend(house);
    House::new(&all)
}

const LOGIN: [(&str, &str); 2] =
    [("BACKUP_NOTIFY_SMTP_USER", "backup"), ("BACKUP_NOTIFY_SMTP_PASSWORD", "s3cret-of-mail")];

fn check_mail(got: &Value) {
    let header = |name: &str| got["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(got["from"], "backup@example.org");
    assert_eq!(got["to"], serde_json::json!(["ops@example.org", "chef@example.org"]));
    assert_eq!(header("subject"), "[hub/hub_chantier] Failure: backup failed: password '***' is wrong");
    assert!(header("message-id").ends_with("@example.org>") && header("auto-submitted") == "auto-generated", "{got}");
    assert!(header("content-type").starts_with("multipart/alternative") && header("date").contains("2026"), "{got}");
    let (text, html) = (got["text"].as_str().unwrap(), got["html"].as_str().unwrap());
    assert!(text.contains("log begins") && text.contains(RUN), "{text}");
    assert!(html.starts_with("<!doctype html>") && html.contains("log begins") && html.contains(RUN), "{html}");
    assert!(!got["raw"].as_str().unwrap().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_out_by_starttls_tls_and_plainly() {
    let authority = Authority::new();
    for (tls, login) in [("starttls", true), ("tls", true), ("none", false)] {
        let wanted = login.then_some(("backup", "s3cret-of-mail"));
        let Some(sink) = MailSink::start("mail", tls, &authority, wanted, 0) else { return };
        let house = mail(if login { &LOGIN } else { &[] }, &authority, sink.port, tls);
        let app = house.app();
        app.notice(failed(&app));
        app.notice(failed(&app));
        assert_eq!(deliver(&app).await, (1, 0), "{tls}: {:?}", house.heard.all());
        assert_eq!(deliver(&app).await, (0, 0));
        let taken = sink.taken(1);
        assert_eq!(taken.len(), 1, "{tls}");
        check_mail(&taken[0]);
        assert_eq!(
            (taken[0]["tls"].as_bool(), taken[0]["login"].as_bool()),
            (Some(tls != "none"), Some(login)),
            "{tls}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_away_for_an_hour_takes_one_message() {
    let authority = Authority::new();
    let Some(sink) = MailSink::start("mail (hour)", "starttls", &authority, None, 0) else { return };
    let port = sink.port;
    drop(sink);
    let house = mail(&[], &authority, port, "starttls");
    let app = house.app();
    app.notice(failed(&app));
    for _ in 0..60 {
        assert_eq!(deliver(&app).await.0, 0);
        house.clock.forward(TimeDelta::minutes(1));
    }
    let sink = MailSink::start("mail (hour)", "starttls", &authority, None, port).unwrap();
    for _ in 0..40 {
        deliver(&house.app()).await;
        house.clock.forward(TimeDelta::minutes(1));
    }
    assert_eq!(sink.taken(1).len(), 1);
    check_mail(&sink.taken(1)[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_gone_keeps_the_mail_from_no_other() {
    let authority = Authority::new();
    let Some(sink) = MailSink::start("mail (gone)", "none", &authority, None, 0) else { return };
    let house = mail(
        &[("BACKUP_NOTIFY_MAIL_TO", "ops@example.org, gone@example.org, full@example.org, chef@example.org")],
        &authority,
        sink.port,
        "none",
    );
    let app = house.app();
    app.notice(failed(&app));
    assert_eq!(deliver(&app).await, (1, 0), "{:?}", house.heard.all());
    let to: Vec<_> = sink.taken(2).iter().map(|got| got["to"][0].as_str().unwrap().to_owned()).collect();
    assert_eq!(to, ["ops@example.org", "chef@example.org"]);
    // Where one may be taken later it waits.
    let house = mail(&[("BACKUP_NOTIFY_MAIL_TO", "gone@example.org, full@example.net")], &authority, sink.port, "none");
    let app = house.app();
    app.notice(failed(&app));
    assert_eq!((deliver(&app).await, app.post_counts().unwrap()[0].waiting), ((0, 1), 1));
    // Where nobody is left it is refused.
    let house = mail(&[("BACKUP_NOTIFY_MAIL_TO", "gone@example.org, gone@example.net")], &authority, sink.port, "none");
    let app = house.app();
    app.notice(failed(&app));
    assert_eq!(deliver(&app).await, (0, 1));
    assert!(house.heard.all().concat().contains("refuses (550)"), "{:?}", house.heard.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_gone_is_told_once_and_when_it_is_back() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("webhook+http://{}/told", sink.address))]);
    let app = App { work: "supervise", ..house.app() };
    app.watch().await.unwrap();
    let (there, away) = (house.dir.path().to_owned(), house.dir.path().with_extension("away"));
    std::fs::rename(&there, &away).unwrap();
    std::fs::write(&there, "").unwrap();
    for _ in 0..3 {
        app.watch().await.unwrap_err();
        deliver(&app).await;
        house.clock.forward(TimeDelta::minutes(15));
    }
    std::fs::remove_file(&there).unwrap();
    std::fs::rename(&away, &there).unwrap();
    app.watch().await.unwrap();
    deliver(&app).await;
    let told: Vec<_> =
        sink.taken().iter().map(|got| (got.json()["event"].clone(), got.json()["recovered"].clone())).collect();
    assert_eq!(told, [("alert:unreadable".into(), false.into()), ("alert:unreadable".into(), true.into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_cannot_go_says_why() {
    let authority = Authority::new();
    let Some(sink) = MailSink::start("mail (wrong)", "starttls", &authority, Some(("backup", "right")), 0) else {
        return;
    };
    let failure = |house: House| async move {
        let failure = house.app().try_channels(None).await.remove(0).result.unwrap_err();
        format!("{} | {}", failure.message, failure.hint.unwrap())
    };
    let wrong = failure(mail(&LOGIN, &authority, sink.port, "starttls")).await;
    assert!(
        wrong.contains("refuses (535)") && wrong.contains("password") && !wrong.contains("s3cret-of-mail"),
        "{wrong}"
    );
    let stranger = failure(mail(&LOGIN, &Authority::new(), sink.port, "starttls")).await;
    assert!(stranger.contains("is not trusted") && stranger.contains("BACKUP_NOTIFY_CA_FILE"), "{stranger}");
    let Some(plain) = MailSink::start("mail (plain)", "none", &authority, None, 0) else { return };
    let downgrade = failure(mail(&[], &authority, plain.port, "starttls")).await;
    assert!(downgrade.contains("BACKUP_NOTIFY_SMTP_TLS"), "{downgrade}");
    assert_eq!((sink.taken(0).len(), plain.taken(0).len()), (0, 0), "nothing goes out plainly that should not");
}

// --- the command ----------------------------------------------------------------------------------------------------

#[test]
fn the_test_of_the_command_tells_each_channel_and_says_how_it_went() {
    let sink = Sink::start();
    let house = House::new(&[("BACKUP_NOTIFY", &hooks(&sink.address.to_string())), ("BACKUP_LANG", "fr")]);
    let output = house.run(&["notify", "--test"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(out.lines().filter(|line| line.starts_with("OK ")).count(), 8, "{out}");
    each_once(&sink);
    assert_eq!(count(&sink, SWITCH), 1);
    let slack = sink.taken().into_iter().find(|got| got.path.starts_with("/slack")).unwrap().json();
    assert!(slack["text"].as_str().unwrap().contains("essai des notifications"), "{slack}");

    sink.always(Answer::Status(403, "", "invalid_token"));
    let output = house.run(&["notify", "--test", "--channel", "slack", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["format"].as_u64(), told["results"].as_array().unwrap().len()), (Some(1), 1));
    let result = &told["results"][0];
    assert_eq!((result["kind"].as_str(), result["ok"].as_bool()), (Some("slack"), Some(false)));
    assert!(result["error"].as_str().unwrap().contains("invalid_token") && result["hint"].is_string(), "{told}");
}

#[test]
fn without_channels_the_command_says_how_to_get_one() {
    let house = House::new(&[]);
    for arguments in [&["notify"][..], &["notify", "--test"]] {
        let output = house.run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("BACKUP_NOTIFY=ntfy://"));
    }
    let house = House::new(&[("BACKUP_NOTIFY", "slack://T/B/x")]);
    assert_eq!(house.run(&["notify", "--test", "--channel", "mail"]).status.code(), Some(2));
    assert_eq!(house.run(&["notify", "--test", "--channel", "fax"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_channels_and_what_waits() {
    let address = free();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("slack+http://{address}/T/B/{CANARY}?level=failure"))]);
    let app = house.app();
    app.notice(failed(&app));
    deliver(&app).await;
    let output = house.run(&["notify", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let channel = &told["channels"][0];
    assert_eq!((channel["level"].as_str(), channel["waiting"].as_u64()), (Some("failure"), Some(1)), "{told}");
    assert_eq!(channel["target"], address);
    assert!(channel["last_error"].as_str().unwrap().contains("cannot be reached"), "{told}");
    let output = house.run(&["notify"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("slack") && out.contains(&address) && out.lines().all(|line| line.len() <= 80), "{out}");
}

/// What waits in the journal while the disk takes nothing leaves all the same, once, and is known to have left as soon as that can be
/// written down.
#[tokio::test(flavor = "multi_thread")]
async fn fault_35_what_waits_leaves_once_while_the_disk_takes_nothing() {
    let address = free();
    let house = House::new(&[("BACKUP_NOTIFY", &format!("webhook+http://{address}/told"))]);
    let Some(disk) = Disk::mount(house.dir.path(), "1m") else {
        return sink::skipped("fault_35 (letters)", "it mounts a disk to fill it: run it as root");
    };
    let app = App { work: "supervise", ..house.app() };
    for event in ["one", "two"] {
        app.notice(app.notice_of(Level::Failure, event, event));
    }
    assert_eq!(deliver(&app).await, (0, 1), "the channel is away");
    disk.fill();
    house.clock.forward(TimeDelta::hours(1));
    // Away still: tried, and after a pause again.
    assert_eq!(deliver(&app).await, (0, 1));
    assert_eq!(deliver(&app).await, (0, 0), "a channel that is away is not asked all the time");
    house.clock.forward(TimeDelta::hours(1));
    let sink = Sink::at(address.parse().unwrap());
    let two = tokio::join!(deliver(&app), deliver(&app));
    assert_eq!(two.0.0 + two.1.0, 2, "{two:?}");
    let events = |sink: &Sink| {
        let of = |got: &sink::Got| got.json()["event"].as_str().unwrap().to_owned();
        sink.taken().iter().map(of).collect::<Vec<_>>()
    };
    let mut told = events(&sink);
    told.sort();
    assert_eq!(told, ["one", "two"]);
    assert_eq!(deliver(&app).await, (0, 0));
    disk.clear();
    assert_eq!(deliver(&app).await, (0, 0));
    let count = &app.post_counts().unwrap()[0];
    assert_eq!((count.waiting, count.sent), (0, 2));
    assert_eq!(deliver(&house.app()).await, (0, 0), "nor does another process tell it");
    assert_eq!(events(&sink).len(), 2);
}
