use super::*;

/// 2026-11-24.
const DAY_NUMBER: i32 = 20_781;
const KIB: u64 = 1024;
const MINUTE: i64 = 60_000;

fn files(day: i32, modified: i64, sizes: impl IntoIterator<Item = u64>) -> Vec<Arc<DataFile>> {
    let fresh = |(number, size)| {
        let mut file = DataFile::fresh(format!("{day}/{modified}/{number}"), Some(day), size, String::new());
        file.modified = modified;
        Arc::new(file)
    };
    sizes.into_iter().enumerate().map(fresh).collect()
}

fn sizes(merges: &[Vec<Arc<DataFile>>]) -> Vec<Vec<u64>> {
    merges.iter().map(|merge| merge.iter().map(|file| file.size / KIB).collect()).collect()
}

#[test]
fn files_that_are_merged() {
    let noon = i64::from(DAY_NUMBER) * DAY + DAY / 2;
    let next_day = i64::from(DAY_NUMBER + 1) * DAY;
    let options = CompactOptions { small_files: 3, tier_files: 2, most_inputs: 5, ..CompactOptions::default() };
    let small = [1, 2, 3, 4].map(|size| size * KIB);
    let middling = [1024, 2048, 3000].map(|size| size * KIB);
    let cases: [(&str, Vec<Arc<DataFile>>, i64, Vec<Vec<u64>>); 9] = [
        ("nothing", vec![], noon, vec![]),
        ("few small files", files(DAY_NUMBER, noon, small[..3].to_vec()), noon, vec![]),
        ("too many small files", files(DAY_NUMBER, noon, small), noon, vec![vec![1, 2, 3, 4]]),
        (
            "a middling file is left alone",
            files(DAY_NUMBER, noon, [small.to_vec(), vec![1024 * KIB]].concat()),
            noon,
            vec![vec![1, 2, 3, 4]],
        ),
        ("too many middling files", files(DAY_NUMBER, noon, middling), noon, vec![vec![1024, 2048, 3000]]),
        ("large files are left alone", files(DAY_NUMBER, noon, vec![64 * 1024 * KIB; 9]), noon, vec![]),
        (
            "no more than a merge may open",
            files(DAY_NUMBER, noon, (1..=11).map(|size| size * KIB)),
            noon,
            vec![vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]],
        ),
        ("a closed day", files(DAY_NUMBER, noon, [KIB, 1024 * KIB]), next_day + 11 * MINUTE, vec![vec![1, 1024]]),
        (
            "a day that is over but not quiet",
            files(DAY_NUMBER, next_day + 5 * MINUTE, small[..2].to_vec()),
            next_day + 11 * MINUTE,
            vec![],
        ),
    ];
    for (name, files, now, expected) in cases {
        assert_eq!(sizes(&plan(&files, now, &options)), expected, "{name}");
    }
}

#[test]
fn partitions_are_not_mixed() {
    let noon = i64::from(DAY_NUMBER) * DAY + DAY / 2;
    let options = CompactOptions { small_files: 1, ..CompactOptions::default() };
    let both = [files(DAY_NUMBER, noon, [KIB, KIB]), files(DAY_NUMBER - 1, noon, [KIB, KIB])].concat();
    let merges = plan(&both, noon, &options);
    assert_eq!(merges.len(), 2);
    for merge in merges {
        assert_eq!(merge[0].day, merge[1].day);
    }
}

#[test]
fn a_row_is_rewritten_about_once_per_tier() {
    // A file of 10 KiB a second, for three hours: how much does compaction write for each byte appended?
    let noon = i64::from(DAY_NUMBER) * DAY + DAY / 2;
    let options = CompactOptions::default();
    let mut held: Vec<Arc<DataFile>> = Vec::new();
    let (mut appended, mut rewritten, mut most) = (0, 0, 0);
    for second in 0..3 * 3600 {
        held.extend(files(DAY_NUMBER, noon + second, [10 * KIB]));
        appended += 10 * KIB;
        if second % 60 == 59 {
            for merge in plan(&held, noon + second, &options) {
                let size: u64 = merge.iter().map(|file| file.size).sum();
                rewritten += size;
                held.retain(|file| !merge.iter().any(|merged| merged.path == file.path));
                held.extend(files(DAY_NUMBER, noon + second + 1_000_000, [size]));
            }
            most = most.max(held.len());
        }
    }
    assert!(rewritten < 6 * appended, "{rewritten} bytes rewritten for {appended}");
    assert!(most <= 64, "{most} files");
}
