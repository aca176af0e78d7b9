//! How many bytes a second each part of the dump's stream handles, over a generated dump that has the proportions of
//! `tests/data/bench-db.sql`: `cargo bench`, or `cargo bench -- inspector` for one of them. The parts together, with a
//! database before them and a disk behind them, are for `scripts/bench.sh`.
#![expect(clippy::expect_used, reason = "a benchmark that cannot run has nothing better to do than to end")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, Cursor};
use std::sync::Arc;

use amarre::domain::compression::Compression;
use amarre::dump::{BLOCK, DumpWriter, Inspector, Options, Progress, chunks, measure, prove};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use memchr::memchr_iter;
use tokio::runtime::Runtime;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of SQL, about: large enough to fill every queue and leave the caches, small enough for minutes in all.
const SIZE: usize = 48 * 1024 * 1024;
const FORMATS: [&str; 7] = ["none", "gzip:1", "gzip:2", "gzip:6", "gzip:9", "zstd:1", "zstd:3"];

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let dump = generated();
    inspector(&mut criterion, &dump);
    digest(&mut criterion, &dump);
    compressor(&mut criterion, &dump);
    reader(&mut criterion, &dump);
    whole(&mut criterion, &dump);
    criterion.final_summary();
}

/// One core, in the pieces that a lane delivers.
fn inspector(criterion: &mut Criterion, dump: &Bytes) {
    let mut group = criterion.benchmark_group("inspector");
    group.throughput(Throughput::Bytes(dump.len() as u64));
    group.bench_function("dump", |bencher| {
        bencher.iter(|| {
            let mut inspector = Inspector::new();
            dump.chunks(BLOCK).for_each(|piece| inspector.feed(piece));
            let scan = inspector.finish();
            scan.complete().expect("a whole dump");
            scan
        });
    });
    group.finish();
}

fn digest(criterion: &mut Criterion, dump: &Bytes) {
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes(dump.len() as u64));
    group.bench_function("rows", |bencher| bencher.iter(|| rows(black_box(dump))));
    group.bench_function("sha256", |bencher| bencher.iter(|| measure(black_box(dump))));
    group.finish();
}

/// What the inspector cannot do without: find the lines, hash each, add them up.
fn rows(dump: &[u8]) -> u128 {
    let mut start = 0;
    memchr_iter(b'\n', dump).fold(0, |sum: u128, end| {
        let row = &dump[start..end];
        start = end + 1;
        sum.wrapping_add(xxh3_128(row))
    })
}

/// One worker: the inspector works beside it, on a core of its own.
fn compressor(criterion: &mut Criterion, dump: &Bytes) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("compressor");
    group.throughput(Throughput::Bytes(dump.len() as u64));
    for format in FORMATS {
        let options = options(format, 1);
        group.bench_function(BenchmarkId::from_parameter(format), |bencher| {
            bencher.iter(|| write(&runtime, dump, options, io::sink()));
        });
    }
    group.finish();
}

/// Unpacking alone, on one worker.
fn reader(criterion: &mut Criterion, dump: &Bytes) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("reader");
    group.throughput(Throughput::Bytes(dump.len() as u64));
    for format in ["gzip:2", "gzip:6", "zstd:1"] {
        let stored = Bytes::from(write(&runtime, dump, options(format, 1), Vec::new()));
        group.bench_function(BenchmarkId::from_parameter(format), |bencher| {
            bencher.iter(|| unpack(&stored));
        });
    }
    group.finish();
}

fn unpack(stored: &Bytes) -> usize {
    let reader = Cursor::new(stored.clone());
    let pieces = chunks(reader, Vec::new(), 1, &mut Default::default()).expect("a stored dump");
    pieces.map(|piece| piece.expect("whole members").len()).sum()
}

/// All stages together, as a backup and `verify` run them, but for the database and the disk.
fn whole(criterion: &mut Criterion, dump: &Bytes) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("whole");
    group.throughput(Throughput::Bytes(dump.len() as u64));
    for format in ["gzip", "zstd", "none"] {
        let options = options(format, Options::default().workers);
        let stored = Bytes::from(write(&runtime, dump, options, Vec::new()));
        group.bench_function(BenchmarkId::new("writer", format), |bencher| {
            bencher.iter(|| write(&runtime, dump, options, io::sink()));
        });
        group.bench_function(BenchmarkId::new("prove", format), |bencher| {
            bencher.iter(|| {
                let reader = Cursor::new(stored.clone());
                let progress = Arc::<Progress>::default();
                prove(reader, None, options.workers, &progress, &mut Default::default()).expect("a whole dump")
            });
        });
    }
    group.finish();
}

fn options(format: &str, workers: usize) -> Options {
    Options { workers, compression: format.parse::<Compression>().expect("a format with a level it has") }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

fn write<W: io::Write + Send + 'static>(runtime: &Runtime, dump: &Bytes, options: Options, out: W) -> W {
    runtime.block_on(async {
        let mut writer = DumpWriter::start(out, options, Arc::default(), None).expect("threads");
        for start in (0..dump.len()).step_by(BLOCK) {
            let piece = dump.slice(start..dump.len().min(start + BLOCK));
            writer.feed(piece).await.expect("an open writer");
        }
        let written = writer.finish().await.expect("a written dump");
        written.scan.complete().expect("a whole dump");
        written.out
    })
}

/// The same bytes each time: sites (3 in 100), time entries (81) and documents (16).
fn generated() -> Bytes {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut sql = String::with_capacity(SIZE + 64 * 1024);
    sql.push_str("--\n-- PostgreSQL database dump\n--\n\nSET standard_conforming_strings = on;\n\n");
    table(&mut sql, "sites", "id, nom, meta", SIZE / 100 * 3, |row, number| {
        let (id, city, tag) = (random.uuid(), random.hex(32), random.hex(32));
        let _ =
            writeln!(row, "{id}\tchantier {number}\t{{\"n\": {number}, \"tags\": [\"{tag}\"], \"ville\": \"{city}\"}}");
    });
    table(&mut sql, "pointages", "id, site_id, debut, fin, commentaire", SIZE / 100 * 81, |row, number| {
        let (id, site, text) = (random.uuid(), random.uuid(), random.hex(32));
        let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
        let letter = char::from(b'a' + u8::try_from(number % 26).unwrap_or_default());
        let padding = letter.to_string().repeat(20);
        let time = format!("{minute:02}:{second:02}.271828+00");
        let later = (hour + 1) % 24;
        let _ = writeln!(
            row,
            "{id}\t{site}\t2026-03-14 {hour:02}:{time}\t2026-03-14 {later:02}:{time}\tpointage {text} {padding}"
        );
    });
    table(&mut sql, "docs", "id, contenu", SIZE / 100 * 16, |row, number| {
        let _ = writeln!(row, "{number}\t\\\\x{}", random.hex(32_000));
    });
    sql.push_str("\n--\n-- PostgreSQL database dump complete\n--\n\n");
    Bytes::from(sql)
}

/// A table whose rows have about `bytes` bytes.
fn table(sql: &mut String, name: &str, columns: &str, bytes: usize, mut row: impl FnMut(&mut String, usize)) {
    let _ = write!(sql, "CREATE TABLE public.{name} ({});\n\n", columns.replace(',', " text,") + " text");
    let _ = write!(
        sql,
        "--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: public; Owner: -\n--\n\nCOPY public.{name} ({columns}) FROM stdin;\n"
    );
    let (end, mut number) = (sql.len() + bytes, 1);
    while sql.len() < end {
        row(sql, number);
        number += 1;
    }
    sql.push_str("\\.\n\n\n");
}

/// xorshift64: no dependency, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            let _ = write!(text, "{:016x}", self.next());
        }
        text.truncate(digits);
        text
    }

    fn uuid(&mut self) -> String {
        let digits = self.hex(32);
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..]);
        format!("{a}-{b}-4{c}-8{d}-{e}")
    }
}
