//! The statements that docs/querying.md shows.

use std::path::Path;

use kerntrail_query_engine::output::{Format, Options, write};

use crate::rows::Rows;
use crate::script::escape;

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_page_on_querying_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/querying.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<_> = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 7, "examples are missing");
    for stored in [Rows::default().into_lake().await, escape().rows.into_lake().await] {
        let session = stored.session();
        for sql in &examples {
            let rows = session.query(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
            let written = write(rows, Format::Ndjson, Options::default(), &mut Vec::new()).await;
            written.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        }
    }
}
