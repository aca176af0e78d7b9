//! A supervisor in whose life months pass in minutes: real files, real servers, and a time that goes ahead where nothing is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use amarre::app::{self, App};
use amarre::domain::catalogue::{Catalogue, Entry};
use amarre::domain::clock::Clock;
use amarre::domain::event::{Event, Observer};
use amarre::operations::catalogue;
use amarre::operations::history::{self, Happened};
use amarre::settings::{Settings, Sources};
use amarre::supervisor::pace::Pace;
use amarre::supervisor::state::Job;
use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Europe::Paris;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Longer than all that is due at one moment takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest step.
const STEP: TimeDelta = TimeDelta::hours(1);

/// How often it is looked whether work has ended.
const LOOK: Duration = Duration::from_millis(5);

struct Now {
    wall: DateTime<Utc>,
    steady: TimeDelta,
    /// Up to where it may go, by the steady clock.
    until: TimeDelta,
    /// It is there, and nothing is at work.
    reached: bool,
}

/// The time of a simulation. It goes from one full hour to the next, and stands still while anything is at work.
struct Time {
    now: Mutex<Now>,
    reached: Condvar,
    on: Notify,
}

impl Time {
    fn new(wall: DateTime<Utc>) -> Self {
        let now = Now { wall, steady: TimeDelta::zero(), until: TimeDelta::zero(), reached: false };
        Self { now: Mutex::new(now), reached: Condvar::new(), on: Notify::new() }
    }

    /// Whether it went a step.
    fn step(&self) -> bool {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let left = now.until - now.steady;
        if left <= TimeDelta::zero() {
            now.reached = true;
            self.reached.notify_all();
            return false;
        }
        let hour = TimeDelta::seconds(3600 - now.wall.timestamp().rem_euclid(3600));
        let step = left.min(hour).min(STEP);
        now.wall += step;
        now.steady += step;
        true
    }

    /// Waits until `time` more has passed, and all that is due then is done; whether that came.
    fn pass(&self, time: TimeDelta) -> bool {
        let mut now = self.now.lock().unwrap();
        now.until = now.steady + time;
        now.reached = false;
        self.on.notify_one();
        loop {
            let before = now.steady;
            let (after, late) = self.reached.wait_timeout_while(now, PATIENCE, |now| !now.reached).unwrap();
            if !late.timed_out() || after.steady == before {
                return !late.timed_out();
            }
            now = after;
        }
    }
}

impl Clock for Time {
    fn now(&self) -> DateTime<Utc> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).wall
    }
}

#[async_trait]
impl Pace for Time {
    fn steady(&self) -> Duration {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).steady.to_std().unwrap()
    }

    async fn pause(&self, _: Duration, idle: bool) {
        if !idle {
            return tokio::time::sleep(LOOK).await;
        }
        while !self.step() {
            self.on.notified().await;
        }
    }
}

/// What the log would say.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn event(&self, event: Event) {
        match event {
            Event::Note(text) => self.0.lock().unwrap().push(text),
            Event::Warning(text) => self.0.lock().unwrap().push(format!("warning: {text}")),
            _ => {}
        }
    }
}

/// A sidecar in simulated time.
pub struct Sidecar {
    pub app: App,
    time: Arc<Time>,
    heard: Arc<Heard>,
    wishes: Arc<app::Wishes>,
    runtime: Runtime,
    running: Option<JoinHandle<()>>,
    environment: Arc<Mutex<BTreeMap<String, String>>>,
}

/// A time of the wall in Paris, the earlier one where there are two.
pub fn paris(text: &str) -> DateTime<Utc> {
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap_or_else(|error| panic!("{text}: {error}"));
    local.and_local_timezone(Paris).earliest().unwrap_or_else(|| panic!("{text} does not exist")).to_utc()
}

/// Month, day, hour and minute of Paris.
pub fn shown(at: DateTime<Utc>) -> String {
    at.with_timezone(&Paris).format("%m-%d %H:%M").to_string()
}

impl Sidecar {
    /// Installed at `at`, and at work.
    pub fn start(at: &str, environment: &BTreeMap<String, String>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let time = Arc::new(Time::new(paris(at)));
        let heard = Arc::new(Heard::default());
        let settings = settings(environment);
        settings.language.use_everywhere();
        let app = App {
            settings: Arc::new(settings),
            observer: Arc::clone(&heard) as Arc<dyn Observer>,
            cancel: CancellationToken::new(),
            clock: Arc::clone(&time) as Arc<dyn Clock>,
            pace: Arc::clone(&time) as Arc<dyn Pace>,
            work: "supervise",
            left: Arc::default(),
            post: Arc::default(),
            known: Arc::default(),
            asked: "test".into(),
            spare: Arc::default(),
        };
        let mut own = Self {
            app,
            time,
            heard,
            wishes: Arc::default(),
            runtime,
            running: None,
            environment: Arc::new(Mutex::new(environment.clone())),
        };
        own.run();
        own
    }

    fn run(&mut self) {
        let (app, wishes, handle) = (self.app.clone(), Arc::clone(&self.wishes), self.runtime.handle().clone());
        let environment = Arc::clone(&self.environment);
        self.running = Some(std::thread::spawn(move || {
            let reload = Box::new(move || Ok(settings(&environment.lock().unwrap())));
            handle.block_on(app.supervise(wishes, reload)).unwrap_or_else(|failure| panic!("{failure:?}"));
        }));
        self.settle();
    }

    /// Lets time pass until this one of Paris, and what is due then be done.
    pub fn until(&self, wall: &str) {
        self.pass(paris(wall) - self.time.now());
    }

    fn pass(&self, time: TimeDelta) {
        if !self.time.pass(time) {
            let (now, log) = (shown(self.time.now()), self.log());
            let jobs: Vec<_> = self.app.jobs().into_iter().filter(|(_, job)| job.running_since.is_some()).collect();
            panic!(
                "at {now} something never ends: {jobs:?}; the log ends with {:#?}",
                &log[log.len().saturating_sub(10)..]
            );
        }
    }

    /// Lets a minute pass: what was asked for is done, and said.
    pub fn settle(&self) {
        self.pass(TimeDelta::minutes(1));
    }

    /// Somebody sets the clock of the machine.
    pub fn set_clock(&self, by: TimeDelta) {
        self.time.now.lock().unwrap().wall += by;
        self.settle();
    }

    /// Whether a backup is being made.
    pub fn is_backing_up(&self) -> bool {
        self.app.jobs().get(&Job::Backup).is_some_and(|job| job.running_since.is_some())
    }

    /// SIGUSR1.
    pub fn ask_for_backup(&self) {
        self.wishes.want_backup();
        self.settle();
    }

    /// As long as the bucket is known to be away nobody waits for it: the patience of real life, as much shorter as its days are.
    pub fn without_patience(&self, without: bool) {
        let parts = if without { IMPATIENT } else { "4" };
        self.environment.lock().unwrap().insert("BACKUP_S3_PARALLEL".to_owned(), parts.to_owned());
        self.reload();
    }

    /// With the settings that hold now.
    fn now(&self) -> App {
        App { settings: Arc::new(settings(&self.environment.lock().unwrap())), ..self.app.clone() }
    }

    /// SIGHUP, and what is then in the files of secrets.
    pub fn reload(&self) {
        self.wishes.want_reload();
        self.settle();
    }

    /// What an operation by hand works with.
    pub fn context(&self) -> amarre::operations::Context {
        self.runtime.block_on(self.now().context()).unwrap()
    }

    /// A command by hand, in the time of the simulation.
    pub fn by_hand<T>(&self, command: impl Future<Output = T>) -> T {
        self.runtime.block_on(command)
    }

    /// Health and what alerts go on, in one line.
    pub fn state(&self) -> String {
        let (health, _) = self.runtime.block_on(self.now().health()).unwrap();
        let health = serde_json::to_value(health).unwrap().as_str().unwrap().to_owned();
        let (alerts, _) = self.runtime.block_on(self.now().check()).unwrap();
        let kinds: Vec<&str> = alerts.iter().map(|alert| alert.kind.as_str()).collect();
        format!(
            "{}  {health}  {}",
            shown(self.time.now()),
            if kinds.is_empty() { "-".to_owned() } else { kinds.join(", ") }
        )
    }

    /// What `list` has, the oldest first.
    pub fn list(&self) -> String {
        let context = self.context();
        let here = self.runtime.block_on(catalogue::load(&context)).unwrap();
        let there = self.runtime.block_on(catalogue::load_remote(&context, &context.remotes[0])).unwrap();
        let of = |catalogue: &Catalogue| -> BTreeMap<String, String> {
            let known = |entry: &Entry| match (entry.is_verified(), entry.is_suspicious()) {
                (true, true) => "suspicious",
                (true, false) => "verified",
                (false, _) => "not verified",
            };
            catalogue.entries().iter().map(|entry| (shown(entry.date), known(entry).to_owned())).collect()
        };
        let (here, there) = (of(&here), of(&there));
        let dates: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let place = |of: &BTreeMap<String, String>, date: &String| of.get(date).cloned().unwrap_or_else(|| "-".into());
        let line = |date: &&String| format!("{date}  here: {:12}  S3: {}\n", place(&here, date), place(&there, date));
        dates.iter().map(line).collect()
    }

    /// What `history` has, the oldest first.
    pub fn history(&self) -> String {
        let mut all = history::since(&*self.app.journal(), DateTime::UNIX_EPOCH).unwrap();
        all.reverse();
        let mut lines = String::new();
        for one in all {
            match one {
                Happened::Run(run) => {
                    let end = run.end.as_ref();
                    let outcome = end.map_or("-", |end| end.outcome.as_str());
                    let error = end.and_then(|end| end.error.clone()).unwrap_or_default();
                    let line = format!(
                        "{}  {} ({}) {outcome}  {error}",
                        shown(run.started_at),
                        run.kind.as_str(),
                        run.asked.as_deref().unwrap_or("-")
                    );
                    writeln!(lines, "{}", line.trim_end()).unwrap();
                }
                Happened::Deleted(gone) => {
                    let place = gone.place.as_deref().map_or("here", |_| "S3");
                    writeln!(lines, "{}  deleted {place} {}: {}", shown(gone.at), gone.file, gone.why).unwrap();
                }
                Happened::Accepted(_) => writeln!(lines, "{}  accepted", shown(one_at(&one))).unwrap(),
            }
        }
        lines
    }

    /// What the log has.
    pub fn log(&self) -> Vec<String> {
        self.heard.0.lock().unwrap().clone()
    }
}

fn one_at(one: &Happened) -> DateTime<Utc> {
    match one {
        Happened::Run(run) => run.started_at,
        Happened::Deleted(gone) => gone.at,
        Happened::Accepted(accepted) => accepted.at,
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.app.cancel.cancel();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// A number of parts that stands for a deadline which no setting has.
const IMPATIENT: &str = "3";

fn settings(environment: &BTreeMap<String, String>) -> Settings {
    let is_impatient = environment.get("BACKUP_S3_PARALLEL").is_some_and(|parts| parts == IMPATIENT);
    let environment = environment.clone().into_iter().collect();
    let sources = Sources { environment, cwd: "/nonexistent".into(), cores: 2, ..Sources::default() };
    let mut settings = Settings::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"));
    for s3 in settings.s3.iter_mut() {
        s3.deadline = if is_impatient { Duration::from_millis(500) } else { Duration::from_secs(30) };
    }
    settings
}
