//! The loop under a clock that is set by hand; tokio's own clock is paused, so no test waits.

use std::sync::Mutex;

use chrono_tz::Europe::Paris;

use super::health::{Health, Seen, judge};
use super::state::{Refused, look};
use super::*;

/// Wall time = a start plus tokio's (paused) time, plus leaps.
struct TestClock {
    origin: tokio::time::Instant,
    start: Mutex<DateTime<Utc>>,
    /// What nobody sees of tokio's time: the machine slept.
    slept: Mutex<Duration>,
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.start.lock().unwrap() + TimeDelta::from_std(self.origin.elapsed()).unwrap()
    }
}

impl TestClock {
    /// Somebody sets it.
    fn leap(&self, by: TimeDelta) {
        *self.start.lock().unwrap() += by;
    }

    /// The machine sleeps.
    fn sleep(&self, by: Duration) {
        self.leap(TimeDelta::from_std(by).unwrap());
        *self.slept.lock().unwrap() += by;
    }
}

#[async_trait]
impl Pace for TestClock {
    fn steady(&self) -> Duration {
        self.origin.elapsed() + *self.slept.lock().unwrap()
    }

    async fn pause(&self, time: Duration, _: bool) {
        tokio::time::sleep(time).await;
    }
}

/// Begin and end of a reading, and whether it was told to end.
type Reading = (DateTime<Utc>, DateTime<Utc>, bool);

struct TestJobs {
    clock: Arc<TestClock>,
    started: Mutex<Vec<DateTime<Utc>>>,
    mended: Mutex<Vec<DateTime<Utc>>>,
    takes: Duration,
    busy: Mutex<u32>,
    /// How long copies take, and when they ended.
    copying: Duration,
    copied: Arc<Mutex<Vec<DateTime<Utc>>>>,
    synced: Mutex<Vec<DateTime<Utc>>>,
    syncing: Mutex<Duration>,
    schedule: Mutex<String>,
    asked: Mutex<Vec<Asked>>,
    watched: Mutex<Vec<DateTime<Utc>>>,
    verified: Mutex<Vec<Reading>>,
    verifying: Mutex<Duration>,
    pruned: Mutex<u32>,
}

#[async_trait]
impl Jobs for TestJobs {
    fn schedule(&self) -> (Schedule, Tz) {
        (Schedule::parse(&self.schedule.lock().unwrap()).unwrap(), Paris)
    }
    async fn reload(&self) {
        *self.schedule.lock().unwrap() = "30 12 * * *".to_owned();
    }
    async fn prune(&self, _: &CancellationToken) -> Outcome {
        *self.pruned.lock().unwrap() += 1;
        Outcome::Ended
    }
    async fn watch(&self, _: &CancellationToken) -> Outcome {
        self.watched.lock().unwrap().push(self.clock.now());
        Outcome::Ended
    }
    async fn deliver(&self, _: &CancellationToken) -> Outcome {
        Outcome::Ended
    }
    async fn verify(&self, cancel: &CancellationToken) -> Outcome {
        let (begun, takes) = (self.clock.now(), *self.verifying.lock().unwrap());
        let told = tokio::time::timeout(takes, cancel.cancelled()).await.is_ok();
        self.verified.lock().unwrap().push((begun, self.clock.now(), told));
        if told { Outcome::Busy } else { Outcome::Ended }
    }
    async fn backup(&self, asked: Asked, cancel: &CancellationToken) -> BackedUp {
        {
            let mut busy = self.busy.lock().unwrap();
            if *busy > 0 {
                *busy -= 1;
                return Outcome::Busy.into();
            }
        }
        self.started.lock().unwrap().push(self.clock.now());
        self.asked.lock().unwrap().push(asked);
        tokio::time::sleep(self.takes).await;
        if cancel.is_cancelled() {
            return Outcome::Failed.into();
        }
        let (clock, copied) = (Arc::clone(&self.clock), Arc::clone(&self.copied));
        let takes = self.copying;
        let rest = async move {
            tokio::time::sleep(takes).await;
            copied.lock().unwrap().push(clock.now());
        };
        BackedUp { outcome: Outcome::Ended, rest: Some(Box::pin(rest)) }
    }
    async fn mend(&self, _: &CancellationToken) -> Outcome {
        self.mended.lock().unwrap().push(self.clock.now());
        Outcome::Ended
    }
    async fn expire(&self, _: &CancellationToken) -> Outcome {
        Outcome::Ended
    }
    async fn sync(&self, _: &CancellationToken) -> Outcome {
        self.synced.lock().unwrap().push(self.clock.now());
        let takes = *self.syncing.lock().unwrap();
        tokio::time::sleep(takes).await;
        Outcome::Ended
    }
}

struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<TestClock>,
    jobs: Arc<TestJobs>,
    heard: Arc<Heard>,
    wishes: Arc<Wishes>,
    cancel: CancellationToken,
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

impl Bench {
    fn new(start: &str, takes: Duration) -> Self {
        let clock = Arc::new(TestClock {
            origin: tokio::time::Instant::now(),
            start: Mutex::new(at(start)),
            slept: Mutex::default(),
        });
        let jobs = TestJobs {
            clock: Arc::clone(&clock),
            started: Mutex::default(),
            mended: Mutex::default(),
            takes,
            busy: Mutex::new(0),
            copying: Duration::from_secs(7200),
            copied: Arc::default(),
            synced: Mutex::default(),
            // Longer than the hour between two.
            syncing: Mutex::new(Duration::from_secs(5000)),
            schedule: Mutex::default(),
            asked: Mutex::default(),
            watched: Mutex::default(),
            verified: Mutex::default(),
            verifying: Mutex::new(Duration::from_secs(60)),
            pruned: Mutex::default(),
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock,
            jobs: Arc::new(jobs),
            heard: Arc::new(Heard(Mutex::default())),
            wishes: Arc::default(),
            cancel: CancellationToken::new(),
        }
    }

    fn spawn(&self, expression: &str) -> tokio::task::JoinHandle<std::io::Result<()>> {
        *self.jobs.schedule.lock().unwrap() = expression.to_owned();
        let supervisor = Supervisor {
            pace: Arc::clone(&self.clock) as Arc<dyn Pace>,
            wishes: Arc::clone(&self.wishes),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            jobs: Arc::clone(&self.jobs) as Arc<dyn Jobs>,
            observer: Arc::clone(&self.heard) as Arc<dyn Observer>,
            state: StateFile::take(self.dir.path(), self.clock.now()).unwrap(),
        };
        let cancel = self.cancel.clone();
        tokio::spawn(async move { supervisor.run(&cancel).await })
    }

    fn started(&self) -> Vec<String> {
        let zone = |t: &DateTime<Utc>| t.with_timezone(&Paris).format("%m-%d %H:%M").to_string();
        self.jobs.started.lock().unwrap().iter().map(zone).collect()
    }

    fn warnings(&self) -> usize {
        self.heard.0.lock().unwrap().iter().filter(|e| matches!(e, Event::Warning(_))).count()
    }
}

async fn pass(hours: u64) {
    tokio::time::sleep(Duration::from_secs(hours * 3600)).await;
}

#[tokio::test(start_paused = true)]
async fn fires_once_a_night_at_three_in_paris_across_the_spring_change() {
    let bench = Bench::new("2026-03-27T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(72).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["03-28 03:00", "03-29 03:00", "03-30 03:00"]);
}

#[tokio::test(start_paused = true)]
async fn fault_46_a_machine_that_slept_catches_up_once() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(1).await;
    bench.clock.sleep(Duration::from_secs(80 * 3600));
    pass(2).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started().len(), 1);
    assert_eq!(bench.warnings(), 0, "a machine that slept is no clock that jumped");
}

#[tokio::test(start_paused = true)]
async fn fault_46_a_restart_knows_what_was_missed_and_what_was_done() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(20).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-21 03:00"]);
    bench.clock.leap(TimeDelta::hours(30));
    let again = Bench { cancel: CancellationToken::new(), ..bench };
    let running = again.spawn("0 3 * * *");
    pass(1).await;
    again.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(again.started().len(), 2, "{:?}", again.started());
}

#[tokio::test(start_paused = true)]
async fn fault_43_a_clock_that_goes_back_does_not_fire_a_slot_again() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(15).await;
    bench.clock.leap(TimeDelta::hours(-3));
    let before = bench.clock.now();
    pass(4).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-21 03:00"]);
    let jump = look(bench.dir.path()).unwrap().1.unwrap().lasting.jump.expect("it is remembered");
    assert_eq!((jump.seconds, bench.warnings()), (-3 * 3600, 1));
    let watched = bench.jobs.watched.lock().unwrap();
    assert!(watched.iter().any(|at| *at >= before && *at - before < TimeDelta::seconds(10)), "{watched:?}");
}

#[tokio::test(start_paused = true)]
async fn fault_47_slots_that_fall_into_a_long_run_are_skipped_and_said() {
    let bench = Bench::new("2026-11-20T12:00:30Z", Duration::from_secs(150 * 60));
    let running = bench.spawn("0 * * * *");
    pass(4).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-20 14:00", "11-20 17:00"]);
    assert_eq!(bench.warnings(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slot_met_by_another_run_is_tried_again() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    *bench.jobs.busy.lock().unwrap() = 3;
    let running = bench.spawn("0 3 * * *");
    pass(16).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-21 03:00"]);
    assert_eq!(bench.warnings(), 1, "said once, not at each try");
}

#[tokio::test(start_paused = true)]
async fn fault_77_leftovers_are_looked_for_within_the_minute() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(1).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    let mended = bench.jobs.mended.lock().unwrap();
    let longest = mended.windows(2).map(|w| w[1] - w[0]).max().unwrap();
    assert!(longest <= TimeDelta::seconds(60), "{longest}");
}

/// Copies take two hours, a sync longer than the hour between two: neither holds up what must come within a minute, and no sync
/// runs beside another.
#[tokio::test(start_paused = true)]
async fn transfers_of_hours_hold_up_nobody() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(18).await;
    let started = bench.jobs.started.lock().unwrap().clone();
    let copied = bench.jobs.copied.lock().unwrap().clone();
    assert_eq!((started.len(), copied.len()), (1, 1));
    assert_eq!(copied[0] - started[0], TimeDelta::seconds(60 + 7200));
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    let longest = |times: &[DateTime<Utc>]| times.windows(2).map(|w| w[1] - w[0]).max().unwrap();
    let shortest = |times: &[DateTime<Utc>]| times.windows(2).map(|w| w[1] - w[0]).min().unwrap();
    let mended = bench.jobs.mended.lock().unwrap();
    assert!(longest(&mended) <= TimeDelta::seconds(90), "{}", longest(&mended));
    let synced = bench.jobs.synced.lock().unwrap();
    assert!(synced.len() > 5 && shortest(&synced) >= TimeDelta::seconds(5000), "{synced:?}");
}

/// What is missing elsewhere is sent with each backup, not only by the hour.
#[tokio::test(start_paused = true)]
async fn a_sync_comes_with_each_backup() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    *bench.jobs.syncing.lock().unwrap() = Duration::from_secs(30);
    let running = bench.spawn("40 13 * * *");
    pass(1).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    let (started, synced) = (bench.jobs.started.lock().unwrap(), bench.jobs.synced.lock().unwrap());
    assert_eq!((started.len(), synced.len()), (1, 2), "{started:?} {synced:?}");
    assert_eq!(synced[1], started[0]);
}

#[tokio::test(start_paused = true)]
async fn fault_65_a_second_supervisor_on_a_directory_is_refused() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    tokio::task::yield_now().await;
    assert!(matches!(StateFile::take(bench.dir.path(), bench.clock.now()), Err(Refused::Held)));
    assert!(look(bench.dir.path()).unwrap().0);
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert!(!look(bench.dir.path()).unwrap().0);
    assert!(StateFile::take(bench.dir.path(), bench.clock.now()).is_ok());
}

/// A slot that ran by a clock a day ahead does not stand for the next night, however often the supervisor starts meanwhile; a machine
/// that boots in 1970 forgets nothing.
#[test]
fn fault_43_a_slot_of_a_wrong_clock_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".amarre")).unwrap();
    // As it was when both were one file.
    let before = r#"{"format":1,"installed_at":"2026-11-01T10:00:00Z","last_slot_run":"2026-11-22T02:00:00Z","beat_at":"2026-11-21T12:00:00Z"}"#;
    std::fs::write(dir.path().join(".amarre/supervisor.state"), before).unwrap();
    let half = TimeDelta::hours(12);
    let done = |now: &str| {
        let mut state = StateFile::take(dir.path(), at(now)).unwrap();
        state.begin(at(now), half).unwrap();
        state.slots_done().unwrap()
    };
    assert_eq!(look(dir.path()).unwrap().1.unwrap().life.beat_at, at("2026-11-21T12:00:00Z"));
    assert_eq!(done("2026-11-21T13:00:00Z"), at("2026-11-21T13:00:00Z"));
    assert_eq!(done("2026-11-22T01:00:00Z"), at("2026-11-21T13:00:00Z"));
    assert_eq!(done("1970-01-01T00:00:10Z"), at("1970-01-01T00:00:10Z"));
    assert_eq!(done("2026-11-22T09:00:00Z"), at("2026-11-22T02:00:00Z"));
    let mut state = StateFile::take(dir.path(), at("2026-11-22T09:00:00Z")).unwrap();
    state.ran(at("2026-11-23T02:00:00Z")).unwrap();
    assert_eq!(state.slots_done(), Some(at("2026-11-23T02:00:00Z")));
}

#[test]
fn health_is_good_only_while_the_supervisor_lives_and_its_backups_come() {
    let schedule = Schedule::parse("0 3 * * *").unwrap();
    let installed_at = at("2026-11-20T12:00:00Z");
    let state = state::State {
        lasting: state::Lasting { format: 1, installed_at, last_slot_run: None, believed: None, jump: None },
        life: state::Life { beat_at: at("2026-11-21T10:00:00Z"), jobs: std::collections::BTreeMap::new() },
    };
    let good = Seen {
        alive: true,
        state: Some(state.clone()),
        at_work: false,
        newest: Some(at("2026-11-21T02:00:01Z")),
        now: at("2026-11-21T10:00:04Z"),
    };
    let judged = |seen: Seen| judge(&schedule, Paris, &seen);
    assert_eq!(judged(good.clone()), Health::Good);
    assert_eq!(judged(Seen { alive: false, ..good.clone() }), Health::NotRunning);
    assert_eq!(judged(Seen { state: None, ..good.clone() }), Health::NotRunning);
    assert_eq!(judged(Seen { now: at("2026-11-21T10:06:00Z"), ..good.clone() }), Health::Stuck);
    assert_eq!(judged(Seen { now: at("2026-11-21T10:06:00Z"), at_work: true, ..good.clone() }), Health::Good);
    assert_eq!(judged(Seen { newest: None, ..good.clone() }), Health::Overdue);
    assert_eq!(judged(Seen { newest: Some(at("2026-11-20T02:00:00Z")), ..good.clone() }), Health::Overdue);
    // Whoever starts anew what is not well would end the backup that makes it so.
    let mut busy = state.clone();
    let job = state::JobState { running_since: Some(at("2026-11-21T09:00:00Z")), ..state::JobState::default() };
    busy.life.jobs.insert(Job::Backup, job);
    assert_eq!(judged(Seen { newest: None, state: Some(busy.clone()), ..good.clone() }), Health::Good);
    busy.life.jobs.entry(Job::Backup).and_modify(|job| job.running_since = Some(at("2026-11-20T21:00:00Z")));
    assert_eq!(judged(Seen { newest: None, state: Some(busy), ..good.clone() }), Health::Overdue);
    // Installed after the last slot: nothing was due yet.
    let lasting = state::Lasting { installed_at: at("2026-11-21T02:30:00Z"), ..state.lasting.clone() };
    let young = state::State { lasting, ..state };
    assert_eq!(judged(Seen { newest: None, state: Some(young), ..good.clone() }), Health::Good);
}

#[tokio::test(start_paused = true)]
async fn a_signal_asks_for_a_backup_now_and_takes_no_slot_away() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(1).await;
    bench.wishes.want_backup();
    pass(16).await;
    // Another run is at work: the wish waits for its end.
    *bench.jobs.busy.lock().unwrap() = 3;
    bench.wishes.want_backup();
    pass(1).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-20 14:00", "11-21 03:00", "11-21 06:00"]);
    assert_eq!(*bench.jobs.asked.lock().unwrap(), [Asked::Signal, Asked::Schedule, Asked::Signal]);
}

#[tokio::test(start_paused = true)]
async fn settings_that_were_read_again_hold_from_then_on() {
    let bench = Bench::new("2026-11-20T10:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    bench.wishes.want_reload();
    pass(3).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-20 12:30"]);
}

#[tokio::test(start_paused = true)]
async fn a_reading_gives_way_to_a_backup_and_goes_on_after_it() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(60));
    *bench.jobs.verifying.lock().unwrap() = Duration::from_secs(2 * 3600);
    let running = bench.spawn("0 * * * *");
    pass(4).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    let (verified, started) = (bench.jobs.verified.lock().unwrap(), bench.jobs.started.lock().unwrap());
    assert!(verified.len() >= 2 && verified.iter().all(|(_, _, told)| *told), "{verified:?}");
    for (begun, ended, _) in verified.iter() {
        for backup in started.iter() {
            let over = *backup + TimeDelta::seconds(60);
            assert!(*ended <= *backup || *begun >= over, "{begun} to {ended} beside the backup of {backup}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_each_job_does_can_be_seen() {
    let bench = Bench::new("2026-11-20T12:00:00Z", Duration::from_secs(600));
    let running = bench.spawn("30 13 * * *");
    let jobs = |bench: &Bench| look(bench.dir.path()).unwrap().1.unwrap().life.jobs;
    tokio::time::sleep(Duration::from_secs(35 * 60)).await;
    let backup = jobs(&bench)[&Job::Backup].clone();
    assert_eq!(backup.running_since.map(|at| at.to_rfc3339()), Some("2026-11-20T12:30:00+00:00".to_owned()));
    pass(1).await;
    let now = jobs(&bench);
    assert_eq!(now[&Job::Backup].outcome, Some(Outcome::Ended));
    assert_eq!(now[&Job::Backup].running_since, None);
    for job in [Job::Watch, Job::Verify, Job::Prune, Job::Expire, Job::Deliver] {
        assert!(now.get(&job).is_some_and(|state| state.ended_at.is_some()), "{job:?}: {now:?}");
    }
    assert!(now[&Job::Sync].running_since.is_some(), "it takes longer than that");
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    let watched = bench.jobs.watched.lock().unwrap();
    assert!(watched.windows(2).all(|w| w[1] - w[0] <= TimeDelta::minutes(16)), "{watched:?}");
    assert_eq!(*bench.jobs.pruned.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn fault_43_a_first_start_by_a_clock_that_was_ahead_costs_no_night() {
    let bench = Bench::new("2027-11-20T12:00:00Z", Duration::from_secs(60));
    let running = bench.spawn("0 3 * * *");
    pass(1).await;
    bench.clock.leap(TimeDelta::days(-365));
    pass(24).await;
    bench.cancel.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.started(), ["11-21 03:00"]);
    let state = look(bench.dir.path()).unwrap().1.unwrap();
    assert!(state.lasting.installed_at < bench.clock.now(), "{state:?}");
}
