//! A journal as processes leave it, and what the next one makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::error::Kind;
use crate::store::testing::{self, TestStore};
use crate::tenancy::Tenancy;
use crate::tenancy::admission::RuleBook;
use crate::tenancy::directory::Directory;
use crate::tenancy::ledger::{self, Outcome, Recorder, State, UsageSource};
use crate::tenancy::tests::entry;
use crate::tenancy::writer::{self, Writer};

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A folder of its own, with segments so small that a few records fill one.
struct Place {
    folder: TempDir,
    setup: Setup,
    replayed: Arc<Mutex<Vec<Entry>>>,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let replayed = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&replayed);
        let setup = Setup {
            segment_bytes: 4096,
            on_replayed: Arc::new(move |entry| told.lock().unwrap().push(entry.clone())),
            ..Setup::new(folder.path().join("deep/journal"), Metrics::new().unwrap())
        };
        Self { folder, setup, replayed }
    }

    fn open(&self) -> Arc<Journal> {
        Arc::new(Journal::open(&self.setup).unwrap())
    }

    /// What a process does at its start and every few seconds.
    async fn look(&self, store: &TestStore) {
        let replay = Replay::new(self.open(), (*store).clone(), Arc::clone(&self.setup.on_replayed));
        replay.run().await;
    }

    /// Files with this ending.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&self.setup.folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().unwrap() == extension);
        files.sort();
        files
    }

    /// Segments that were told of as damaged.
    fn damaged(&self) -> u64 {
        let text = self.setup.metrics.render();
        let told = text.lines().find_map(|line| line.strip_prefix("gateway_journal_damaged_segments_total "));
        told.unwrap().parse().unwrap()
    }

    fn errors(&self) -> bool {
        !self.setup.metrics.render().contains("gateway_journal_errors_total 0")
    }
}

fn begun(number: u64) -> Entry {
    Entry { outcome: Outcome::INTERRUPTED, usage_source: UsageSource::Estimated, status: 0, ..entry(number) }
}

fn in_memory(journal: &Journal, entry: Entry) -> Mark {
    let mut marked = None;
    let kept = journal.settle(entry, |_, mark| {
        marked = mark;
        true
    });
    assert_eq!(kept, Kept::InMemory);
    marked.unwrap()
}

async fn rows(store: &TestStore) -> Vec<Entry> {
    ledger::list(store, Timestamp::default(), 100_000).await.unwrap()
}

async fn behind(place: &Place, store: &TestStore, capacity: usize) -> (Recorder, Writer) {
    let (directory, _) =
        Directory::open((*store).clone(), Clock::manual(AT), Arc::new(RuleBook::new(Clock::manual(AT)))).await.unwrap();
    writer::new(((*store).clone(), Clock::manual(AT.plus(SECOND))), directory, capacity, Some(place.open()))
}

async fn run(writer: Writer) {
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
}

#[tokio::test]
async fn what_a_dead_process_left_is_booked_once_and_removed() {
    for store in testing::stores().await {
        let place = Place::new();
        let dead = place.open();
        for number in 1..=30 {
            dead.begin(&begun(number));
        }
        dead.begin(&Entry { attempts: 2, region: Some("us-west-2".into()), ..begun(30) });
        for number in 1..=28 {
            in_memory(&dead, entry(number));
        }
        dead.discard("call_000029");
        assert!(place.files("journal").len() > 3, "it was spread over segments");
        drop(dead);

        // The store may be away at first.
        store.execute("ALTER TABLE ledger RENAME TO away").await;
        place.look(&store).await;
        assert!(place.replayed.lock().unwrap().is_empty());
        store.execute("ALTER TABLE away RENAME TO ledger").await;
        let copies: Vec<_> =
            place.files("journal").into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        let open = Entry { attempts: 2, region: Some("us-west-2".into()), ..begun(30) };
        let expected: Vec<_> = (1..=28).map(entry).chain([open]).collect();
        for _ in 0..2 {
            place.look(&store).await;
            assert_eq!(rows(&store).await, expected);
            assert_eq!(place.replayed.lock().unwrap().drain(..).count(), expected.len());
            assert!(place.files("journal").is_empty() && place.files("lock").is_empty(), "nothing is left");
            // As if the one who looked had died before it removed them.
            for (path, bytes) in &copies {
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_files_of_a_process_that_lives_are_its_own() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    let (alive, dead) = (place.open(), place.open());
    alive.begin(&begun(1));
    dead.begin(&begun(2));
    drop(dead);
    place.look(&store).await;
    assert_eq!(rows(&store).await, [begun(2)]);
    in_memory(&alive, entry(1));
    drop(alive);
    place.look(&store).await;
    assert_eq!(rows(&store).await, [entry(1), begun(2)]);
}

#[tokio::test]
async fn a_torn_end_is_expected_and_a_damaged_middle_is_put_aside() {
    for (extension, cut) in [("damaged", None), ("journal", Some(100))] {
        let (place, store) = (Place::new(), testing::sqlite().await);
        let dead = place.open();
        for number in 1..=3 {
            in_memory(&dead, entry(number));
        }
        drop(dead);
        let [path] = &place.files("journal")[..] else { panic!("one segment") };
        let mut bytes = fs::read(path).unwrap();
        match cut {
            Some(cut) => bytes.truncate(bytes.len() - cut),
            None => bytes[record::HEADER.len() + 40] ^= 1,
        }
        fs::write(path, bytes).unwrap();
        place.look(&store).await;
        let expected = if cut.is_some() { [entry(1), entry(2)] } else { [entry(2), entry(3)] };
        assert_eq!(rows(&store).await, expected);
        assert!(place.files("journal").is_empty());
        assert_eq!(place.files("damaged").len(), usize::from(extension == "damaged"));
        assert_eq!(place.damaged(), u64::from(extension == "damaged"));
    }
}

#[tokio::test]
async fn a_file_of_another_version_is_put_aside_and_strange_files_are_left_alone() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    drop(place.open());
    fs::write(place.setup.folder.join("old-00000001.journal"), "bedrock-gateway journal 9\nwhatever").unwrap();
    fs::write(place.setup.folder.join("notes.txt"), "mine").unwrap();
    place.look(&store).await;
    assert_eq!((place.files("damaged").len(), place.files("txt").len(), place.files("journal").len()), (1, 1, 0));
}

#[test]
fn segments_rotate_and_go_when_all_in_them_is_in_the_store() {
    let place = Place::new();
    let journal = place.open();
    let marks: Vec<_> = (0..40).map(|number| in_memory(&journal, entry(number))).collect();
    let before = place.files("journal");
    assert!(before.len() > 4 && before.iter().all(|path| fs::metadata(path).unwrap().len() <= 4096));
    assert!(
        before
            .iter()
            .chain(&place.files("lock"))
            .all(|path| { fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600 })
    );
    journal.release(marks[1..].iter().copied());
    assert_eq!(place.files("journal"), before, "the oldest is needed, and they go in order");
    journal.release(marks[..1].iter().copied());
    assert_eq!(place.files("journal"), before[before.len() - 1..], "the newest is written to");
    journal.lock().retire();
    assert!(place.files("journal").is_empty());
    in_memory(&journal, entry(99));
    assert_eq!(place.files("journal").len(), 1);
}

#[tokio::test]
async fn a_call_that_takes_long_keeps_no_old_segments() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    let journal = place.open();
    journal.begin(&begun(1));
    for number in 2..60 {
        journal.begin(&begun(number));
        journal.release(std::iter::once(in_memory(&journal, entry(number))));
    }
    assert!(place.files("journal").len() > 10);
    journal.carry().unwrap();
    assert!(place.files("journal").len() <= 2, "{:?}", place.files("journal"));
    drop(journal);
    place.look(&store).await;
    assert!(rows(&store).await.contains(&begun(1)));
}

#[tokio::test]
async fn what_has_no_room_in_memory_is_read_back() {
    for store in testing::stores().await {
        let place = Place::new();
        let (recorder, writer) = behind(&place, &store, 10).await;
        store.execute("ALTER TABLE ledger RENAME TO away").await;
        (0..2_000)
            .for_each(|number| recorder.record(Entry { at: AT.plus(Duration::from_millis(number)), ..entry(number) }));
        let state = recorder.state(AT.plus(SECOND * 60));
        assert_eq!((state.queued, state.lost), (2_000, 0));
        assert_eq!(state.lag, Duration::from_millis(59_990), "of the oldest that is on disk alone");
        store.execute("ALTER TABLE away RENAME TO ledger").await;

        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(writer.run(stop.clone()));
        recorder.record(entry(2_000));
        tokio::time::timeout(SECOND * 20, recorder.flush()).await.unwrap();
        let numbers: BTreeSet<_> = rows(&store).await.into_iter().map(|row| row.input_tokens).collect();
        assert_eq!(numbers, (0..=2_000).collect());
        assert_eq!(recorder.state(AT.plus(SECOND * 60)), State::default());
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert!(place.files("journal").is_empty(), "a clean end leaves nothing");
    }
}

#[tokio::test]
async fn damage_to_what_had_no_room_in_memory_is_told() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    let (recorder, writer) = behind(&place, &store, 1).await;
    (0..3).for_each(|number| recorder.record(entry(number)));
    let [path] = &place.files("journal")[..] else { panic!("one segment") };
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
    run(writer).await;
    assert_eq!(rows(&store).await, [entry(0), entry(1)]);
    assert_eq!(place.damaged(), 1);
}

#[tokio::test]
async fn what_cannot_be_written_before_the_end_is_booked_by_the_next_start() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    let (recorder, mut writer) = behind(&place, &store, 3).await;
    writer.stop_limit = Duration::from_millis(50);
    (0..7).for_each(|number| recorder.record(entry(number)));
    store.execute("ALTER TABLE ledger RENAME TO away").await;
    run(writer).await;
    recorder.record(entry(7));
    recorder.flush().await;
    assert_eq!(recorder.state(AT).lost, 0);
    store.execute("ALTER TABLE away RENAME TO ledger").await;
    drop(recorder);
    place.look(&store).await;
    assert_eq!(rows(&store).await.len(), 8);
}

#[tokio::test]
async fn calls_go_on_while_the_journal_cannot_be_written_and_it_recovers() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    let (recorder, writer) = behind(&place, &store, 100).await;
    recorder.record(entry(1));
    assert!(!place.errors());
    recorder.journal().unwrap().lock().fill_the_disk();
    recorder.journal().unwrap().begin(&begun(2));
    assert!(place.errors(), "{}", place.setup.metrics.render());
    // The folder goes: nothing new can be made.
    fs::rename(&place.setup.folder, place.folder.path().join("gone")).unwrap();
    for number in 2..20 {
        recorder.journal().unwrap().begin(&begun(number));
        recorder.record(entry(number));
    }
    fs::rename(place.folder.path().join("gone"), &place.setup.folder).unwrap();
    recorder.journal().unwrap().begin(&begun(20));
    run(writer).await;
    drop(recorder);
    place.look(&store).await;
    assert_eq!(rows(&store).await, (1..20).map(entry).chain([begun(20)]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_at_the_start() {
    let (place, store) = (Place::new(), testing::sqlite().await);
    let file = place.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let setup = Setup { folder: file.clone(), ..place.setup.clone() };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let opened = Tenancy::open((*store).clone(), Clock::system(), options(Some(setup)), &tracker, stop).await;
    let error = opened.unwrap_err();
    assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, Some("store.journal")));
    assert!(error.message().contains(&*file.to_string_lossy()), "{error}");
}

#[tokio::test]
async fn a_start_books_what_the_last_one_left_before_it_serves() {
    for store in testing::stores().await {
        let place = Place::new();
        let dead = place.open();
        dead.begin(&begun(1));
        let name = dead.writer().to_owned();
        drop(dead);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let setup = Some(place.setup.clone());
        let tenancy =
            Tenancy::open((*store).clone(), Clock::manual(AT), options(setup), &tracker, stop.clone()).await.unwrap();
        assert_eq!(rows(&store).await, [begun(1)]);
        assert_ne!(tenancy.writer(), Some(&*name));
        assert_eq!((tenancy.take_dead(), tenancy.take_dead()), (vec![name], vec![]), "it is told once");
        tenancy.begin(&begun(2));
        tenancy.record(entry(2));
        tenancy.flush().await;
        assert_eq!(rows(&store).await, [begun(1), entry(2)]);
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        drop(tenancy);
        assert!(place.files("journal").is_empty() && place.files("lock").is_empty());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u64),
    Settle(u64),
    Spill(u64),
    Discard(u64),
    Store,
    Recall,
    Carry,
    Retire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40_u64).prop_map(Step::Begin),
        8 => (0..40_u64).prop_map(Step::Settle),
        2 => (0..40_u64).prop_map(Step::Spill),
        1 => (0..40_u64).prop_map(Step::Discard),
        3 => Just(Step::Store),
        1 => Just(Step::Recall),
        1 => Just(Step::Carry),
        1 => Just(Step::Retire),
    ]
}

/// What is known of each call from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Settled,
    Discarded,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn wherever_a_process_dies_the_store_and_its_journal_have_every_call_once(steps in prop::collection::vec(step(), 1..200)) {
        let place = Place::new();
        let journal = place.open();
        let mut fates: BTreeMap<u64, Fate> = BTreeMap::new();
        let mut stored: BTreeSet<u64> = BTreeSet::new();
        let mut queue: Vec<(u64, Mark)> = Vec::new();
        for step in steps {
            match step {
                Step::Begin(n) if matches!(fates.get(&n), None | Some(Fate::Open)) => {
                    journal.begin(&begun(n));
                    fates.insert(n, Fate::Open);
                }
                Step::Settle(n) if matches!(fates.get(&n), None | Some(Fate::Open)) => {
                    queue.push((n, in_memory(&journal, entry(n))));
                    fates.insert(n, Fate::Settled);
                }
                Step::Spill(n) if matches!(fates.get(&n), None | Some(Fate::Open)) => {
                    assert_eq!(journal.settle(entry(n), |_, _| false), Kept::OnDisk);
                    fates.insert(n, Fate::Settled);
                }
                Step::Discard(n) if fates.get(&n) == Some(&Fate::Open) => {
                    journal.discard(&entry(n).id);
                    fates.insert(n, Fate::Discarded);
                }
                Step::Store => {
                    stored.extend(queue.iter().map(|(n, _)| *n));
                    journal.release(queue.drain(..).map(|(_, mark)| mark));
                }
                Step::Recall => {
                    let spilled = journal.lock().spilled();
                    if let Some((spill, path)) = spilled {
                        let (read, is_damaged) = read_part(&path, spill.from, spill.to).unwrap();
                        assert!(!is_damaged && read.len() as u64 >= spill.entries);
                        stored.extend(read.iter().map(|entry| entry.input_tokens));
                        journal.recalled(spill);
                    }
                }
                Step::Carry => journal.carry().unwrap(),
                Step::Retire => journal.lock().retire(),
                _ => {}
            }
        }
        let mut found = replay::Found::default();
        for path in place.files("journal") {
            let (records, is_damaged) = replay::read(&path).unwrap();
            assert!(!is_damaged);
            for record in records {
                found.take(record);
            }
        }
        let settled: BTreeSet<u64> = found.group.iter().map(|entry| entry.input_tokens).chain(stored).collect();
        let open: BTreeSet<u64> = found.open.values().map(|entry| entry.input_tokens).collect();
        let of = |fate| -> BTreeSet<u64> { fates.iter().filter(|(_, is)| **is == fate).map(|(n, _)| *n).collect() };
        prop_assert_eq!(settled, of(Fate::Settled));
        prop_assert_eq!(open, of(Fate::Open));
    }
}

fn options(journal: Option<super::Setup>) -> crate::tenancy::Options {
    crate::tenancy::Options { journal, ..crate::tenancy::Options::new(Metrics::new().unwrap()) }
}
