//! Forms of command lines and image references that both mappings need.

use serde_json::Value;

/// The arguments `args` joined by single spaces, as rules of SIEMs expect them; `None` where there are none.
pub(crate) fn command_line(args: &Value) -> Option<String> {
    let args: Vec<&str> = args.as_array()?.iter().filter_map(Value::as_str).collect();
    (!args.is_empty()).then(|| args.join(" "))
}

/// An image reference taken apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Image<'a> {
    /// Repository with its registry.
    pub(crate) name: &'a str,
    /// Tag, where the reference has one.
    pub(crate) tag: Option<&'a str>,
}

/// Takes apart `registry/repository:tag@digest`; tag and digest may be missing.
pub(crate) fn image(reference: &str) -> Image<'_> {
    let undigested = reference.split_once('@').map_or(reference, |(name, _)| name);
    match undigested.rsplit_once(':') {
        // A colon before the last slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => Image { name, tag: Some(tag) },
        _ => Image { name: undigested, tag: None },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn image_references() {
        for (reference, name, tag) in [
            ("nginx", "nginx", None),
            ("docker.io/library/nginx:1.29", "docker.io/library/nginx", Some("1.29")),
            ("registry:5000/team/app", "registry:5000/team/app", None),
            ("registry:5000/app:v1@sha256:ab", "registry:5000/app", Some("v1")),
        ] {
            assert_eq!(image(reference), Image { name, tag }, "{reference}");
        }
    }

    #[test]
    fn command_lines_are_joined_without_quotes() {
        assert_eq!(command_line(&json!(["sh", "-c", "id; it's", ""])).as_deref(), Some("sh -c id; it's "));
        assert_eq!(command_line(&json!([])), None);
    }
}
