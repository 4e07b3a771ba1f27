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

/// The first column of each row.
async fn column(session: &Session, sql: &str) -> Vec<String> {
    let text = answer(session, sql).await;
    let rows = text.lines().skip(2).filter(|line| !line.starts_with('('));
    rows.map(|line| line.split('|').next().unwrap_or_default().trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_an_id_is_one_on_its_stored_columns() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    for (id, part) in [("event_id", "seq = Int64("), ("exec_id", "exec_seq = Int32(")] {
        let all =
            format!("select {id}, count(*) as n from process_events where {id} is not null group by {id} order by 1");
        let ids = column(&session, &all).await;
        assert!(ids.len() > 2, "{ids:?}");
        let (first, second) = (&ids[0], &ids[1]);
        let count = |condition: String| {
            let session = session.clone();
            async move {
                column(&session, &format!("select count(*) as n from process_events where {condition}")).await[0]
                    .clone()
            }
        };
        for (condition, same) in [
            (format!("{id} = '{first}'"), format!("{id} || '' = '{first}'")),
            (format!("'{first}' = {id}"), format!("{id} || '' = '{first}'")),
            (format!("{id} in ('{first}', '{second}')"), format!("{id} || '' in ('{first}', '{second}')")),
            (format!("{id} in ('{first}', 'nothing')"), format!("{id} || '' = '{first}'")),
            (format!("{id} = '{first}' or pid = 1"), format!("{id} || '' = '{first}' or pid = 1")),
            (format!("not {id} = '{first}'"), format!("{id} || '' <> '{first}'")),
            (format!("{id} = 'nothing'"), "false".to_owned()),
        ] {
            assert_eq!(count(condition.clone()).await, count(same).await, "{condition}");
        }
        let explain = format!("explain select pid from process_events where {id} = '{first}'");
        let (mut plan, stream) = (Vec::new(), session.query(&explain).await.unwrap());
        // Not cut off, as in a table.
        write(stream, Format::Csv, Options::default(), &mut plan).await.unwrap();
        let plan = String::from_utf8(plan).unwrap();
        assert!(plan.contains(part), "{plan}");
    }
}
