//! What a container runtime wrote about a container: the annotations of its OCI bundle.
//!
//! The runtime writes the bundle's `config.json` before it starts the container, so pod, container name and image are
//! known at the container's first program, without a request to the API server.
//!
//! Invariant: a path is made only of the places below and an id of 64 hex digits; it never leaves the host's root.

mod engines;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kerntrail_schemas::capabilities;
use serde::Deserialize;

use crate::container;

/// Folders in which runtimes keep a folder for each container, below the host's root.
const PLACES: &[&str] = &[
    "run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/containers/storage/overlay-containers",
    // k3s, RKE2.
    "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io",
    "var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/containerd/io.containerd.runtime.v2.task/moby",
    // Docker with a containerd of its own.
    "run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby",
    "run/containerd/io.containerd.runtime.v2.task/default",
    "var/lib/containers/storage/overlay-containers",
    "run/containers/storage/vfs-containers",
    "var/lib/containers/storage/vfs-containers",
];

/// Names of a bundle's file in the container's folder: podman and CRI-O have it one deeper.
const FILES: &[&str] = &["config.json", "userdata/config.json"];

/// A larger file is not a bundle of a runtime; bytes.
const LARGEST: u64 = 4 << 20;

/// What the bundle of one container says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Name of the container in its pod; `None` for the pause container.
    pub container_name: Option<String>,
    /// Image reference.
    pub image: Option<String>,
    /// Digest of the image.
    pub image_digest: Option<String>,
    /// Whether it runs privileged.
    pub privileged: Option<bool>,
    /// Uid of its pod.
    pub pod_uid: Option<String>,
    /// Name of its pod.
    pub pod_name: Option<String>,
    /// Kubernetes namespace of its pod.
    pub namespace: Option<String>,
}

/// A bundle that exists and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not an OCI runtime configuration; perhaps it is still being written.
    #[error("{} is not an OCI runtime configuration", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads what the runtime of container `id` wrote below `host_root`; `None` when no runtime did (yet). `also` are further
/// folders in which one keeps a folder for each container.
///
/// Errors: a file exists, but cannot be read or parsed.
pub fn read(host_root: &Path, also: &[String], id: &str) -> Result<Option<Bundle>, BundleError> {
    if !container::is_id(id) {
        return Ok(None);
    }
    let mut found = None;
    for place in also.iter().map(String::as_str).chain(PLACES.iter().copied()) {
        let folder = host_root.join(place.trim_start_matches('/')).join(id);
        for path in FILES.iter().map(|file| folder.join(file)) {
            if let Some(text) = read_existing(&path)? {
                found = Some(parse(&text).map_err(|source| BundleError::Parse { path, source })?);
                break;
            }
        }
        if found.is_some() {
            break;
        }
    }
    match found {
        Some(bundle) if bundle.container_name.is_some() || bundle.pod_uid.is_some() => Ok(Some(bundle)),
        other => {
            let Some(names) = engines::names_of(host_root, id)? else { return Ok(other) };
            let bundle = other.unwrap_or_default();
            Ok(Some(Bundle { container_name: names.name, image: names.image.or(bundle.image), ..bundle }))
        }
    }
}

/// The content of `path`; `None` if there is no such file.
fn read_existing(path: &Path) -> Result<Option<Vec<u8>>, BundleError> {
    match read_file(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(source) => Err(BundleError::Read { path: path.to_owned(), source }),
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {LARGEST} bytes")));
    }
    Ok(text)
}

#[derive(Deserialize)]
struct OciConfig {
    #[serde(default)]
    annotations: HashMap<String, String>,
    process: Option<OciProcess>,
    linux: Option<OciLinux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OciLinux {
    #[serde(default)]
    masked_paths: Vec<String>,
    #[serde(default)]
    readonly_paths: Vec<String>,
}

#[derive(Deserialize)]
struct OciProcess {
    capabilities: Option<OciCapabilities>,
}

#[derive(Deserialize)]
struct OciCapabilities {
    #[serde(default)]
    bounding: Vec<String>,
}

/// Reads the text of a bundle's `config.json`.
pub fn parse(text: &[u8]) -> Result<Bundle, serde_json::Error> {
    let config: OciConfig = serde_json::from_slice(text)?;
    let notes = Annotations(config.annotations);
    let pause = notes.is("io.kubernetes.cri.container-type", "sandbox")
        || notes.is("io.kubernetes.cri-o.ContainerType", "sandbox");
    let reference = notes.first(&["io.kubernetes.cri-o.ImageRef"]);
    Ok(Bundle {
        container_name: if pause {
            None
        } else {
            notes.first(&[
                "io.kubernetes.cri.container-name",
                "io.kubernetes.container.name",
                "io.podman.annotations.container-name",
                "nerdctl/name",
            ])
        },
        image: notes.first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
            "io.kubernetes.cri-o.Image",
            "org.opencontainers.image.ref.name",
        ]),
        image_digest: reference.as_deref().and_then(digest_of),
        privileged: config.process.map(|process| is_privileged(process.capabilities, config.linux)),
        pod_uid: notes.first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        pod_name: notes.first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: notes.first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
    })
}

struct Annotations(HashMap<String, String>);

impl Annotations {
    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().filter_map(|name| self.0.get(*name)).find(|value| !value.is_empty()).cloned()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|found| found == value)
    }
}

/// The digest in an image reference, such as `docker.io/library/nginx@sha256:...`.
pub(crate) fn digest_of(reference: &str) -> Option<String> {
    let at = reference.find("sha256:")?;
    Some(reference[at..].to_owned())
}

/// Up to CAP_AUDIT_READ, every kernel since 3.16 has them; a privileged container has them all and those that came later.
const EVERY: &[&str] = capabilities::NAMES.split_at(38).0;

/// Every capability; or, where the runtime itself lacks some, SYS_ADMIN with no masked path in /proc and /sys.
fn is_privileged(capabilities: Option<OciCapabilities>, linux: Option<OciLinux>) -> bool {
    let Some(held) = capabilities.map(|held| held.bounding) else { return false };
    let unmasked = linux.is_some_and(|linux| linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    has_every(&held) || (unmasked && held.iter().any(|name| name == "CAP_SYS_ADMIN"))
}

fn has_every(held: &[String]) -> bool {
    let held: Vec<usize> = held.iter().filter_map(|name| capabilities::bit(name)).collect();
    (0..EVERY.len()).all(|bit| held.contains(&bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_capabilities(names: impl Iterator<Item = String>) -> Vec<u8> {
        let bounding: Vec<String> = names.collect();
        serde_json::to_vec(&serde_json::json!({"process": {"capabilities": {"bounding": bounding}}})).unwrap()
    }

    fn unmasked(names: &[&str], masked: &[&str]) -> Vec<u8> {
        let config = serde_json::json!({
            "process": {"capabilities": {"bounding": names}}, "linux": {"maskedPaths": masked},
        });
        serde_json::to_vec(&config).unwrap()
    }

    #[test]
    fn containers_with_all_capabilities_or_an_unmasked_proc_are_privileged() {
        let all = || EVERY.iter().map(|name| (*name).to_owned());
        let later = ["CAP_PERFMON".to_owned(), "CAP_BPF".to_owned(), "CAP_CHECKPOINT_RESTORE".to_owned()];
        let cases = [
            ("all", with_capabilities(all()), Some(true)),
            ("all and later ones", with_capabilities(all().chain(later)), Some(true)),
            ("all but one", with_capabilities(all().filter(|name| name != "CAP_SYS_ADMIN")), Some(false)),
            ("none", with_capabilities(std::iter::empty()), Some(false)),
            ("not given", br#"{"process": {}}"#.to_vec(), Some(false)),
            ("no process", b"{}".to_vec(), None),
            ("unmasked", unmasked(&["CAP_SYS_ADMIN", "CAP_CHOWN"], &[]), Some(true)),
            ("unmasked without SYS_ADMIN", unmasked(&["CAP_CHOWN"], &[]), Some(false)),
            ("masked", unmasked(&["CAP_SYS_ADMIN"], &["/proc/kcore"]), Some(false)),
        ];
        for (name, text, expected) in cases {
            assert_eq!(parse(&text).unwrap().privileged, expected, "{name}");
        }
    }

    #[test]
    fn a_container_id_cannot_escape_the_bundle_folder() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("run/containerd/io.containerd.runtime.v2.task/k8s.io")).unwrap();
        std::fs::write(root.path().join("run/containerd/config.json"), "{}").unwrap();
        assert_eq!(read(root.path(), &[], "../..").unwrap(), None);
    }

    #[test]
    fn a_damaged_bundle_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let id = "a".repeat(64);
        let folder = root.path().join("run/containerd/io.containerd.runtime.v2.task/k8s.io").join(&id);
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(read(root.path(), &[], &id).unwrap(), None);
        std::fs::write(folder.join("config.json"), "{\"annotations\": {").unwrap();
        let error = read(root.path(), &[], &id).unwrap_err();
        assert!(matches!(&error, BundleError::Parse { .. }) && error.to_string().contains(&id), "{error}");
    }
}
