//! Rows like those of a busy node: two events a process, 20 containers, half the columns filled.

use std::sync::Arc;

use arrow::array::RecordBatch;
use kerntrail_schemas::TableBuilder;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, ContainerId, PodUid, ProcessUid, StreamId};
use kerntrail_schemas::tables::{Actor, Envelope, ProcessColumns};

use crate::Outcome;

fn actor(number: i64, boot: &BootHash) -> Actor {
    let uid = |number: i64| ProcessUid::new(boot, number as u64 * 1_003_117, (number % 32_768) as u32);
    let parent = number / 20 * 20;
    let container = number % 20;
    let script = format!("/opt/app/job-{}.sh", number % 300);
    Actor {
        process_uid: Some(uid(number)),
        exec_seq: Some(1),
        pid: Some((number % 32_768) as i32),
        process_name: Some("bash".into()),
        process_path: Some("/usr/bin/bash".into()),
        args: Some(vec!["bash".into(), script.clone(), format!("--run={number}")]),
        args_truncated: Some(false),
        cmd_line: Some(format!("bash {script} --run={number}")),
        cwd: Some("/opt/app".into()),
        process_start_time: Some(Micros(1_795_521_600_000_000 + number * 1_003)),
        uid: Some(0),
        gid: Some(0),
        euid: Some(0),
        cap_effective: Some(0x1ff_ffff_ffff),
        session_leader_uid: Some(uid(container)),
        group_leader_uid: Some(uid(container)),
        entry_leader_uid: Some(uid(container)),
        entry_type: Some("container_start".into()),
        parent_process_uid: Some(uid(parent)),
        parent_pid: Some((parent % 32_768) as i32),
        parent_path: Some("/usr/bin/bash".into()),
        parent_args: Some(vec!["bash".into()]),
        ancestor_uids: Some(vec![uid(container).to_string(), uid(1).to_string()]),
        ancestor_paths: Some(vec!["/usr/bin/containerd-shim".into(), "/sbin/init".into()]),
        container_id: Some(ContainerId::new(format!("{container:064x}"))),
        container_name: Some("app".into()),
        image: Some("registry/app:1".into()),
        pod_uid: Some(PodUid::new(format!("0a0a0a0a-0000-4000-8000-{container:012x}"))),
        pod_name: Some(format!("app-{container}")),
        namespace: Some("default".into()),
        mnt_ns: Some(4_026_532_000 + container),
        pid_ns: Some(4_026_533_000 + container),
        enrichment_state: Some("no_api".into()),
        ..Actor::default()
    }
}

/// The `count` events numbered from `first`.
pub(crate) fn rows(first: i64, count: i64) -> Outcome<RecordBatch> {
    let boot = BootHash::of("boot");
    let mut builder = TableBuilder::<ProcessColumns>::default();
    let mut current = Arc::new(actor(first / 2, &boot));
    for seq in first..first + count {
        if seq % 2 == 0 {
            current = Arc::new(actor(seq / 2, &boot));
        }
        let time = Micros(1_795_521_600_000_000 + seq * 501);
        let envelope = Envelope {
            date: Some(time.day()),
            time: Some(time),
            boot_ns: Some(seq * 501_007),
            ingest_time: Some(time),
            node: Some("node".into()),
            source: Some("kernel"),
            stream: Some(StreamId::new("59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7+1")),
            cpu: Some((seq % 2) as i32),
            seq: Some(seq),
            activity: Some(if seq % 2 == 0 { "exec" } else { "exit" }.into()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        };
        let own = ProcessColumns { exit_code: (seq % 2 == 1).then_some(0), ..ProcessColumns::default() };
        builder.append(&envelope, Some(&current), &own);
    }
    Ok(builder.finish()?.flatten()?)
}
