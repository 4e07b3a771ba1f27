//! Rows for tests, and sessions that read them.

use std::sync::Arc;

use kerntrail_lake::Lake;
use kerntrail_query_engine::{Capacity, Engine, Limits, Principal, RequestOrigin, Role, Session};
use kerntrail_query_service::history;
use kerntrail_schemas::tables::{
    Actor, Envelope, FileColumns, FindingColumns, KernelColumns, LossColumns, NetworkColumns, OwnColumns,
    ProcessColumns,
};
use kerntrail_schemas::{Table, TableBatch, TableBuilder};
use tempfile::TempDir;

/// Rows of every table.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) process: TableBuilder<ProcessColumns>,
    pub(crate) file: TableBuilder<FileColumns>,
    pub(crate) kernel: TableBuilder<KernelColumns>,
    pub(crate) network: TableBuilder<NetworkColumns>,
    pub(crate) findings: TableBuilder<FindingColumns>,
    pub(crate) loss: TableBuilder<LossColumns>,
}

fn batch<Own: OwnColumns>(rows: &mut TableBuilder<Own>) -> Option<TableBatch> {
    (rows.rows() > 0).then(|| rows.finish().unwrap())
}

impl Rows {
    /// Writes the rows into a lake of their own.
    pub(crate) async fn into_lake(mut self) -> Stored {
        let folder = tempfile::tempdir().unwrap();
        let lake = Arc::new(Lake::open(folder.path().to_str().unwrap(), "acme").unwrap());
        let batches = [
            batch(&mut self.process),
            batch(&mut self.file),
            batch(&mut self.kernel),
            batch(&mut self.network),
            batch(&mut self.findings),
            batch(&mut self.loss),
        ];
        for batch in batches.into_iter().flatten() {
            append(&lake, &batch).await;
        }
        Stored { lake, folder }
    }
}

pub(crate) async fn append(lake: &Lake, batch: &TableBatch) {
    let mut table = lake.table(batch.table).await.unwrap();
    table.append(vec![batch.flatten().unwrap()], &[]).await.unwrap();
}

/// A lake in a folder that goes with it.
pub(crate) struct Stored {
    pub(crate) lake: Arc<Lake>,
    pub(crate) folder: TempDir,
}

impl Stored {
    pub(crate) fn engine(&self, capacity: Capacity) -> Arc<Engine> {
        history::engine(Arc::clone(&self.lake) as _, capacity).unwrap()
    }

    pub(crate) fn session(&self) -> Session {
        self.session_within(Limits::default())
    }

    pub(crate) fn session_within(&self, limits: Limits) -> Session {
        self.session_of(Capacity::default(), limits)
    }

    pub(crate) fn session_of(&self, capacity: Capacity, limits: Limits) -> Session {
        self.engine(capacity).session(principal(limits))
    }
}

/// Who reads in tests, within `limits`.
pub(crate) fn principal(limits: Limits) -> Principal {
    let (name, tenant) = ("test".to_owned(), "acme".to_owned());
    Principal { name, tenant, role: Role::Reader, limits, origin: RequestOrigin::Process }
}

/// `count` process rows that differ in pid and command line.
pub(crate) async fn many(count: usize) -> Stored {
    let mut rows = Rows::default();
    for number in 0..count {
        let time = kerntrail_schemas::cell::Micros(1_785_578_400_000_000 + number as i64);
        let envelope = Envelope {
            date: Some(time.day()),
            time: Some(time),
            seq: Some(number as i64),
            activity: Some("exec".into()),
            ..Envelope::default()
        };
        let actor = Actor { pid: Some(number as i32), cmd_line: Some(format!("program {number}")), ..Actor::default() };
        rows.process.append(&envelope, Some(&Arc::new(actor)), &ProcessColumns::default());
    }
    rows.into_lake().await
}

/// The names of all tables.
pub(crate) fn table_names() -> Vec<&'static str> {
    Table::ALL.iter().map(|table| table.name()).collect()
}
