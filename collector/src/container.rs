//! Which container a cgroup belongs to, read from the cgroup's path.
//!
//! Invariant: nothing here does IO; the shapes of the paths are those that the runtimes write.

/// A container as its cgroup path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPath {
    /// 64 hex digits.
    pub id: String,
    /// Uid of the pod, where the path has it (kubelet's cgroups).
    pub pod_uid: Option<String>,
}

/// The innermost container that `cgroup` (`/`-separated, from the hierarchy's root or a part of it) belongs to.
///
/// Knows the cgroupfs and the systemd driver on v1 and v2, for containerd, CRI-O, Docker and podman. A runtime's own
/// monitor (`crio-conmon-<id>.scope`, `<pod's id>/conmon`) and the cgroup of a podman pod are in no container; inside a
/// container, they belong to that one.
pub fn parse(cgroup: &str) -> Option<ContainerPath> {
    let parts: Vec<&str> = cgroup.split('/').filter(|part| !part.is_empty()).collect();
    let (at, id) = (0..parts.len()).rev().find_map(|at| Some((at, container_in(&parts, at)?)))?;
    // containerd's cgroupfs driver below a systemd kubelet writes pod and container into one part.
    let pod_uid = parts[..=at].iter().rev().find_map(|part| pod_in(part));
    Some(ContainerPath { id: id.to_owned(), pod_uid })
}

/// The id of the container whose cgroup the part at `at` is: `<id>`, `docker-<id>.scope`, `crio-<id>`,
/// `kubepods-...slice:cri-containerd:<id>`.
fn container_in<'a>(parts: &[&'a str], at: usize) -> Option<&'a str> {
    let part = parts[at].strip_suffix(".scope").unwrap_or(parts[at]);
    let start = part.rfind(['-', ':']).map_or(0, |separator| separator + 1);
    let (prefix, id) = part.split_at(start);
    let is_monitor = prefix.ends_with("conmon-") || parts.get(at + 1) == Some(&"conmon");
    // podman with cgroupfs: `libpod_parent/<pod's id>/libpod-<id>`.
    let is_pod = prefix.is_empty() && at > 0 && parts[at - 1].starts_with("libpod_parent");
    (is_id(id) && !is_monitor && !is_pod).then_some(id)
}

/// Whether `text` has the form of a container id.
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The pod's uid in one part: `pod<uid>`, `kubepods-burstable-pod<uid with underscores>.slice`.
fn pod_in(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or(part);
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.strip_prefix("pod") {
        Some(uid) => uid,
        // With kubelet's `--cgroup-root`, and below systemd in kind: `kubelet-kubepods-burstable-pod<uid>.slice`.
        None if part.contains("kubepods-") => &part[part.rfind("-pod")? + 4..],
        None => return None,
    };
    let uid = uid.replace('_', "-");
    let is_uid = matches!(uid.len(), 32 | 36) && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "c8a2d1c5f8b7e6d5c4b3a2918070f6e5d4c3b2a1908f7e6d5c4b3a2918070f6e";
    const OTHER: &str = "0f6e5d4c3b2a1908f7e6d5c4b3a2918070f6e5d4c3b2a1908f7e6d5c4b3a2918";
    const POD: &str = "8c1a7e5e-2f9d-4b0a-9a51-5d2b6c7f1e3a";

    #[test]
    fn container_ids_are_found_in_real_cgroup_paths() {
        let slice = POD.replace('-', "_");
        let cases = [
            ("containerd, cgroupfs, best effort", format!("/kubepods/besteffort/pod{POD}/{ID}"), Some(POD)),
            ("containerd, cgroupfs, guaranteed", format!("/kubepods/pod{POD}/{ID}"), Some(POD)),
            (
                "containerd, systemd, v2",
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{ID}.scope"
                ),
                Some(POD),
            ),
            (
                "containerd, systemd kubelet, cgroupfs runtime, v1",
                format!("/system.slice/containerd.service/kubepods-besteffort-pod{slice}.slice:cri-containerd:{ID}"),
                Some(POD),
            ),
            (
                "containerd, systemd, guaranteed",
                format!("/kubepods.slice/kubepods-pod{slice}.slice/cri-containerd-{ID}.scope"),
                Some(POD),
            ),
            (
                "CRI-O, systemd",
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{slice}.slice/crio-{ID}.scope"
                ),
                Some(POD),
            ),
            (
                "CRI-O, systemd, with the container's own child",
                format!("/kubepods.slice/kubepods-pod{slice}.slice/crio-{ID}.scope/container"),
                Some(POD),
            ),
            ("CRI-O, cgroupfs", format!("/kubepods/burstable/pod{POD}/crio-{ID}"), Some(POD)),
            ("Docker, cgroupfs, v1", format!("/docker/{ID}"), None),
            ("Docker, systemd, v2", format!("/system.slice/docker-{ID}.scope"), None),
            ("Docker, a systemd inside the container", format!("/docker/{ID}/init.scope"), None),
            ("podman, rootful", format!("/machine.slice/libpod-{ID}.scope/container"), None),
            (
                "podman, rootless",
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
                None,
            ),
            ("podman, cgroupfs", format!("/libpod_parent/libpod-{ID}"), None),
            ("podman, a pod, cgroupfs", format!("/libpod_parent/{OTHER}/libpod-{ID}"), None),
            (
                "podman, a pod, systemd",
                format!("/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope/container"),
                None,
            ),
            (
                "podman in podman: the inner pod's monitor is in the outer container",
                format!("/machine.slice/libpod-{ID}.scope/libpod_parent/{OTHER}/conmon"),
                None,
            ),
            ("podman, quadlet", format!("/system.slice/web.service/libpod-payload-{ID}"), None),
            (
                "kind, kubelet below systemd",
                format!(
                    "/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{slice}.slice/cri-containerd-{ID}.scope"
                ),
                Some(POD),
            ),
            ("kind, cgroupfs", format!("/docker/{OTHER}/kubelet/kubepods/burstable/pod{POD}/{ID}"), Some(POD)),
            ("kubelet --cgroup-root, cgroupfs", format!("/customers/kubepods/pod{POD}/{ID}"), Some(POD)),
            (
                "kubelet --cgroup-root, systemd",
                format!(
                    "/customers.slice/customers-kubepods.slice/customers-kubepods-pod{slice}.slice/crio-{ID}.scope"
                ),
                Some(POD),
            ),
            (
                "k3s, RKE2, systemd",
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{ID}.scope"
                ),
                Some(POD),
            ),
            (
                "MicroK8s, containerd below snap's service, v1",
                format!(
                    "/system.slice/snap.microk8s.daemon-containerd.service/kubepods-besteffort-pod{slice}.slice:cri-containerd:{ID}"
                ),
                Some(POD),
            ),
            ("Docker in Docker", format!("/docker/{OTHER}/docker/{ID}"), None),
            ("Docker, --cgroup-parent", format!("/builds.slice/docker-{ID}.scope"), None),
            (
                "rootless Docker",
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
                None,
            ),
            ("nerdctl", format!("/system.slice/nerdctl-{ID}.scope"), None),
            ("containerd, ctr", format!("/default/{ID}"), None),
            (
                "static pod: its uid is a hash of its file",
                format!("/kubepods/burstable/pod{}/{ID}", POD.replace('-', "")),
                Some("8c1a7e5e2f9d4b0a9a515d2b6c7f1e3a"),
            ),
            ("the last parts only", format!("pod{POD}/{ID}"), Some(POD)),
            ("seen from another cgroup namespace", format!("/../../besteffort/pod{POD}/{ID}"), Some(POD)),
        ];
        for (name, path, pod) in cases {
            let found = parse(&path).unwrap_or_else(|| panic!("{name}: no container in {path}"));
            assert_eq!((found.id.as_str(), found.pod_uid.as_deref()), (ID, pod), "{name}");
        }
    }

    #[test]
    fn the_innermost_container_is_used() {
        let inner = ID.chars().rev().collect::<String>();
        let found = parse(&format!("/kubepods/burstable/pod{POD}/{ID}/docker/{inner}")).unwrap();
        assert_eq!((found.id, found.pod_uid.as_deref()), (inner, Some(POD)));
    }

    #[test]
    fn cgroup_paths_of_the_host_have_no_container() {
        let cases = [
            String::new(),
            "/".into(),
            "/init.scope".into(),
            "/system.slice/containerd.service".into(),
            "/user.slice/user-0.slice/session-4.scope".into(),
            format!("/kubepods/besteffort/pod{POD}"),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{}.slice/crio-conmon-{ID}.scope", POD.replace('-', "_")),
            format!("/libpod_parent/{ID}"),
            format!("/libpod_parent/{ID}/conmon"),
            format!("/own_parent/{ID}/conmon"),
            format!("/machine.slice/machine-libpod_pod_{ID}.slice"),
            format!("/machine.slice/machine-libpod_pod_{ID}.slice/libpod-conmon-{ID}.scope"),
            "/libpod_parent/conmon".into(),
            "/process_api/ceb648123444e878aeadfee4a3956ee3".into(),
            format!("/docker/{}", ID.to_uppercase()),
            format!("/docker/{ID}0"),
        ];
        for path in cases {
            assert_eq!(parse(&path), None, "{path}");
        }
    }
}
