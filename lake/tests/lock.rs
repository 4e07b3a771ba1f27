//! Locks among the processes that use one lake.

use crate::support::TempLake;

#[tokio::test]
async fn a_lock_has_one_holder_until_it_is_dropped() {
    let temp = TempLake::new();
    let (mine, theirs) = (&temp.lake, temp.again());
    let held = mine.try_lock("import").unwrap();
    assert!(held.is_some());
    assert!(theirs.try_lock("import").unwrap().is_none());
    assert!(mine.try_lock("import").unwrap().is_none(), "nor twice by one");
    assert!(theirs.try_lock("other").unwrap().is_some(), "another name is another lock");
    let waiting = tokio::spawn(async move { theirs.lock("import").await });
    drop(held);
    waiting.await.unwrap().unwrap();
}
