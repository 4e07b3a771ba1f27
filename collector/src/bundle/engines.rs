//! Names and images that Docker and podman keep themselves: their bundles do not have them.
//!
//! Source: `config.v2.json` in Docker's folder of a container; `containers.json` of containers/storage, of which `metadata`
//! is what podman wrote (libpod's `storage.RuntimeContainerMetadata`).

use std::path::Path;

use serde::Deserialize;

use super::{BundleError, read_existing};

/// What an engine calls a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
}

const DOCKER: &str = "var/lib/docker/containers";
const PODMAN: &[&str] = &[
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/lib/containers/storage/vfs-containers/containers.json",
    "var/lib/containers/storage/btrfs-containers/containers.json",
    // Those that do not outlive the boot.
    "run/containers/storage/overlay-containers/volatile-containers.json",
    "var/lib/containers/storage/overlay-containers/volatile-containers.json",
    "var/lib/containers/storage/vfs-containers/volatile-containers.json",
];

/// What Docker or podman calls the container `id`; `None` when neither has it.
///
/// Errors: a file exists, but cannot be read or parsed.
pub(super) fn names_of(host_root: &Path, id: &str) -> Result<Option<Names>, BundleError> {
    let path = host_root.join(DOCKER).join(id).join("config.v2.json");
    if let Some(text) = read_existing(&path)? {
        return of_docker(&text).map(Some).map_err(|source| BundleError::Parse { path, source });
    }
    for path in PODMAN.iter().map(|place| host_root.join(place)) {
        let Some(text) = read_existing(&path)? else { continue };
        let found = of_podman(&text, id).map_err(|source| BundleError::Parse { path, source })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerContainer {
    name: Option<String>,
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    image: Option<String>,
}

fn of_docker(text: &[u8]) -> Result<Names, serde_json::Error> {
    let container: DockerContainer = serde_json::from_slice(text)?;
    let name = container.name.map(|name| name.trim_start_matches('/').to_owned());
    Ok(Names { name: known(name), image: known(container.config.and_then(|config| config.image)) })
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON of the engine.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PodmanMetadata {
    name: Option<String>,
    image_name: Option<String>,
}

fn of_podman(text: &[u8], id: &str) -> Result<Option<Names>, serde_json::Error> {
    let containers: Vec<StoredContainer> = serde_json::from_slice(text)?;
    let Some(container) = containers.into_iter().find(|container| container.id == id) else { return Ok(None) };
    let metadata: PodmanMetadata = serde_json::from_str(&container.metadata).unwrap_or_default();
    let name = known(metadata.name).or(container.names.into_iter().next());
    Ok(Some(Names { name: known(name), image: known(metadata.image_name) }))
}

fn known(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "c8a2d1c5f8b7e6d5c4b3a2918070f6e5d4c3b2a1908f7e6d5c4b3a2918070f6e";

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn names_and_images_of_engines() {
        let docker = format!("{DOCKER}/{ID}/config.v2.json");
        let stored = |metadata: &str| {
            let metadata = serde_json::to_string(metadata).unwrap();
            format!(r#"[{{"id":"other","names":["x"]}},{{"id":"{ID}","names":["of-storage"],"metadata":{metadata}}}]"#)
        };
        let podman =
            stored(r#"{"image-name":"docker.io/library/nginx:1.27","image-id":"0123","name":"web","created-at":1}"#);
        let volatile = "run/containers/storage/overlay-containers/volatile-containers.json";
        let cases = [
            (
                docker.as_str(),
                r#"{"ID":"x","Name":"/web","Config":{"Image":"nginx:1.27","Env":[]},"Image":"sha256:0123"}"#.to_owned(),
                Some((Some("web"), Some("nginx:1.27"))),
            ),
            (docker.as_str(), "{}".to_owned(), Some((None, None))),
            (PODMAN[0], podman.clone(), Some((Some("web"), Some("docker.io/library/nginx:1.27")))),
            (PODMAN[1], podman.clone(), Some((Some("web"), Some("docker.io/library/nginx:1.27")))),
            (volatile, podman, Some((Some("web"), Some("docker.io/library/nginx:1.27")))),
            (PODMAN[0], stored(""), Some((Some("of-storage"), None))),
            (PODMAN[0], "[]".to_owned(), None),
        ];
        for (path, text, expected) in cases {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), path, &text);
            let found = names_of(root.path(), ID).unwrap();
            let found = found.as_ref().map(|names| (names.name.as_deref(), names.image.as_deref()));
            assert_eq!(found, expected, "{path}: {text}");
        }
        let root = tempfile::tempdir().unwrap();
        put(root.path(), PODMAN[0], "[{");
        assert!(matches!(names_of(root.path(), ID), Err(BundleError::Parse { .. })));
    }
}
