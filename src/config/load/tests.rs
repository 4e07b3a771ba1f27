use super::*;

fn setting(path: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.path == path).unwrap()
}

fn variable(path: &str, value: &str) -> (ValueOrigin, &'static Setting, String) {
    (ValueOrigin::Variable(setting(path).variable()), setting(path), value.into())
}

/// The error for a file with `text`, without the file's folder.
fn wrong(text: &str, overrides: &Overrides) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, text).unwrap();
    let error = load(Some(&file), overrides).and_then(|config| config.sinks().map(<[_]>::to_vec)).unwrap_err();
    error.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn errors_in_the_file_have_the_line_and_a_suggested_name() {
    let cases = [
        ("tenant = \"a\"\n[node]\nnmae = \"x\"\n", 3, "unknown key `node.nmae`; did you mean `node.name`?"),
        ("data-dir = \"/x\"\n", 1, "did you mean `data_dir`?"),
        ("\n\n[colector]\nenabled = true\n", 3, "did you mean `collector`?"),
        ("[lake]\nflush_interval = \"soon\"\n", 2, "not a duration"),
        ("[query]\nmemory = \"much\"\n", 2, "not a size"),
        ("[query]\nmax_rows = \"ten\"\n", 2, "expected a whole number"),
        ("[log]\nkind = \"kafak\"\n", 2, "did you mean `kafka`?"),
        ("node = 1\n", 1, "is a table"),
        ("a = \n", 1, ""),
        ("[node]\nname = \"n\"\n[http]\nlisten = \"here\"\n", 4, "http.listen: \"here\" is not an address"),
        ("[http]\nlisten = \"0.0.0.0:1\"\n", 2, "http.listen: "),
        ("cluster = \"c\"\ntenant = \"../../etc\"\n", 2, "tenant: \"../../etc\" is not"),
        ("tenant = \"\"\n", 1, "tenant: "),
        ("[collector]\nring_size = \"1KiB\"\n", 2, "collector.ring_size: "),
        ("[collector]\nbatch_rows = 65537\n", 2, "collector.batch_rows: it must be 1 to 65536"),
        ("[collector]\nmax_processes = 99999999999999\n", 2, "collector.max_processes: it must be 1 to 4194304"),
        ("[collector]\nmask = [\n  \"(\",\n]\n", 2, "collector.mask: "),
        ("tenant = \"a\"\n[collector]\nenabled = true\nmask = [1]\n", 4, "collector.mask[0]: "),
        ("[[sinks]]\nname = \"s\"\nkind = \"ndjson\"\ntables = [1]\npath = \"/x\"\n", 4, "tables[0]: "),
        ("[lake]\nuri = \"s3://bucket/lake\"\n", 2, "lake.uri: s3:// cannot be used yet"),
        ("[query]\nmemory = \"1KiB\"\n", 2, "query.memory: it must be 1MiB or more"),
        ("[logging]\nlevel = \"inof\"\n", 2, "logging.level: "),
        ("[query]\nmax_rows = 0\n", 2, "query.max_rows: it must be more than 0"),
        ("[log.kafka]\npartitions = 0\n", 2, "log.kafka.partitions: "),
        ("[log.kafka.properties]\n\"linger.ms\" = \"5\"\n\"sasl.passwrod\" = \"s3cret\"\n", 3, "\"sasl.passwrod\""),
        ("[log.kafka.properties]\n\"security.protocol\" = \"tls\"\n", 2, "\"security.protocol\""),
        ("[log.kafka.properties]\n\"acks\" = \"1\"\n", 2, "acks: it cannot be changed"),
    ];
    for (text, line, reason) in cases {
        let error = wrong(text, &Overrides::default());
        assert!(error.starts_with(&format!("c.toml:{line}: ")) && error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, "tenant = \"file\"\n[node]\npid = 7\n[collector]\nenabled = false\n").unwrap();
    let overrides = Overrides {
        values: vec![
            variable("tenant", "variable"),
            variable("node.pid", "8"),
            (ValueOrigin::Flag("tenant".into()), setting("tenant"), "flag".into()),
        ],
        sinks: Vec::new(),
    };
    let config = load(Some(&file), &overrides).unwrap();
    assert_eq!((config.tenant.as_str(), config.node.pid, config.collector.enabled), ("flag", 8, false));
}

#[test]
fn a_wrong_value_names_where_it_was_written() {
    // Also where the file says something else.
    let file = "tenant = \"b\"\n[node]\npid = 3\n[http]\nlisten = \"127.0.0.1:1\"\n[collector]\nmask = [\"x\"]\n";
    let cases =
        [("node.pid", "one"), ("tenant", "a/b"), ("http.listen", "[::]:7474"), ("collector.mask", "[\"x\", 1]")];
    for (path, value) in cases {
        let setting = setting(path);
        for origin in [ValueOrigin::Variable(setting.variable()), ValueOrigin::Flag(setting.flag())] {
            let values = vec![(origin.clone(), setting, value.to_owned())];
            let overrides = Overrides { values, sinks: Vec::new() };
            for text in ["", file] {
                let told = wrong(text, &overrides);
                assert!(told.starts_with(&format!("{origin}: ")), "{told}");
            }
        }
    }
    let sinks = vec![(ValueOrigin::Flag("sink".into()), "s.tables=[1]".to_owned())];
    let text = "[[sinks]]\nname = \"s\"\nkind = \"ndjson\"\npath = \"/x\"\n";
    let told = wrong(text, &Overrides { values: Vec::new(), sinks });
    assert!(told.starts_with("flag --sink: ") && told.contains("tables[0]: "), "{told}");
}

#[test]
fn an_invalid_key_of_a_sink_is_located_in_the_file_or_outside_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    let text = "[[sinks]]\nname = \"a\"\nkind = \"ndjson\"\npath = \"/x\"\n\n[[sinks]]\nname = \"b\"\nkind = \"ndjson\"\npath = \"/y\"\n";
    std::fs::write(&file, text).unwrap();
    let sinks = vec![(ValueOrigin::Flag("sink".into()), "a.files=2".to_owned())];
    let config = load(Some(&file), &Overrides { values: Vec::new(), sinks }).unwrap();
    for (path, place) in
        [("sinks.b.path", "c.toml:9: "), ("sinks.b.where", "c.toml:6: "), ("sinks.a.files", "flag --sink: ")]
    {
        let error = config.sources.error_at(path, "wrong").to_string();
        assert!(error.contains(place), "{path}: {error}");
    }
}

#[test]
fn a_wrong_sink_is_reported_to_commands_that_use_sinks() {
    let text = "tenant = \"a\"\n\n[[sinks]]\nname = \"s\"\nkind = \"splunk_hec\"\nurl = \"https://127.0.0.1:1\"\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, text).unwrap();
    let config = load(Some(&file), &Overrides::default()).unwrap();
    assert_eq!(config.tenant, "a");
    let error = config.sinks().unwrap_err().to_string();
    assert!(error.contains("c.toml:3: ") && error.contains("token"), "{error}");
    let sinks = vec![(ValueOrigin::Variable("KERNTRAIL_SINK_S__TOKEN".into()), "s.token=secret".to_owned())];
    let config = load(Some(&file), &Overrides { values: Vec::new(), sinks }).unwrap();
    assert_eq!(config.sinks().unwrap().len(), 1);
}
