//! Tests of writing, reading and proving whole files.

use std::io::{self, Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::tests::fixture;
use super::{
    Clocks, DumpWriter, End, Error, Format, MIN_STORED, Options, Progress, Written, check_size, chunks, prove,
};
use crate::domain::compression::Compression;
use crate::domain::manifest::Measure;

const GZIP: Compression = Compression::Gzip { level: 2 };

fn measure(bytes: &[u8]) -> Measure {
    let sha256 = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    Measure { bytes: bytes.len() as u64, sha256 }
}

async fn write_with(options: Options, dump: &[u8], chunk: usize) -> Written<Vec<u8>> {
    let mut writer = DumpWriter::start(Vec::new(), options, Arc::default(), None).unwrap();
    for chunk in dump.chunks(chunk) {
        writer.feed(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn write(dump: &[u8]) -> Written<Vec<u8>> {
    write_with(Options { workers: 2, compression: GZIP }, dump, 60_000).await
}

fn proof_of(file: &[u8]) -> Result<super::Proof, Error> {
    prove_to(file, None)
}

fn prove_to(file: &[u8], limit: Option<u64>) -> Result<super::Proof, Error> {
    prove(io::Cursor::new(file.to_vec()), limit, 2, &Arc::default(), &mut Clocks::default())
}

/// The SQL of a file without these ranges, in pieces.
fn pieces(file: &[u8], skip: Vec<std::ops::Range<u64>>) -> super::Chunks {
    chunks(io::Cursor::new(file.to_vec()), skip, 2, &mut Clocks::default()).unwrap()
}

/// A dump of `megabytes` of rows that compress like names and numbers do.
fn large(megabytes: usize) -> Vec<u8> {
    let mut dump = b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a, b) FROM stdin;\n".to_vec();
    let mut number = 1_u64;
    while dump.len() < megabytes << 20 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        writeln!(dump, "{}\tchantier {:x} {}\t2024-05-0{}", number >> 40, number >> 30, number % 97, number % 9)
            .unwrap();
    }
    dump.extend_from_slice(b"\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
    dump
}

#[tokio::test]
async fn what_is_written_is_what_is_proven() {
    for dump in [fixture("dumps/hostile-17.sql"), fixture("pagila.sql"), large(9)] {
        let written = write(&dump).await;
        assert_eq!(written.plain, measure(&dump));
        assert_eq!(written.stored, measure(&written.out));
        assert_eq!(written.scan.end, End::Complete);
        let proof = proof_of(&written.out).unwrap();
        assert_eq!((proof.stored, proof.plain, proof.format), (written.stored, written.plain, Format::Gzip));
        assert_eq!(proof.scan, written.scan);
    }
}

#[tokio::test]
async fn the_file_does_not_depend_on_workers_or_chunks() {
    let dump = large(5);
    let reference = write(&dump).await.out;
    for (workers, chunk) in [(1, 1000), (3, 4 << 20), (6, 65_536), (0, 1 << 20)] {
        assert!(
            write_with(Options { workers, compression: GZIP }, &dump, chunk).await.out == reference,
            "{workers} {chunk}"
        );
    }
}

#[tokio::test]
async fn members_can_be_found_by_their_lengths() {
    let dump = large(5);
    let file = write(&dump).await.out;
    let (mut at, mut plain) = (0, Vec::new());
    while at < file.len() {
        assert_eq!(&file[at + 12..at + 14], b"AM");
        let length = u32::from_le_bytes(file[at + 16..at + 20].try_into().unwrap()) as usize;
        let before = plain.len();
        flate2::read::GzDecoder::new(&file[at..at + length]).read_to_end(&mut plain).unwrap();
        assert!(plain.len() - before <= super::BLOCK);
        at += length;
    }
    assert!(plain == dump);
}

#[tokio::test]
async fn gunzip_zcat_and_python_read_it() {
    let dump = large(3);
    let file = write(&dump).await.out;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sql.gz");
    std::fs::write(&path, &file).unwrap();
    let python = "import gzip,sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";
    let mut read = 0;
    for argv in [vec!["gunzip", "-c"], vec!["zcat"], vec!["python3", "-c", python]] {
        let Ok(output) = Command::new(argv[0]).args(&argv[1..]).arg(&path).output() else { continue };
        assert!(output.status.success() && output.stdout == dump, "{argv:?}");
        read += 1;
    }
    assert!(read > 0, "none of the programs is here");
    assert!(Command::new("gzip").arg("-tv").arg(&path).output().unwrap().status.success());
}

#[tokio::test]
async fn progress_is_seen_from_outside() {
    let progress = Arc::new(Progress::default());
    let mut writer = DumpWriter::start(Vec::new(), Options::default(), Arc::clone(&progress), None).unwrap();
    let dump = large(2);
    for chunk in dump.chunks(50_000) {
        writer.feed(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    let written = writer.finish().await.unwrap();
    assert_eq!(progress.table(), "public.t");
    assert_eq!((progress.plain_bytes(), progress.stored_bytes()), (dump.len() as u64, written.stored.bytes));
}

/// A file whose writing fails or waits, and that says when it is dropped.
struct Faulty {
    left: usize,
    gate: Option<Arc<(Mutex<bool>, Condvar)>>,
    dropped: Arc<AtomicBool>,
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            let mut open = gate.0.lock().unwrap();
            while !*open {
                open = gate.1.wait(open).unwrap();
            }
        }
        if bytes.len() > self.left {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

fn onto(file: Faulty) -> DumpWriter<Faulty> {
    let options = Options { workers: 2, compression: Compression::Gzip { level: 1 } };
    DumpWriter::start(file, options, Arc::default(), None).unwrap()
}

#[tokio::test]
async fn fault_35_a_full_disk_comes_back_to_whoever_feeds() {
    let dump = large(12);
    for left in [0, 10, 400_000, 1_000_000] {
        let dropped = Arc::new(AtomicBool::new(false));
        let file = Faulty { left, gate: None, dropped: Arc::clone(&dropped) };
        let mut writer = onto(file);
        let mut result = Ok(());
        for chunk in dump.chunks(100_000) {
            result = writer.feed(Bytes::copy_from_slice(chunk)).await;
            if result.is_err() {
                break;
            }
        }
        let error = match result {
            Err(error) => error,
            Ok(()) => writer.finish().await.err().expect("the disk is full"),
        };
        assert!(matches!(&error, Error::Write { source } if source.kind() == io::ErrorKind::StorageFull), "{error:?}");
        assert!(dropped.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn fault_35_a_disk_that_is_full_at_the_end_fails_the_finish() {
    let file = Faulty { left: 100, gate: None, dropped: Arc::default() };
    let mut writer = DumpWriter::start(file, Options::default(), Arc::default(), None).unwrap();
    writer.feed(Bytes::from(fixture("dumps/hostile-17.sql"))).await.unwrap();
    assert!(matches!(writer.finish().await, Err(Error::Write { .. })));
}

#[tokio::test]
async fn feeding_waits_for_a_slow_disk_and_an_abandoned_writer_lets_go() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let dropped = Arc::new(AtomicBool::new(false));
    let file = Faulty { left: usize::MAX, gate: Some(Arc::clone(&gate)), dropped: Arc::clone(&dropped) };
    let mut writer = onto(file);
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    let mut taken = 0;
    // The disk takes nothing, so sooner or later a chunk has to wait: with a deadline, not with a count.
    while tokio::time::timeout(std::time::Duration::from_millis(500), writer.feed(chunk.clone())).await.is_ok() {
        taken += 1;
        assert!(taken < 40, "memory is not bounded");
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    writer.abort().await;
    assert!(dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn fault_30_a_dump_of_nothing_is_valid_gzip_and_refused() {
    let empty = write(b"").await;
    assert_eq!(empty.scan.end, End::Empty);
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(empty.out.as_slice()).read_to_end(&mut out).unwrap();
    assert_eq!(out, b"");
    assert!(matches!(check_size(empty.stored.bytes, &empty.scan), Err(Error::Tiny { .. })));
    assert!(matches!(proof_of(&empty.out), Err(Error::Incomplete { end: End::Empty })));

    let failed = write(b"pg_dump: error: no such database\n").await;
    assert!(matches!(check_size(failed.stored.bytes, &failed.scan), Err(Error::Tiny { .. })));

    let nothing = write(&fixture("dumps/empty-17.sql")).await;
    assert!(nothing.stored.bytes < MIN_STORED);
    assert!(matches!(check_size(nothing.stored.bytes, &nothing.scan), Err(Error::NothingInside { .. })));
    assert!(proof_of(&nothing.out).is_ok(), "the dump itself is whole");
}

#[tokio::test]
async fn fault_30_a_small_database_is_not_refused() {
    let text = "--\n-- PostgreSQL database dump\n--\n\n-- Name: t; Type: TABLE; Schema: s; Owner: o\n\
                CREATE TABLE s.t (a integer);\n--\n-- PostgreSQL database dump complete\n--\n";
    let small = write(text.as_bytes()).await;
    assert!(small.stored.bytes > MIN_STORED, "{}", small.stored.bytes);
    assert!(check_size(small.stored.bytes, &small.scan).is_ok());
    assert_eq!(proof_of(&small.out).unwrap().plain, measure(text.as_bytes()));
}

#[tokio::test]
async fn fault_32_a_truncated_file_is_refused_at_every_length() {
    let file = write(&fixture("dumps/hostile-17.sql")).await.out;
    for length in 1..file.len() {
        let error = proof_of(&file[..length]).unwrap_err();
        // One byte of magic is not enough to call it gzip: it is a short text then.
        let named = matches!(error, Error::Truncated { offset } if offset == length as u64);
        assert!(named || length < 2, "{length}: {error:?}");
    }
    let several = write(&large(3)).await.out;
    let second = u32::from_le_bytes(several[16..20].try_into().unwrap()) as usize;
    assert!(matches!(proof_of(&several[..second]), Err(Error::Incomplete { end: End::InData { .. } })));
    assert!(matches!(proof_of(&several[..second + 1]), Err(Error::Truncated { .. })));
    assert!(matches!(proof_of(&several[..second + 500]), Err(Error::Truncated { .. })));
}

#[tokio::test]
async fn fault_32_trailing_garbage_is_refused() {
    let file = write(&fixture("dumps/hostile-17.sql")).await.out;
    for garbage in [b"x".as_slice(), b"\0", &[0; 512], b"PK\x03\x04", b"\x1f\x8c"] {
        let with = [&file, garbage].concat();
        let error = proof_of(&with).unwrap_err();
        assert!(matches!(error, Error::TrailingGarbage { offset } if offset == file.len() as u64), "{error:?}");
    }
    for garbage in [b"\x1f".as_slice(), b"\x1f\x8b\x08"] {
        assert!(matches!(proof_of(&[&file, garbage].concat()), Err(Error::Truncated { .. })));
    }
    assert!(matches!(proof_of(&[&file, b"\x1f\x8b\x09xxxxxxxxx".as_slice()].concat()), Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn fault_32_a_bad_checksum_and_a_bad_length_are_refused() {
    let file = write(&fixture("dumps/hostile-17.sql")).await.out;
    let flipped = |at: usize| {
        let mut file = file.clone();
        file[at] ^= 1;
        proof_of(&file)
    };
    assert!(matches!(flipped(file.len() - 8), Err(Error::BadCrc { offset: 0 })));
    assert!(matches!(flipped(file.len() - 4), Err(Error::BadLength { offset: 0 })));
    assert!(matches!(flipped(file.len() - 1), Err(Error::BadLength { offset: 0 })));
    let whole = proof_of(&file).unwrap();
    for at in 20..file.len() - 8 {
        match flipped(at) {
            Err(Error::Corrupt { .. } | Error::BadCrc { .. } | Error::Truncated { .. }) => {}
            Err(Error::BadLength { .. } | Error::TrailingGarbage { .. }) => {}
            Err(other) => panic!("{at}: {other:?}"),
            // In what repeats itself, another distance can mean the same bytes: then only the file's own hash tells.
            Ok(proof) => assert!(proof.plain == whole.plain && proof.stored != whole.stored, "{at}"),
        }
    }
}

#[test]
fn fault_32_several_members_of_other_programs_are_read_whole() {
    let dump = fixture("pagila.sql");
    let mut file = Vec::new();
    for part in dump.chunks(1_000_000) {
        let mut encoder = flate2::GzBuilder::new()
            .filename("x.sql")
            .comment("c")
            .extra(vec![1, 2, 3])
            .write(file, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        file = encoder.finish().unwrap();
    }
    let proof = proof_of(&file).unwrap();
    assert_eq!((proof.plain, proof.stored), (measure(&dump), measure(&file)));
    assert_eq!(proof.scan.content.rows(), 46_273);
}

#[test]
fn plain_files_are_read_and_others_named() {
    let dump = fixture("pagila.sql");
    let proof = proof_of(&dump).unwrap();
    assert_eq!((proof.format, &proof.plain), (Format::Plain, &proof.stored));
    assert_eq!(proof.plain, measure(&dump));
    for (magic, name) in [(b"\xfd7zXZ\0xx".as_slice(), "xz"), (b"PGDMP\x01\x0e\x00", "pg_dump custom")] {
        assert!(matches!(proof_of(magic), Err(Error::Unsupported { format }) if format == name));
    }
}

#[test]
fn fault_33_a_bomb_is_stopped_at_the_length_of_the_manifest() {
    // 256 MiB of zeros in a quarter of a megabyte, counted as they come out.
    struct Zeros(u64);
    impl Read for Zeros {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(usize::try_from(self.0).unwrap());
            out[..count].fill(b' ');
            self.0 -= count as u64;
            Ok(count)
        }
    }
    let mut bomb = Vec::new();
    flate2::read::GzEncoder::new(Zeros(256 << 20), flate2::Compression::best()).read_to_end(&mut bomb).unwrap();
    let progress = Arc::new(Progress::default());
    let limit = 1_000_000;
    let error = prove(io::Cursor::new(bomb), Some(limit), 2, &progress, &mut Clocks::default()).unwrap_err();
    assert!(matches!(error, Error::TooLong { limit: 1_000_000 }), "{error:?}");
    assert!(progress.plain_bytes() <= limit);
}

#[tokio::test]
async fn fault_33_a_file_of_just_the_allowed_length_passes() {
    let dump = large(2);
    let file = write(&dump).await.out;
    let length = dump.len() as u64;
    assert!(prove_to(&file, Some(length)).is_ok());
    assert!(matches!(prove_to(&file, Some(length - 1)), Err(Error::TooLong { .. })));
}

#[tokio::test]
async fn fault_34_a_valid_gzip_with_cut_sql_is_refused() {
    let dump = fixture("pagila.sql");
    let row = dump.len() / 2;
    let cut = write(&dump[..row]).await;
    assert!(cut.scan.complete().is_err());
    let mut whole = Vec::new();
    flate2::read::MultiGzDecoder::new(cut.out.as_slice()).read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len(), row, "gzip finds nothing wrong");
    assert!(matches!(proof_of(&cut.out), Err(Error::Incomplete { end: End::InData { .. } })));
}

#[tokio::test]
async fn chunks_give_the_sql_without_what_is_left_out() {
    for name in ["dumps/hostile-17-create.sql", "pagila.sql"] {
        let dump = fixture(name);
        let written = write(&dump).await;
        let mut expected = dump.clone();
        for range in written.scan.skip.iter().rev() {
            expected.drain(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
        }
        let mut iterator = pieces(&written.out, written.scan.skip.clone());
        let loaded: Vec<u8> = iterator.by_ref().flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        assert!(loaded == expected, "{name}");
        assert_eq!(iterator.measures().unwrap(), (written.stored, written.plain));
    }
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges, some with one")]
fn ranges_are_left_out_wherever_they_lie() {
    let dump: Vec<u8> = (0..1_000_000_u32).map(|i| b'a' + u8::try_from(i % 23).unwrap()).collect();
    for skip in [
        vec![],
        vec![0..10, 10..20, 500_000..500_001],
        vec![262_140..262_150, 262_143..262_145],
        vec![100_000..900_000],
        vec![999_999..1_000_000],
        vec![0..1_000_000],
    ] {
        let keep = |at: u64| !skip.iter().any(|range| range.contains(&at));
        let expected: Vec<u8> = (0_u64..).zip(&dump).filter(|(at, _)| keep(*at)).map(|(_, byte)| *byte).collect();
        let loaded: Vec<u8> = pieces(&dump, skip.clone()).flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        assert!(loaded == expected, "{skip:?}");
    }
}

#[tokio::test]
async fn chunks_end_with_the_error_of_a_damaged_file() {
    let mut file = write(&large(3)).await.out;
    let middle = file.len() / 2;
    file.truncate(middle);
    let items: Vec<_> = pieces(&file, vec![]).collect();
    assert!(matches!(items.last(), Some(Err(Error::Truncated { .. }))));
    assert_eq!(items.iter().filter(|item| item.is_err()).count(), 1);
}

#[test]
fn a_disk_that_cannot_be_read_is_named() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    assert!(matches!(proof_of_reader(Broken), Err(Error::Read { source }) if source.to_string() == "bad sector"));
}

fn proof_of_reader(reader: impl Read + Send + 'static) -> Result<super::Proof, Error> {
    prove(reader, None, 2, &Arc::default(), &mut Clocks::default())
}
