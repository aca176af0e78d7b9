//! Two hundred uploads through a network that breaks wherever chance has it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amarre::store::s3::S3Store;
use amarre::store::{Error, Object, Store};
use futures_util::StreamExt as _;

use super::fault_proxy::{Answer, Dice, Fault, Harm, Request};
use super::{Bed, noise, upload};

const UPLOADS: u64 = 200;
/// At work at once: most of the time they wait.
const AT_ONCE: usize = 50;

/// What breaks one request, if anything does.
fn chance(dice: &mut Dice, request: &Request) -> Option<Fault> {
    // Some are unlucky in all that they do: they must fail, and leave nothing half.
    let doomed = request.path.contains("doomed-");
    if dice.below(100) >= if doomed { 70 } else { 25 } {
        return None;
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_u64).max(1);
    Some(match dice.below(if length > 1 { 8 } else { 5 }) {
        0 => Fault::Reset,
        1 => Fault::Lost,
        2 => Fault::Instead(Answer::error(500, "InternalError")),
        3 => Fault::Afterwards(Answer::error(503, "SlowDown")),
        4 => Fault::Download(dice.below(100), Harm::Cut),
        5 => Fault::Upload(dice.below(length), Harm::Flip),
        _ => Fault::Upload(dice.below(length), Harm::Cut),
    })
}

/// Its number, its name, and how long it is: most are small, some have two parts and a few have three.
fn plan(n: u64, dice: &mut Dice) -> (String, usize) {
    let luck = if dice.below(8) == 0 { "doomed" } else { "cut" };
    let length = match n % 25 {
        0 => 17 << 20,
        1..=4 => (8 << 20) + 1 + usize::try_from(dice.below(1 << 20)).unwrap(),
        _ => usize::try_from(dice.below(200_000)).unwrap(),
    };
    (format!("{luck}-{n:03}.sql.gz"), length)
}

async fn send(store: &S3Store, n: u64, name: &str, bytes: &Arc<Vec<u8>>) -> Result<Option<Object>, Error> {
    // As manifests are, and as dumps are.
    if n % 25 > 4 && n.is_multiple_of(2) {
        store.put(name, bytes).await.map(|()| None)
    } else {
        upload(store, name, bytes).await.map(Some)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, clippy::disallowed_methods, reason = "what failed by chance is made again by its seed")]
async fn two_hundred_uploads_over_a_network_that_cuts_leave_whole_objects_or_none() {
    let Some(bed) = Bed::new("two hundred cuts") else { return };
    let said = std::env::var("AMARRE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = said.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    eprintln!("AMARRE_TEST_SEED={seed}");
    let (began, mut dice) = (Instant::now(), Dice::new(seed));
    let plans: Vec<_> = (0..UPLOADS).map(|n| (n, plan(n, &mut dice))).collect();
    let faults = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&faults);
    bed.proxy.script(move |request| {
        let fault = chance(&mut dice, request);
        *counted.lock().unwrap() += u32::from(fault.is_some());
        fault
    });
    let store = bed.patient(Duration::from_secs(10));
    let direct = bed.bucket.open();
    let sending = plans.iter().map(|(n, (name, length))| {
        let (store, direct) = (&store, &direct);
        async move {
            let bytes = noise(*length);
            let sent = send(store, *n, name, &bytes).await;
            // What the store holds is looked at without the proxy: absent, or whole and equal.
            let held = match super::whole(direct, name).await {
                Ok(found) => {
                    assert!(found == *bytes, "{name}: {} bytes of {length}, seed {seed}", found.len());
                    true
                }
                Err(Error::Missing { .. }) => false,
                Err(error) => panic!("{name}: {error:?}"),
            };
            match sent {
                Ok(Some(object)) => assert_eq!(object.bytes, *length as u64, "{name}, seed {seed}"),
                Ok(None) => {}
                Err(_) => return false,
            }
            assert!(held, "{name} was told to be there, seed {seed}");
            true
        }
    });
    let sent: Vec<bool> = futures_util::stream::iter(sending).buffer_unordered(AT_ONCE).collect().await;
    let good = sent.iter().filter(|good| **good).count();
    let faults = *faults.lock().unwrap();
    eprintln!("{good} of {UPLOADS} arrived over {faults} faults in {:?}", began.elapsed());
    assert_eq!(sent.len() as u64, UPLOADS);
    assert!(faults >= 200 && (100..200).contains(&good), "{good} arrived over {faults} faults, seed {seed}");
    bed.proxy.heal();
    let unfinished = |names: &[String]| names.iter().filter(|name| name.ends_with("(unfinished)")).count();
    let before = unfinished(&bed.bucket.all());
    let swept = store.sweep_drafts(&|_| true).await.unwrap();
    assert_eq!((swept.len(), unfinished(&bed.bucket.all())), (before, 0), "seed {seed}");
}
