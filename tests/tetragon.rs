//! Generated records in the format of Tetragon's JSON export.

/// Base64 with padding (RFC 4648), as Tetragon writes exec ids.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes()
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().chain([&0, &0]).take(3).fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
            let digit = move |index: usize| DIGITS[(bits >> (18 - 6 * index)) as usize & 63] as char;
            (0..4).map(move |index| if index <= chunk.len() { digit(index) } else { '=' })
        })
        .collect()
}

/// Record `number`: a process of its own in the pod `web-<number % 50>` that runs `/usr/bin/job --number <number>`.
pub fn exec(number: u64) -> String {
    let (micros, pod) = (number % 1_000_000, number % 50);
    let time = format!(
        "2026-09-01T{:02}:{:02}:{:02}.{micros:06}Z",
        number / 3_600_000 % 24,
        number / 60_000 % 60,
        number / 1000 % 60
    );
    let pid = 1000 + number % 30_000;
    let id = base64(&format!("node-{}:{}:{pid}", number % 3, 1_000_000_000 + number * 1000));
    let parent = base64(&format!("node-{}:999:1", number % 3));
    format!(
        r#"{{"process_exec":{{"process":{{"exec_id":"{id}","pid":{pid},"uid":0,"cwd":"/","binary":"/usr/bin/job","arguments":"--number {number}","flags":"execve clone","start_time":"{time}","auid":4294967295,"pod":{{"namespace":"shop","name":"web-{pod}","uid":"00000000-0000-4000-8000-{pod:012}","container":{{"id":"containerd://{pod:064x}","name":"web","image":{{"id":"registry.local/web@sha256:{pod:064x}","name":"registry.local/web:1"}}}},"pod_labels":{{"app":"web"}},"workload":"web","workload_kind":"Deployment"}},"parent_exec_id":"{parent}"}},"parent":{{"exec_id":"{parent}","pid":1,"uid":0,"binary":"/usr/bin/containerd-shim","start_time":"2026-09-01T00:00:00Z"}}}},"node_name":"node-{}","time":"{time}"}}"#,
        number % 3
    )
}

/// Records `from..to`, one per line.
pub fn lines(from: u64, to: u64) -> String {
    let mut text = String::new();
    for number in from..to {
        text.push_str(&exec(number));
        text.push('\n');
    }
    text
}
