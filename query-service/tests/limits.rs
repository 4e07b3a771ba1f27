//! What one query may use, and that it stops.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use kerntrail_common::period::Period;
use kerntrail_query_engine::output::{Format, Options, write};
use kerntrail_query_engine::{Bounds, Capacity, ErrorKind, Limits, QueryError, QueryStream};
use kerntrail_query_service::history::{self, Tables, TablesError};
use kerntrail_schemas::Table;

use crate::queries::answer;
use crate::rows::{many, principal};

/// Queries without an end, each in the way of another operator.
const ENDLESS: [&str; 5] = [
    // A nested loop that lets nothing out.
    "select count(*) as n from process_events a cross join process_events b cross join process_events c \
     cross join process_events d cross join process_events e where a.pid + b.pid + c.pid + d.pid < e.pid - 5000",
    // A cross product that is only counted.
    "select sum(a.pid + b.pid + c.pid + d.pid + e.pid) as n from process_events a cross join process_events b \
     cross join process_events c cross join process_events d cross join process_events e",
    // A hash join on a key that all rows share, with a filter that lets nothing out.
    "select count(*) as n from (select pid, pid * 0 as k from process_events) a join (select a.pid, a.pid * 0 as k from \
     process_events a cross join process_events b cross join process_events c) b on a.k = b.k and a.pid + b.pid < -1",
    // A recursion.
    "with recursive t(x) as (select 1 union all select x + 1 from t) select count(*) as n from t",
    // A row that becomes many.
    "select count(*) as n from (select unnest(range(0, 1000)) as x from process_events a cross join process_events b) t",
];

/// All rows, then the error if there is one.
pub(crate) async fn drain(mut stream: QueryStream) -> (usize, Option<QueryError>) {
    let mut rows = 0;
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an answer ends with its error");
                return (rows, Some(error));
            }
        }
    }
    (rows, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_runs_too_long_ends_and_frees_its_threads() {
    let stored = many(1_000).await;
    // One place of one thread: a query that went on computing would keep the next from running.
    let one = Capacity { max_running: NonZeroUsize::MIN, threads: NonZeroUsize::MIN, ..Capacity::default() };
    let session = stored.session_of(one, Limits { timeout: Period(Duration::from_secs(240)), ..Limits::default() });
    for endless in ENDLESS {
        let short = Bounds { timeout: Some(Duration::from_millis(300)), max_rows: None };
        let error = match session.query_within(endless, &short).await {
            Ok(stream) => drain(stream).await.1.expect("it has no end"),
            Err(error) => error,
        };
        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Limit), "{endless}: {error}");
        let next = answer(&session, "select count(*) as n from process_events").await;
        assert!(next.contains("1000"), "after {endless}: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_dropped_stops() {
    let stored = many(1_000).await;
    let one = Capacity { max_running: NonZeroUsize::MIN, threads: NonZeroUsize::MIN, ..Capacity::default() };
    let session = stored.session_of(one, Limits::default());
    for endless in ENDLESS {
        drop(session.query(endless).await.unwrap());
        let next = answer(&session, "select count(*) as n from process_events").await;
        assert!(next.contains("1000"), "after {endless}: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_ask_for_less_and_not_for_more() {
    let stored = many(1_000).await;
    let session = stored.session_within(Limits { max_rows: 10, ..Limits::default() });
    let sql = "select pid from process_events";
    for (asked, got) in [(None, 10), (Some(3), 3), (Some(100), 10)] {
        let stream = session.query_within(sql, &Bounds { max_rows: asked, timeout: None }).await.unwrap();
        let (rows, error) = drain(stream).await;
        assert_eq!((rows, error.unwrap().kind()), (got, ErrorKind::Limit), "{asked:?}");
    }
    let session = stored.session_within(Limits { timeout: Period(Duration::from_millis(200)), ..Limits::default() });
    let bounds = Bounds { timeout: Some(Duration::from_secs(3_600)), max_rows: None };
    let error = match session.query_within(ENDLESS[0], &bounds).await {
        Ok(stream) => drain(stream).await.1.unwrap(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_maximum_number_of_rows_is_allowed() {
    let stored = many(1_000).await;
    let session = stored.session_within(Limits { max_rows: 1_000, ..Limits::default() });
    let (rows, error) = drain(session.query("select pid from process_events").await.unwrap()).await;
    assert!((rows, error.is_none()) == (1_000, true));
    let (rows, error) = drain(session.query("select pid from process_events union all select 1").await.unwrap()).await;
    assert_eq!((rows, error.unwrap().kind()), (1_000, ErrorKind::Limit));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_ends() {
    let stored = many(20_000).await;
    let spill = tempfile::tempdir().unwrap();
    let capacity = Capacity { spill_dir: Some(spill.path().join("made/when/needed")), ..Capacity::default() };
    let limits = Limits { memory_bytes: NonZeroUsize::new(1 << 20).unwrap(), ..Limits::default() };
    let session = stored.session_of(capacity, limits);
    let sql = "select array_agg(a.cmd_line || b.cmd_line) as x from process_events a join process_events b on a.pid % 100 = b.pid % 100";
    let text = answer(&session, sql).await;
    assert!(text.contains("the query needs more memory than one query may use"), "{text}");
    assert!(answer(&session, "select count(*) as n from process_events").await.contains("20000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_argument_cannot_make_a_huge_value() {
    let stored = many(1_000).await;
    let session = stored.session();
    for sql in [
        "select repeat('x', 1000000000)",
        "select repeat(cmd_line, 1000000) from process_events",
        "select lpad('x', 2000000000)",
        "select rpad(cmd_line, 10000000) from process_events",
        "select range(0, 1000000000000)",
        "select range(1000000000000)",
        "select generate_series(1000000000000, 0, -1)",
        "select generate_series(pid, pid + 10000000) from process_events",
        "select range(timestamp '2026-01-01T00:00:00', timestamp '2026-12-31T00:00:00', interval '1 microsecond')",
        "select range(date '0001-01-01', date '9999-12-31', interval '1 microsecond')",
        "select array_repeat('x', 1000000000000)",
        "select array_resize(make_array(1), 1000000000000, 0)",
    ] {
        let text = answer(&session, sql).await;
        assert!(text.contains("error: ") && text.contains("() would make "), "{sql}: {text:.300}");
    }
    for (sql, shown) in [
        ("select repeat('ab', 3) as x", "ababab"),
        ("select lpad('x', 3) as x", "  x"),
        ("select range(3) as x", "[0,1,2]"),
        ("select generate_series(1, 7, 3) as x", "[1,4,7]"),
        ("select range(0, null) as x", "NULL"),
        ("select generate_series(date '2026-01-01', date '2026-01-03', interval '1 day') as x", "2026-01-02"),
        ("select list_repeat(1, 2) as x", "[1,1]"),
        ("select count(*) as x from (select unnest(range(0, 100000)) as y)", "100000"),
    ] {
        let text = answer(&session, sql).await;
        assert!(text.contains(shown), "{sql}: {text}");
    }
}

/// Less memory than [`WIDE`] needs.
const SMALL: Limits =
    Limits { memory_bytes: NonZeroUsize::new(24 << 20).unwrap(), timeout: Period::seconds(240), max_rows: 1_000_000 };

/// A sort of more than 24 MiB over 60,000 rows.
const WIDE: &str = "select repeat(cmd_line, 40) as x, pid from process_events order by x desc, pid";

fn spilling_to(folder: &Path) -> Capacity {
    Capacity { spill_dir: Some(folder.to_owned()), threads: NonZeroUsize::MIN, ..Capacity::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spill_larger_than_its_disk_space_ends() {
    let stored = many(60_000).await;
    let spill = tempfile::tempdir().unwrap();
    let session = stored.session_of(Capacity { spill_bytes: 1 << 20, ..spilling_to(spill.path()) }, SMALL);
    for _ in 0..2 {
        let error = match session.query(WIDE).await {
            Ok(stream) => drain(stream).await.1.expect("it does not fit"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.message().contains("more temporary disk space"), "{error}");
    }
    assert!(answer(&session, "select count(*) as n from process_events").await.contains("60000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_larger_than_its_memory_spills() {
    let stored = many(60_000).await;
    let spill = tempfile::tempdir().unwrap();
    let session = stored.session_of(spilling_to(spill.path()), SMALL);
    let (rows, error) = drain(session.query(WIDE).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(rows, 60_000);
    let mut plan = Vec::new();
    let explained = session.query(&format!("explain analyze {WIDE}")).await.unwrap();
    write(explained, Format::Json, Options::default(), &mut plan).await.unwrap();
    let plan = String::from_utf8(plan).unwrap();
    assert!(plan.contains("spill_count=") && !plan.contains("spill_count=0,"), "it did not spill: {plan}");
    assert_eq!(std::fs::read_dir(spill.path()).unwrap().map(|entry| files(&entry.unwrap().path())).sum::<usize>(), 0);
}

/// Files in the folder.
fn files(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// A join by another condition than equality that keeps rows without a match loses some when it spills
/// (apache/datafusion#24745).
#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_would_lose_rows_by_spilling_ends() {
    let stored = many(10).await;
    let limits = Limits { memory_bytes: NonZeroUsize::new(8 << 20).unwrap(), ..Limits::default() };
    let session = stored.session_of(Capacity::default(), limits);
    let sides = "(select value as a, repeat('x', 1000) as pad from range(12000)) l {} join \
                 (select value as b, repeat('y', 1000) as pad from range(12000)) r on l.a + r.b < 0";
    for kind in ["left", "right", "full"] {
        let sql = format!("select count(l.pad || coalesce(r.pad, '')) as n from {}", sides.replace("{}", kind));
        let error = match session.query(&sql).await {
            Ok(stream) => drain(stream).await.1,
            Err(error) => Some(error),
        };
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Limit), "{kind}");
    }
    let sql = format!("select count(l.pad || r.pad) as n from {}", sides.replace("{}", "inner"));
    let text = answer(&session, &sql).await;
    assert_eq!(text.lines().nth(2).map(str::trim), Some("0"), "an inner join spills: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_query_than_may_run_is_refused_until_one_is_dropped() {
    let stored = many(1_000).await;
    let max_running = NonZeroUsize::new(2).unwrap();
    let capacity = Capacity { max_running, patience: Duration::ZERO, ..Capacity::default() };
    let session = stored.session_of(capacity, Limits::default());
    let first = session.query(ENDLESS[0]).await.unwrap();
    let second = session.query(ENDLESS[0]).await.unwrap();
    let Err(error) = session.query("select 1").await else { panic!("a third query ran") };
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(second);
    // Its slot is free when its threads have noticed.
    let freed = async {
        while !answer(&session, "select 1 as one").await.contains("(1 row)") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(240), freed).await.expect("the slot is never free");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_queries_than_may_run_wait_for_their_turn() {
    let stored = many(1_000).await;
    let patience = Duration::from_secs(60);
    let capacity = Capacity { max_running: NonZeroUsize::MIN, patience, ..Capacity::default() };
    let session = stored.session_of(capacity, Limits { timeout: Period(patience), ..Limits::default() });
    let count = || answer(&session, "select count(*) as n from process_events");
    let answers = futures::future::join_all((0..40).map(|_| count())).await;
    assert!(answers.iter().all(|answer| answer.contains("1000")), "{answers:?}");
    // The number of those that wait is bounded as well.
    let held = session.query(ENDLESS[0]).await.unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        let mut next = Box::pin(session.query("select 1"));
        match futures::poll!(&mut next) {
            Poll::Pending => waiting.push(next),
            Poll::Ready(answer) => break answer.err(),
        }
        assert!(waiting.len() < 1_000, "any number may wait");
    };
    assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::Busy));
    drop(held);
    assert!(waiting.swap_remove(0).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_result_makes_room_for_a_query_that_waits() {
    let stored = many(10).await;
    let one = Capacity { max_running: NonZeroUsize::MIN, patience: Duration::from_secs(240), ..Capacity::default() };
    let session = stored.session_of(one, Limits { timeout: Period(Duration::from_secs(240)), ..Limits::default() });
    let unread = session.query("select * from range(100000000)").await.unwrap();
    assert!(answer(&session, "select count(*) as n from process_events").await.contains("10"));
    let (rows, error) = drain(unread).await;
    assert!(rows > 0 && rows < 100_000, "{rows}");
    let error = error.unwrap();
    assert!(error.kind() == ErrorKind::Busy && error.message().contains("not read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_result_frees_its_slot_at_the_deadline() {
    let stored = many(1_000).await;
    let one = Capacity { max_running: NonZeroUsize::MIN, ..Capacity::default() };
    let session = stored.session_of(one, Limits::default());
    let short = Bounds { timeout: Some(Duration::from_millis(500)), max_rows: None };
    let endless = "select a.pid from process_events a cross join process_events b";
    let unread = session.query_within(endless, &short).await.unwrap();
    let freed = async {
        while let Err(error) = session.query("select 1").await {
            assert_eq!(error.kind(), ErrorKind::Busy);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(240), freed).await.expect("the place is never given back");
    // A late reader gets the error.
    let (_, error) = drain(unread).await;
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Timeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_outlives_its_engine() {
    let stored = many(30_000).await;
    let session = stored.session();
    let stream = session.query("select pid, cmd_line from process_events").await.unwrap();
    drop(session);
    let (rows, error) = drain(stream).await;
    assert_eq!((rows, error.is_none()), (30_000, true));
}

/// A lake that cannot be read.
struct Broken;

#[async_trait]
impl Tables for Broken {
    fn tenant(&self) -> &str {
        "acme"
    }

    async fn provider(
        &self,
        _table: Table,
    ) -> Result<Option<Arc<dyn datafusion::catalog::TableProvider>>, TablesError> {
        Err("cannot list s3://secret-bucket/acme".into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_does_not_reveal_the_path_of_the_lake() {
    let engine = history::engine(Arc::new(Broken), Capacity::default()).unwrap();
    let session = engine.session(principal(Limits::default()));
    let Err(error) = session.query("select * from process_events").await else { panic!("it answered") };
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(!error.message().contains("secret"), "{error}");
    let causes = kerntrail_common::error::chain(&error);
    assert!(causes.contains("secret-bucket"), "the log must know: {causes}");
}
