//! Files that a filter learned while the query runs would skip, though the answer needs them.

use std::sync::Arc;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::tables::{Actor, Envelope, NetworkColumns, ProcessColumns};

use crate::queries::answer;
use crate::rows::{Rows, Stored};

/// Pids that ran at a second, each second a file: a pid and its command line.
const RAN: [(i64, &[(Option<i32>, &str)]); 5] =
    [(1, &[(Some(7), "1")]), (2, &[(None, "2")]), (3, &[(Some(9), "3")]), (4, &[(Some(8), "4")]), (5, &[(None, "0")])];

/// Pids that connected at a second, each second a file.
const CONNECTED: [(i64, i32); 3] = [(100, 7), (300, 8), (200, 9)];

async fn stored() -> Stored {
    let stored = Rows::default().into_lake().await;
    let envelope = |second: i64, node: &str| {
        let time = Micros(1_785_578_400_000_000 + second * 1_000_000);
        let (date, time, seq) = (Some(time.day()), Some(time), Some(second));
        Envelope { date, time, seq, node: Some(node.into()), activity: Some("b".into()), ..Envelope::default() }
    };
    let mut rows = Rows::default();
    for (second, ran) in RAN {
        for (pid, line) in ran {
            let actor = Actor { pid: *pid, cmd_line: Some((*line).to_owned()), ..Actor::default() };
            rows.process.append(&envelope(second, "a"), Some(&Arc::new(actor)), &ProcessColumns::default());
        }
        crate::rows::append(&stored.lake, &rows.process.finish().unwrap()).await;
    }
    for (second, pid) in CONNECTED {
        let actor = Actor { pid: Some(pid), ..Actor::default() };
        rows.network.append(&envelope(second, "b"), Some(&Arc::new(actor)), &NetworkColumns::default());
        crate::rows::append(&stored.lake, &rows.network.finish().unwrap()).await;
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_filters_do_not_skip_files_that_the_result_needs() {
    let cases = [
        // The bound of one aggregate does not apply to the other.
        ("select max(seq) as a, min(seq + 1) as b from process_events", "5 | 2"),
        ("select max(seq) as a, min(cmd_line) as b from process_events where seq > 0", "5 | 0"),
        // NULL is not a minimum.
        ("select min(pid) as a, max(seq) as b from process_events", "7 | 5"),
        // Two columns of one name: times of processes are far below those of connections.
        (
            "select p.seq as a, n.seq as b from process_events p join network_flows n on p.pid = n.pid
             order by n.seq desc limit 1",
            "4 | 300",
        ),
        (
            "select p.seq as a, n.seq as b from network_flows n join process_events p on p.pid = n.pid
             order by n.seq desc limit 1",
            "4 | 300",
        ),
        (
            "select a.s as a, b.s as b from (select p.seq as s, p.pid from process_events p) a
             join (select n.seq as s, n.pid from network_flows n) b on a.pid = b.pid order by b.s desc limit 1",
            "4 | 300",
        ),
        (
            "select x.l as a, count(*) as b from (select p.seq as l, n.seq, n.pid from process_events p
             join network_flows n on p.pid = n.pid) x join network_flows n on n.seq = x.seq
             where n.seq = 300 group by 1",
            "4 | 1",
        ),
        (
            "select s.node as a, tag as b from process_events s join (select a.node, b.node, a.activity || '!' as tag
             from process_events a join network_flows b on a.activity = b.node) on s.node = a.node
             group by 1, 2",
            "a | b!",
        ),
        (
            "select s.node as a, s.pid as b from network_flows s join (select a.node, b.node
             from process_events a left join network_flows b on a.activity = b.node group by a.node, b.node)
             on s.node = b.node where s.pid = 7",
            "b | 7",
        ),
        (
            "select a.seq as a, b.seq as b from process_events a join network_flows b on a.pid = b.pid
             group by a.seq, b.seq order by b.seq desc limit 1",
            "4 | 300",
        ),
        (
            "select a.seq as a, b.seq as b from process_events a left join network_flows b on a.pid = b.pid
             where a.pid > 0 group by a.seq, b.seq order by b.seq desc limit 1",
            "4 | 300",
        ),
        (
            "select a.seq as a, b.seq as b from (select seq, pid, 1 from process_events union all
             select seq, pid, 2 from process_events) a join network_flows b on a.pid = b.pid
             where b.seq + a.seq > 0 order by b.seq desc limit 1",
            "4 | 300",
        ),
        ("select seq as a, pid as b from process_events order by pid nulls first, seq limit 1", "2 | NULL"),
        ("select seq as a, pid as b from process_events order by pid desc, seq limit 1", "2 | NULL"),
    ];
    let stored = stored().await;
    let session = stored.session();
    let mut wrong = Vec::new();
    for (sql, expected) in cases {
        for _ in 0..8 {
            let text = answer(&session, sql).await;
            let rows = text.lines().nth(2).unwrap_or_default();
            let cells: Vec<&str> = rows.split('|').map(str::trim).collect();
            if cells.join(" | ") != expected {
                wrong.push(format!("{sql}\n{text}instead of {expected}"));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
