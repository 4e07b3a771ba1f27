//! Queries as text with their answers as text: `golden/queries/<name>.sql` and `.txt`.

use kerntrail_query_engine::Session;
use kerntrail_query_engine::output::{Format, Options, write};

use crate::golden;
use crate::rows::{Rows, table_names};
use crate::script::escape;

/// The answer as a table, or the error.
pub(crate) async fn answer(session: &Session, sql: &str) -> String {
    let mut out = Vec::new();
    match session.query(sql).await {
        Ok(stream) => {
            if let Err(error) = write(stream, Format::Table, Options::default(), &mut out).await {
                out.extend_from_slice(format!("error: {error}\n").as_bytes());
            }
        }
        Err(error) => out.extend_from_slice(format!("{} error: {error}\n", error.kind().as_str()).as_bytes()),
    }
    String::from_utf8(out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_match_the_golden_files() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    let mut files: Vec<_> =
        std::fs::read_dir(golden::folder().join("queries")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
    files.sort();
    assert!(files.len() > 10, "queries are missing");
    for path in files {
        let text = answer(&session, &std::fs::read_to_string(&path).unwrap()).await;
        let root = stored.folder.path().to_str().unwrap();
        assert!(
            !text.contains(root) && !text.contains(root.trim_start_matches('/')),
            "{path:?} reveals where the lake is\n{text}"
        );
        golden::check(&format!("queries/{}.txt", path.file_stem().unwrap().to_str().unwrap()), &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_rows_are_empty() {
    let stored = Rows::default().into_lake().await;
    let session = stored.session();
    for name in table_names() {
        let text = answer(&session, &format!("select count(*) as n from {name} where event_id is not null")).await;
        assert_eq!(text, " n\n---\n 0\n(1 row)\n", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_sees_what_was_committed_before_it() {
    let stored = Rows::default().into_lake().await;
    let session = stored.session();
    let count = "select count(*) as n from process_events";
    assert_eq!(answer(&session, count).await, " n\n---\n 0\n(1 row)\n");
    let mut rows = escape().rows;
    let batch = rows.process.finish().unwrap();
    for number in 1..=2 {
        crate::rows::append(&stored.lake, &batch).await;
        let expected = (batch.rows() * number).to_string();
        assert!(answer(&session, count).await.contains(&expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_plan_without_the_path_of_the_lake() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    let folder = stored.folder.path().file_name().unwrap().to_str().unwrap();
    for explain in ["explain", "explain verbose", "explain analyze", "explain format tree"] {
        let sql = format!("{explain} select cmd_line from process_events where pid = 1");
        let mut out = Vec::new();
        write(session.query(&sql).await.unwrap(), Format::Json, Options::default(), &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("DataSourceExec"), "{explain}: {text}");
        assert!(!text.contains(folder), "{explain} reveals the path of the lake: {text}");
    }
}
