//! Names of users, from the node's `/etc/passwd` (passwd(5)).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Time after which the file is looked at again.
const LOOKED_AT: Duration = Duration::from_secs(10);
/// Largest part of the file that is read.
const MOST_BYTES: u64 = 4 << 20;

/// The users of a node, read again when the file changes. A clone is the same.
#[derive(Clone, Debug)]
pub struct Users {
    path: PathBuf,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    looked: Option<Instant>,
    changed: Option<SystemTime>,
    names: HashMap<u32, String>,
}

impl Users {
    /// Those of the node whose root directory is `root`. Reads nothing yet.
    pub fn of(root: &Path) -> Self {
        Self { path: root.join("etc/passwd"), known: Arc::default() }
    }

    /// Name of the user with this id; of several, the first.
    pub fn name(&self, id: u32) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.is_none_or(|looked| looked.elapsed() >= LOOKED_AT) {
            known.looked = Some(Instant::now());
            self.look(&mut known);
        }
        known.names.get(&id).cloned()
    }

    /// Reads the file where it changed; one that cannot be read has no users.
    fn look(&self, known: &mut Known) {
        let changed = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        if changed.is_some() && changed == known.changed {
            return;
        }
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
        known.changed = changed.filter(|_| read.is_ok());
        known.names = names(&String::from_utf8_lossy(&text));
    }
}

/// Names by id, from the lines `name:password:id:…`.
fn names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()))
            && !name.is_empty()
            && !name.starts_with(['#', '+', '-'])
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_passwd() {
        let text = "root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534::/bin:/bin/sync\ntoor:x:0:0::/:\n\nbad\n:x:7:\n#c:x:8:\n+::9:\nx:y:z:\nu:x:4294967295";
        let names = names(text);
        let mut known: Vec<(u32, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
        known.sort();
        assert_eq!(known, [(0, "root"), (4, "sync"), (u32::MAX, "u")]);
    }

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let users = Users::of(root.path());
        assert_eq!(users.name(0), None);
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:\n").unwrap();
        users.known.lock().unwrap().looked = None;
        assert_eq!(users.name(0).as_deref(), Some("root"));
        let changed = SystemTime::now() + Duration::from_secs(5);
        std::fs::write(root.path().join("etc/passwd"), "admin:x:0:0::/:\n").unwrap();
        File::options().write(true).open(root.path().join("etc/passwd")).unwrap().set_modified(changed).unwrap();
        assert_eq!(users.name(0).as_deref(), Some("root"), "it is not looked at for every process");
        users.known.lock().unwrap().looked = None;
        assert_eq!(users.name(0).as_deref(), Some("admin"));
    }
}
