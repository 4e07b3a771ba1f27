use serde_json::json;

use super::*;

fn letter(event_id: &str) -> Letter {
    Letter {
        sink: "s".into(),
        table: "process_events".into(),
        event_id: event_id.into(),
        reason: Reason::Refused,
        words: "HTTP 400: no".into(),
        written: format!("2026-08-01T12:00:00.00{event_id}Z"),
        replays: 0,
        content: Content::Row(Row::from_iter([("pid".to_owned(), json!(7))])),
    }
}

fn ids(listing: &Listing) -> Vec<&str> {
    listing.letters.iter().map(|letter| letter.event_id.as_str()).collect()
}

#[test]
fn letters_are_listed_shown_and_purged() {
    let dir = tempfile::tempdir().unwrap();
    assert!(list(dir.path(), None).unwrap().letters.is_empty());
    let letters = Letters::open(dir.path(), "s", 10).unwrap();
    for event_id in ["3", "1", "2"] {
        assert!(letters.write(&letter(event_id)).unwrap());
    }
    assert_eq!(ids(&list(dir.path(), None).unwrap()), ["1", "2", "3"]);
    assert!(list(dir.path(), Some("other")).unwrap().letters.is_empty());
    let id = letter("2").id();
    assert_eq!(show(dir.path(), &id[..20]).unwrap(), letter("2"));
    assert!(matches!(show(dir.path(), ""), Err(DlqError::NotOne { matching: 3, .. })));
    assert_eq!(purge(dir.path(), "s", &IdSelection::Ids(vec![id.clone()])).unwrap(), 1);
    assert!(matches!(show(dir.path(), &id), Err(DlqError::NotOne { matching: 0, .. })));
    assert_eq!(purge(dir.path(), "s", &IdSelection::All).unwrap(), 2);
    assert_eq!(purge(dir.path(), "s", &IdSelection::All).unwrap(), 0);
}

#[test]
fn staged_files_are_removed_unless_letters_are_being_replayed() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(remove_staged(&dir.path().join("absent")).unwrap(), 0);
    for sink in ["s", "t"] {
        let letters = Letters::open(dir.path(), sink, 10).unwrap();
        assert!(letters.write(&letter("1")).unwrap());
        for name in ["batches#12", "a.json#7"] {
            std::fs::write(dir.path().join(sink).join(name), "half").unwrap();
        }
    }
    let replaying = files::lock(&dir.path().join("t")).unwrap().unwrap();
    assert_eq!(remove_staged(dir.path()).unwrap(), 2);
    assert!(dir.path().join("t/a.json#7").exists());
    drop(replaying);
    assert_eq!(remove_staged(dir.path()).unwrap(), 2);
    assert_eq!(ids(&list(dir.path(), None).unwrap()), ["1", "1"]);
}

#[test]
fn at_the_limit_nothing_is_written_until_letters_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::open(dir.path(), "s", 2).unwrap();
    assert!(letters.write(&letter("1")).unwrap() && letters.write(&letter("2")).unwrap());
    assert!(!letters.write(&letter("3")).unwrap());
    // The same event again is the same letter.
    assert!(letters.write(&Letter { words: "again".into(), ..letter("2") }).unwrap());
    assert_eq!(list(dir.path(), Some("s")).unwrap().letters[1].words, "again");
    // A restart finds them, and another process makes room.
    let letters = Letters::open(dir.path(), "s", 2).unwrap();
    assert!(!letters.write(&letter("3")).unwrap());
    purge(dir.path(), "s", &IdSelection::Ids(vec![letter("1").id()])).unwrap();
    assert!(letters.write(&letter("3")).unwrap());
}

#[test]
fn a_damaged_file_is_reported_and_the_others_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::open(dir.path(), "s", 9).unwrap();
    letters.write(&letter("1")).unwrap();
    std::fs::write(dir.path().join("s/0000.json"), "{").unwrap();
    std::fs::write(dir.path().join("s/half.new"), "{").unwrap();
    let listing = list(dir.path(), None).unwrap();
    assert_eq!(ids(&listing), ["1"]);
    assert!(
        matches!(listing.unreadable.as_slice(), [DlqError::NotALetter { path, .. }] if path.ends_with("0000.json"))
    );
}

#[test]
fn letters_read_back_as_they_were_written() {
    let message = Letter {
        content: Content::Message { schema_version: 1, payload: "AAEC".into() },
        reason: Reason::Damaged,
        ..letter("1")
    };
    for letter in [letter("1"), message] {
        let text = serde_json::to_string(&letter).unwrap();
        assert_eq!(serde_json::from_str::<Letter>(&text).unwrap(), letter, "{text}");
    }
}

#[test]
fn letters_of_other_releases_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Letters::open(dir.path(), "s", 9).unwrap();
    letters.write(&letter("1")).unwrap();
    let path = files::path(&dir.path().join("s"), &letter("1").id());
    let version_1 = std::fs::read_to_string(&path).unwrap();
    assert!(version_1.contains("\"version\": 1"), "{version_1}");
    // Written before there was a version.
    let unversioned = serde_json::to_string_pretty(&letter("1")).unwrap();
    assert!(!unversioned.contains("version"));
    std::fs::write(&path, unversioned).unwrap();
    assert_eq!(list(dir.path(), None).unwrap().letters, [letter("1")]);
    let newer = version_1.replace("\"version\": 1", "\"version\": 2");
    std::fs::write(&path, &newer).unwrap();
    let listing = list(dir.path(), None).unwrap();
    assert!(listing.letters.is_empty());
    assert!(matches!(listing.unreadable.as_slice(), [DlqError::Newer { .. }]), "{listing:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
}
