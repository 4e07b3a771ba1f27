//! A session is bound to its principal and reads, whatever plan runs in it.

use std::num::NonZeroUsize;

use datafusion::dataframe::DataFrameWriteOptions;
use kerntrail_query_engine::{Capacity, ErrorKind, Limits, Principal};

use crate::queries::answer;
use crate::rows::{many, principal};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_the_tables_of_its_tenant_and_no_others() {
    let stored = many(10).await;
    let engine = stored.engine(Capacity::default());
    let session = engine.session(principal(Limits::default()));
    let count = "select count(*) as n from acme.history.process_events";
    assert!(answer(&session, count).await.contains("10"));
    let text = answer(&session, "select count(*) as n from other.history.process_events").await;
    assert!(
        text.contains("there is no table `other.history.process_events`; did you mean `process_events`?"),
        "{text}"
    );
    let text = answer(&session, "select distinct table_catalog as c from information_schema.tables").await;
    assert!(text.contains("acme") && text.contains("(1 row)"), "{text}");
    let stranger = engine.session(Principal { tenant: "other".to_owned(), ..principal(Limits::default()) });
    for sql in [count, "select 1"] {
        let Err(error) = stranger.query(sql).await else { panic!("another tenant read: {sql}") };
        assert_eq!((error.kind(), error.message()), (ErrorKind::User, "there is no tenant `other`"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_principal_has_its_own_limits() {
    let stored = many(1_000).await;
    let engine = stored.engine(Capacity::default());
    let of = |limits: Limits| engine.session(principal(limits));
    let sql = "select pid from process_events";
    let narrow = of(Limits { max_rows: 3, ..Limits::default() });
    let text = answer(&narrow, sql).await;
    assert!(text.contains("the result has more than 3 rows"), "{text}");
    let poor = of(Limits { memory_bytes: NonZeroUsize::new(1 << 10).unwrap(), ..Limits::default() });
    let text = answer(&poor, "select cmd_line, count(*) as n from process_events group by 1 order by 1").await;
    assert!(text.contains("more memory than one query may use"), "{text}");
    assert!(answer(&of(Limits::default()), sql).await.contains("(1000 rows)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_built_in_code_cannot_write() {
    let stored = many(10).await;
    let session = stored.session();
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("stolen").to_str().unwrap().to_owned();
    let written = session.read(|snapshot| async move {
        let frame = snapshot.table("process_events").await?;
        Ok(frame.write_parquet(&path, DataFrameWriteOptions::new(), None).await?.len())
    });
    assert_eq!(written.await.unwrap_err().kind(), ErrorKind::ReadOnly);
    let inserted = session.read(|snapshot| async move {
        let frame = snapshot.table("process_events").await?;
        Ok(frame.write_table("event_loss", DataFrameWriteOptions::new()).await?.len())
    });
    assert_eq!(inserted.await.unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "a file was written");
}
