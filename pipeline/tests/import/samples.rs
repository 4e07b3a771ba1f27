//! Recordings by others, where they lie beside the checkout.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_other_projects_are_imported() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples/tetragon");
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no recordings in {}", folder.display());
        return;
    };
    let importing = Importing::new();
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let report = importing.import(&path.to_string_lossy(), std::fs::read(&path).unwrap()).await;
        assert_eq!(counts(&report), (1, 0, 0, 0), "{}: {report:?}", path.display());
        count += 1;
    }
    assert_eq!(importing.everything().await.len(), count);
    for row in importing.rows(Table::NetworkFlows, "dst_port, protocol, pod_name, origin_container_id").await {
        assert!(row.iter().all(|value| value != "-"), "{row:?}");
    }
}
