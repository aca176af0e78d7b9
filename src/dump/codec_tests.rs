//! Tests of the formats, and of the proof that follows the writer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::tests::fixture;
use super::{
    BLOCK, Clocks, DumpWriter, Echo, Error, Format, MIN_STORED, Options, Proof, Written, check_size, measure, prove,
};
use crate::domain::compression::Compression;

const ALL: [Compression; 5] = [
    Compression::Gzip { level: 2 },
    Compression::Gzip { level: 6 },
    Compression::Zstd { level: 1 },
    Compression::Zstd { level: 9 },
    Compression::None,
];

/// Rows with names, then rows of hexadecimal digits, then names again.
fn rows(megabytes: usize) -> Vec<u8> {
    let mut dump = b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a, b) FROM stdin;\n".to_vec();
    let mut number = 1_u64;
    while dump.len() < megabytes << 20 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if (megabytes << 18..megabytes << 19).contains(&dump.len()) {
            writeln!(dump, "{:08x}{:08x}", number >> 32, number.rotate_left(17) >> 32).unwrap();
        } else {
            writeln!(dump, "{}\tchantier {:x} {}\t2024-05-0{}", number >> 40, number >> 30, number % 97, number % 9)
                .unwrap();
        }
    }
    dump.extend_from_slice(b"\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
    dump
}

async fn write_to<W: Write + Send + 'static>(
    out: W,
    compression: Compression,
    dump: &[u8],
    piece: usize,
    echo: Option<Echo>,
) -> Result<Written<W>, Error> {
    let options = Options { workers: 2, compression };
    let mut writer = DumpWriter::start(out, options, Arc::default(), echo)?;
    let dump = Bytes::copy_from_slice(dump);
    for at in (0..dump.len()).step_by(piece) {
        writer.feed(dump.slice(at..dump.len().min(at + piece))).await?;
    }
    writer.finish().await
}

async fn written(compression: Compression, dump: &[u8]) -> Vec<u8> {
    write_to(Vec::new(), compression, dump, 300_000, None).await.unwrap().out
}

fn proof_of(file: &[u8]) -> Result<Proof, Error> {
    prove(io::Cursor::new(file.to_vec()), None, 3, &Arc::default(), &mut Clocks::default())
}

#[tokio::test]
async fn every_format_comes_back_whole() {
    for dump in [rows(5), fixture("dumps/hostile-17.sql"), fixture("dumps/empty-17.sql")] {
        for compression in ALL {
            let file = written(compression, &dump).await;
            let proof = proof_of(&file).unwrap();
            assert_eq!(proof.plain, measure(&dump), "{compression}");
            assert_eq!(proof.stored, measure(&file), "{compression}");
            assert_eq!(proof.format.as_str(), compression.format());
            // Pieces that are whole blocks are not copied: the file is the same.
            for piece in [BLOCK, 3 * BLOCK, 1000] {
                let same = write_to(Vec::new(), compression, &dump, piece, None).await.unwrap();
                assert!(same.out == file, "{compression} {piece}");
            }
        }
    }
}

#[tokio::test]
async fn small_files_are_kept_in_every_format() {
    let text = "--\n-- PostgreSQL database dump\n--\n\n-- Name: t; Type: TABLE; Schema: s; Owner: o\n\
                CREATE TABLE s.t (a integer);\n--\n-- PostgreSQL database dump complete\n--\n";
    for compression in ALL {
        let small = write_to(Vec::new(), compression, text.as_bytes(), 100, None).await.unwrap();
        assert!(check_size(small.stored.bytes, &small.scan).is_ok(), "{compression}");
        assert!(small.stored.bytes > MIN_STORED || compression == Compression::None, "{compression}");
        assert_eq!(proof_of(&small.out).unwrap().plain, measure(text.as_bytes()));
    }
}

fn run(argv: &[&str], path: &std::path::Path) -> Option<Vec<u8>> {
    let output = Command::new(argv[0]).args(&argv[1..]).arg(path).output().ok()?;
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

#[tokio::test]
async fn other_programs_read_every_format() {
    let dump = rows(4);
    let folder = tempfile::tempdir().unwrap();
    let python = "import gzip,sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())";
    let gzip: [&[&str]; 5] =
        [&["gunzip", "-c"], &["zcat"], &["pigz", "-dc"], &["python3", "-c", python], &["zstd", "-dcq"]];
    for compression in ALL {
        let path = folder.path().join(format!("x{}", compression.extension()));
        std::fs::write(&path, written(compression, &dump).await).unwrap();
        let programs = match compression {
            Compression::Gzip { .. } => &gzip[..4],
            Compression::Zstd { .. } => &gzip[4..],
            Compression::None => &[&["cat"][..]],
        };
        let outputs: Vec<_> = programs.iter().filter_map(|argv| run(argv, &path)).collect();
        assert!(outputs.iter().all(|out| *out == dump), "{compression}");
        // `zstd` is not everywhere; gzip and cat are.
        assert!(!outputs.is_empty() || matches!(compression, Compression::Zstd { .. }), "{compression}");
    }
}

#[tokio::test]
async fn blocks_of_random_digits_are_stored_as_literals_and_smaller() {
    let dump = rows(4);
    let ours = written(Compression::Gzip { level: 1 }, &dump[BLOCK..2 * BLOCK]).await;
    let mut theirs = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    theirs.write_all(&dump[BLOCK..2 * BLOCK]).unwrap();
    assert!(ours.len() < theirs.finish().unwrap().len());
}

#[test]
fn zstd_of_others_is_read() {
    let dump = rows(3);
    let stream = |dump: &[u8], level| {
        // Without its size, as `zstd` writes what comes through a pipe.
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(dump).unwrap();
        encoder.finish().unwrap()
    };
    let (first, rest) = dump.split_at(1_234_567);
    let bulk = |dump: &[u8]| ::zstd::bulk::compress(dump, 3).unwrap();
    let skippable = b"\x5a\x2a\x4d\x18\x05\0\0\0hello".to_vec();
    for file in [
        stream(&dump, 3),
        [stream(first, 1), stream(b"", 1), bulk(rest)].concat(),
        [skippable.clone(), bulk(&first[..500_000]), bulk(&first[500_000..]), skippable, stream(rest, 9)].concat(),
    ] {
        let proof = proof_of(&file).unwrap();
        assert_eq!((proof.plain, proof.stored), (measure(&dump), measure(&file)));
        assert_eq!(proof.format, Format::Zstd);
    }
}

#[tokio::test]
async fn fault_32_a_damaged_zstd_file_is_refused() {
    let dump = rows(2);
    let file = written(Compression::Zstd { level: 1 }, &dump).await;
    for length in (1..file.len()).step_by(997) {
        let error = proof_of(&file[..length]).unwrap_err();
        let named = matches!(error, Error::Truncated { .. } | Error::Incomplete { .. } | Error::Corrupt { .. });
        assert!(named, "{length}: {error:?}");
    }
    let whole = measure(&dump);
    for at in (4..file.len()).step_by(1009) {
        let mut flipped = file.clone();
        flipped[at] ^= 0x10;
        match proof_of(&flipped) {
            Err(_) => {}
            // The seek table is for others: nothing here depends on it, and the file's own hash tells.
            Ok(proof) => assert!(proof.plain == whole && proof.stored != measure(&file), "{at}"),
        }
    }
    let error = proof_of(&[&file[..], b"garbage"].concat()).unwrap_err();
    assert!(matches!(error, Error::TrailingGarbage { offset } if offset == file.len() as u64), "{error:?}");
}

#[tokio::test]
async fn fault_32_a_member_with_a_wrong_length_is_refused() {
    let mut file = written(Compression::Gzip { level: 2 }, &rows(3)).await;
    for length in [29_u32, 1000, 1_100_000] {
        file[16..20].copy_from_slice(&length.to_le_bytes());
        assert!(proof_of(&file).is_err(), "{length}");
    }
}

/// A file on disk, and what follows its writer.
struct Disk {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    file: File,
    syncs: Arc<AtomicUsize>,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let file = File::create(&path).unwrap();
        Self { _folder: folder, path, file, syncs: Arc::default() }
    }

    fn out(&self) -> File {
        self.file.try_clone().unwrap()
    }

    fn echo(&self, reader: impl Read + Send + 'static) -> Echo {
        let (file, syncs) = (self.out(), Arc::clone(&self.syncs));
        let sync = move || {
            syncs.fetch_add(1, Ordering::SeqCst);
            file.sync_data()
        };
        Echo { reader: Box::new(reader), sync: Box::new(sync), proven: Box::new(|_, _| {}) }
    }

    fn reader(&self) -> File {
        File::open(&self.path).unwrap()
    }
}

#[tokio::test]
async fn the_proof_follows_the_writer() {
    let dump = rows(80);
    for compression in ALL {
        let disk = Disk::new();
        let echo = disk.echo(disk.reader());
        let written = write_to(disk.out(), compression, &dump, BLOCK, Some(echo)).await.unwrap();
        let file = std::fs::read(&disk.path).unwrap();
        assert_eq!(written.stored, measure(&file), "{compression}");
        assert_eq!(written.plain, measure(&dump));
        let expected = if compression == Compression::None { 4 } else { 1 };
        assert!(disk.syncs.load(Ordering::SeqCst) >= expected, "{compression}: in parts, and the rest at the end");
    }
}

/// Reads a file in which a byte is another one.
struct Flips(File, usize);

impl Read for Flips {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        if self.1 < count {
            out[self.1] ^= 1;
        }
        self.1 = self.1.wrapping_sub(count);
        Ok(count)
    }
}

#[tokio::test]
async fn what_comes_back_different_is_never_accepted() {
    let dump = rows(3);
    for compression in ALL {
        let length = written(compression, &dump).await.len();
        for at in [0, 25, length / 2, length - 1] {
            let disk = Disk::new();
            let echo = disk.echo(Flips(disk.reader(), at));
            let error = write_to(disk.out(), compression, &dump, 50_000, Some(echo)).await.unwrap_err();
            assert!(matches!(error, Error::ReadBack { .. }), "{compression} {at}: {error:?}");
        }
        for (cut, more) in [(1, 0), (0, 1)] {
            let disk = Disk::new();
            let reader = disk.reader().take((length - cut) as u64).chain(io::Cursor::new(vec![0; more]));
            let error = write_to(disk.out(), compression, &dump, 50_000, Some(disk.echo(reader))).await.unwrap_err();
            assert!(matches!(error, Error::ReadBack { .. }), "{compression}: {error:?}");
        }
    }
}

#[tokio::test]
async fn fault_36_a_sync_that_fails_on_the_way_fails_the_dump() {
    let disk = Disk::new();
    let mut calls = 0;
    let sync = move || {
        calls += 1;
        if calls == 2 { Err(io::Error::other("write error")) } else { Ok(()) }
    };
    let echo = Echo { reader: Box::new(disk.reader()), sync: Box::new(sync), proven: Box::new(|_, _| {}) };
    let error = write_to(disk.out(), Compression::None, &rows(80), BLOCK, Some(echo)).await.unwrap_err();
    assert!(matches!(&error, Error::Write { source } if source.to_string() == "write error"), "{error:?}");
}

#[tokio::test]
async fn clocks_say_who_waited() {
    let disk = Disk::new();
    let options = Options { workers: 1, compression: Compression::Gzip { level: 12 } };
    let mut writer = DumpWriter::start(disk.out(), options, Arc::default(), Some(disk.echo(disk.reader()))).unwrap();
    let clocks = writer.clocks();
    let dump = rows(8);
    for piece in dump.chunks(BLOCK) {
        writer.feed(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    writer.finish().await.unwrap();
    let timings = clocks.read();
    let names: Vec<_> = timings.stages.iter().map(|stage| stage.name).collect();
    assert_eq!(names, ["read", "inspect", "compress", "write", "sync", "prove"]);
    assert_eq!(timings.slowest().unwrap().name, "compress");
    let stage = |name| timings.stages.iter().find(|stage| stage.name == name).unwrap();
    assert_eq!(stage("read").bytes, dump.len() as u64);
    assert_eq!(stage("compress").bytes, dump.len() as u64);
    assert_eq!(stage("write").bytes, stage("prove").bytes);
    assert!(stage("write").starved > stage("write").busy);
}
