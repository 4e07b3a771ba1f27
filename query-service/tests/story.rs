//! Trees and timelines.

use std::num::NonZeroUsize;
use std::sync::Arc;

use kerntrail_query_engine::{ErrorKind, Session};
use kerntrail_query_service::stories::timeline::{self, Entity, StoryFormat, Window, timeline};
use kerntrail_query_service::stories::tree::{self, tree};
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::FindingId;
use kerntrail_schemas::tables::{FindingColumns, KernelColumns, NetworkColumns, ProcessColumns};

use crate::golden;
use crate::rows::Rows;
use crate::script::{BEGIN, Node, Process, WEB_ID, escape};

const FORMATS: [(StoryFormat, &str); 3] =
    [(StoryFormat::Text, "txt"), (StoryFormat::Json, "json"), (StoryFormat::Markdown, "md")];

async fn rendered(session: &Session, entity: Entity, format: StoryFormat) -> String {
    timeline(session, &timeline::Request::new(entity)).await.unwrap().render(format)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_an_escape() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    for (format, ending) in FORMATS {
        let text = rendered(&session, Entity::pod("prod/web-0").unwrap(), format).await;
        assert!(!text.contains('\x1b'), "a terminal escape got through");
        golden::check(&format!("escape_timeline.{ending}"), &text);
        let request = tree::Request { entity: Some(Entity::pod("prod/web-0").unwrap()), ..tree::Request::default() };
        let text = tree(&session, &request).await.unwrap().render(format);
        assert!(!text.contains('\x1b'), "a terminal escape got through");
        golden::check(&format!("escape_tree.{ending}"), &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_attempt_is_shown_as_refused() {
    let stored = escape().rows.into_lake().await;
    let text = rendered(&stored.session(), Entity::pod("tools-0").unwrap(), StoryFormat::Text).await;
    golden::check("refused_timeline.txt", &text);
    for said in ["Escape      none seen", "REFUSED (EPERM)", "Refused     1 attempt"] {
        assert!(text.contains(said), "{said:?} is missing in\n{text}");
    }
}

/// What a story is of, apart from its name: the lines below the head.
fn body(text: &str) -> &str {
    &text[text.find("TIME (UTC)").unwrap()..]
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_container_and_finding_lead_to_the_same_story() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    let pod = rendered(&session, Entity::pod("web-0").unwrap(), StoryFormat::Text).await;
    for entity in [
        Entity::container(&WEB_ID[..12]).unwrap(),
        Entity::container(&format!("containerd://{WEB_ID}")).unwrap(),
        Entity::finding("5f0d1c").unwrap(),
        Entity::finding("c0ffee112233").unwrap(),
    ] {
        let text = rendered(&session, entity.clone(), StoryFormat::Text).await;
        assert_eq!(body(&text), body(&pod), "{entity}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_on_the_host_shows_every_process_of_its_events() {
    let mut node = Node::new("worker-1");
    let mut curl = node.host_process(42, 0, None);
    let wrote = node.exec(0, &mut curl, &["/usr/bin/curl", "-o", "/tmp/x", "http://h/x"], ProcessColumns::default());
    let mut bystander = node.host_process(43, 10, None);
    node.exec(10, &mut bystander, &["/bin/true"], ProcessColumns::default());
    let mut dropped = node.host_process(44, 20, None);
    let ran = node.exec(20, &mut dropped, &["/tmp/x"], ProcessColumns::default());
    let own = FindingColumns {
        finding_id: Some(FindingId::new("d00d")),
        rule_name: Some("A downloaded file was executed".into()),
        event_refs: Some(vec![wrote, ran]),
        ..FindingColumns::default()
    };
    node.finding(30, &curl, own);
    let stored = node.rows.into_lake().await;
    let text = rendered(&stored.session(), Entity::finding("d00d").unwrap(), StoryFormat::Text).await;
    assert!(text.contains("42  /usr/bin/curl") && text.contains("44  /tmp/x"), "{text}");
    assert!(text.contains("the processes of its events: "), "{text}");
    assert!(!text.contains("/bin/true"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_process_has_only_its_descendants() {
    let node = escape();
    let uid = node.uid(4207, 3_000).to_string();
    let stored = node.rows.into_lake().await;
    let session = stored.session();
    for entity in [Entity::process("4207").unwrap(), Entity::process(&uid).unwrap()] {
        let text = rendered(&session, entity, StoryFormat::Json).await;
        let story: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut pids: Vec<i64> =
            story["events"].as_array().unwrap().iter().map(|event| event["pid"].as_i64().unwrap()).collect();
        pids.sort_unstable();
        pids.dedup();
        // 4210 has no origin columns: only descent leads to it.
        assert_eq!(pids, [4207, 4208, 4209, 4210]);
        assert_eq!(story["summary"]["outbound_after_escape"][0]["destination"], "198.51.100.7:443");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_process_event_is_found_by_every_name() {
    let mut node = Node::new("worker-1");
    let contained = |node: &Node, pid: i32, id: &str, pod: &str| {
        let mut process = node.host_process(pid, 0, None).contain(id, pod, [1, 2, 3, 4], false);
        process.runs(&["/bin/quiet", &pid.to_string()]);
        process
    };
    let (kernel_id, flow_id, finding_id) = ("b".repeat(64), "c".repeat(64), "d".repeat(64));
    let mounts = contained(&node, 51, &kernel_id, "prod/mounts");
    node.kernel(10, "mount", &mounts, KernelColumns::default());
    // A child that is known by a connection only.
    let mut child = Process(mounts.0.clone());
    (child.0.process_uid, child.0.pid) = (Some(node.uid(52, 11)), Some(52));
    child.0.parent_process_uid = mounts.0.process_uid;
    child.0.parent_pid = mounts.0.pid;
    child.leave_cgroup();
    child.forget_origin();
    child.runs(&["/bin/child"]);
    node.network(11, "connect", &child, NetworkColumns::default());
    let connects = contained(&node, 61, &flow_id, "prod/connects");
    node.network(20, "connect", &connects, NetworkColumns::default());
    let found = contained(&node, 71, &finding_id, "prod/found");
    let own = FindingColumns {
        finding_id: Some(FindingId::new("beef")),
        rule_name: Some("Something was found".into()),
        ..FindingColumns::default()
    };
    node.finding(30, &found, own);
    let (mounts_uid, connects_uid) = (node.uid(51, 0).to_string(), node.uid(61, 0).to_string());
    let stored = node.rows.into_lake().await;
    let session = stored.session();
    for (names, told, shown) in [
        (
            [
                Entity::pod("mounts"),
                Entity::pod("prod/mounts"),
                Entity::container("bbbb"),
                Entity::process("51"),
                Entity::process(&mounts_uid),
            ],
            &["mount", "connect to"][..],
            &["/bin/quiet 51", "/bin/child"][..],
        ),
        (
            [
                Entity::pod("connects"),
                Entity::pod("prod/connects"),
                Entity::container("cccc"),
                Entity::process("61"),
                Entity::process(&connects_uid),
            ],
            &["connect to"],
            &["/bin/quiet 61"],
        ),
        (
            [
                Entity::pod("found"),
                Entity::pod("prod/found"),
                Entity::container("dddd"),
                Entity::process("71"),
                Entity::finding("beef"),
            ],
            &["Something was found"],
            &["/bin/quiet 71"],
        ),
    ] {
        let mut first = None;
        for entity in names.map(Result::unwrap) {
            let text = rendered(&session, entity.clone(), StoryFormat::Text).await;
            assert!(told.iter().all(|told| text.contains(told)), "{entity}: {told:?} in\n{text}");
            let body = body(&text).to_owned();
            assert_eq!(first.get_or_insert_with(|| body.clone()), &body, "{entity}");
            let request = tree::Request { entity: Some(entity.clone()), ..tree::Request::default() };
            let text = tree(&session, &request).await.unwrap().render(StoryFormat::Text);
            assert!(shown.iter().all(|shown| text.contains(shown)), "{entity}: {shown:?} in\n{text}");
        }
    }
}

/// Imported events: no kernel clock, and numbers without an order.
#[tokio::test(flavor = "multi_thread")]
async fn parents_come_before_children_at_the_same_time() {
    let mut node = Node::new("worker-1");
    let mut parent = node.host_process(42, 0, None).contain(WEB_ID, "prod/web-0", [1, 2, 3, 4], false);
    parent.runs(&["/bin/parent"]);
    let mut child = Process(parent.0.clone());
    (child.0.process_uid, child.0.pid) = (Some(node.uid(41, 1)), Some(41));
    (child.0.parent_process_uid, child.0.parent_pid) = (parent.0.process_uid, parent.0.pid);
    child.runs(&["/bin/child"]);
    let mut rows = Rows::default();
    let mut envelope = node.envelope(5, "exec");
    envelope.boot_ns = None;
    let steps = [("exit", &child, 1), ("exec", &child, 2), ("exit", &parent, 3), ("exec", &parent, 4)];
    for (activity, process, seq) in steps {
        (envelope.activity, envelope.seq) = (Some(activity.into()), Some(seq));
        rows.process.append(&envelope, Some(&Arc::new(process.0.clone())), &ProcessColumns::default());
    }
    let stored = rows.into_lake().await;
    let text = rendered(&stored.session(), Entity::pod("prod/web-0").unwrap(), StoryFormat::Json).await;
    let story: serde_json::Value = serde_json::from_str(&text).unwrap();
    let order: Vec<_> =
        story["events"].as_array().unwrap().iter().map(|event| (&event["pid"], &event["activity"])).collect();
    let expected = [(42, "exec"), (42, "exit"), (41, "exec"), (41, "exit")];
    assert!(
        order.iter().zip(expected).all(|((pid, activity), (expected, name))| **pid == expected && **activity == name),
        "{order:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_entity_suggests_a_known_one() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    let none = Window { since: Some(BEGIN + 86_400_000_000), until: None };
    for (entity, window, said) in [
        (Entity::pod("web-9").unwrap(), Window::default(), "did you mean `web-0`?"),
        (Entity::pod("prod/web-9").unwrap(), Window::default(), "nothing is known about pod prod/web-9"),
        (Entity::pod("prod/web-0").unwrap(), none, "nothing is known about pod prod/web-0"),
        (Entity::container("ffff").unwrap(), Window::default(), "there is no container"),
        (Entity::process("77").unwrap(), Window::default(), "there is no process 77"),
        (Entity::finding("ffff").unwrap(), Window::default(), "there is no finding"),
    ] {
        let request = timeline::Request { window, ..timeline::Request::new(entity) };
        let error = timeline(&session, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        assert!(error.message().contains(said), "{said:?} is not in {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_story_says_so() {
    let stored = escape().rows.into_lake().await;
    let session = stored.session();
    let two = NonZeroUsize::new(2).unwrap();
    let request = timeline::Request { max_events: two, ..timeline::Request::new(Entity::pod("prod/web-0").unwrap()) };
    let text = timeline(&session, &request).await.unwrap().render(StoryFormat::Text);
    for table in ["process_events", "kernel_events", "network_flows"] {
        assert!(text.contains(&format!("Cut         {table}: only the first 2 rows are shown")), "{text}");
    }
    assert!(!text.contains("file_events: only"), "{text}");
    let request = tree::Request { max_processes: two, ..tree::Request::default() };
    let text = tree(&session, &request).await.unwrap().render(StoryFormat::Text);
    assert!(text.starts_with("2 processes of all processes\n"), "{text}");
    assert!(text.contains("Cut: only the last 2 of 5 processes are shown"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_leaves_out_events_outside_it() {
    let stored = escape().rows.into_lake().await;
    let window = Window { since: Some(BEGIN + 3_004_000), until: Some(BEGIN + 3_101_000) };
    let request = timeline::Request { window, ..timeline::Request::new(Entity::pod("prod/web-0").unwrap()) };
    let text = timeline(&stored.session(), &request).await.unwrap().render(StoryFormat::Json);
    let story: serde_json::Value = serde_json::from_str(&text).unwrap();
    let activities: Vec<&str> =
        story["events"].as_array().unwrap().iter().map(|event| event["activity"].as_str().unwrap()).collect();
    assert_eq!(activities, ["setns", "fork", "exec"]);
}

/// Four events at one moment, on two processors; `order` is how they arrive.
async fn tied(order: [usize; 4]) -> String {
    let mut node = Node::new("worker-1");
    let mut process = node.host_process(42, 0, None).contain(WEB_ID, "prod/web-0", [1, 2, 3, 4], false);
    let mut rows = Rows::default();
    let places = [(0, 5), (0, 6), (1, 2), (1, 3)];
    let mut envelope = node.envelope(0, "exec");
    for place in order {
        (envelope.cpu, envelope.seq) = (Some(places[place].0), Some(places[place].1));
        process.runs(&[&format!("/bin/program-{place}")]);
        rows.process.append(&envelope, Some(&Arc::new(process.0.clone())), &ProcessColumns::default());
    }
    let stored = rows.into_lake().await;
    rendered(&stored.session(), Entity::pod("prod/web-0").unwrap(), StoryFormat::Json).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_at_the_same_time_have_one_order() {
    let first = tied([0, 1, 2, 3]).await;
    let story: serde_json::Value = serde_json::from_str(&first).unwrap();
    let titles: Vec<&str> =
        story["events"].as_array().unwrap().iter().map(|event| event["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["/bin/program-0", "/bin/program-1", "/bin/program-2", "/bin/program-3"]);
    for order in [[3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        assert_eq!(tied(order).await, first, "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pid_that_was_used_twice_means_the_last_process() {
    let mut node = Node::new("worker-1");
    for millis in [0, 60_000] {
        let mut process = node.host_process(42, millis, None);
        node.exec(millis, &mut process, &["/bin/true", &millis.to_string()], ProcessColumns::default());
    }
    let stored = node.rows.into_lake().await;
    let text = rendered(&stored.session(), Entity::process("42").unwrap(), StoryFormat::Text).await;
    assert!(text.contains("/bin/true 60000") && !text.contains("/bin/true 0"), "{text}");
    assert!(text.contains("Note        pid 42 was used before by another process"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_everything_marks_containers_and_the_host() {
    let stored = escape().rows.into_lake().await;
    let text = tree(&stored.session(), &tree::Request::default()).await.unwrap().render(StoryFormat::Text);
    golden::check("all_tree.txt", &text);
    assert_eq!(Table::ProcessEvents.name(), "process_events");
    assert_eq!(Micros(BEGIN).day().0, 20_666);
}
