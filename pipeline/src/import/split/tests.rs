use super::*;

const MAX: usize = 1000;

/// Line, text, and why it is broken, of each piece, when the input comes `chunk` bytes at a time.
fn pieces(input: &[u8], chunk: usize) -> Vec<(u64, String, Option<&'static str>)> {
    let mut splitter = Splitter::new(1, MAX);
    let (mut buffer, mut fed, mut found) = (Vec::new(), 0, Vec::new());
    loop {
        let more = &input[fed..input.len().min(fed + chunk)];
        fed += more.len();
        buffer.extend_from_slice(more);
        let (mut at, end) = (0, fed == input.len());
        let rest = loop {
            match splitter.next(&buffer, at, end) {
                Step::Piece(piece, after) => {
                    assert!(after > at && piece.range.start >= at && piece.range.end <= after);
                    let text = String::from_utf8_lossy(&buffer[piece.range]).into_owned();
                    found.push((piece.line, text, piece.broken));
                    at = after;
                }
                Step::More(rest) => break rest,
            }
        };
        if end {
            assert_eq!(rest, buffer.len(), "nothing is left over");
            return found;
        }
        buffer.drain(..rest);
    }
}

/// Checks the pieces, written as `line:text`, a `!` in front of broken ones.
fn check(input: &str, expected: &[&str]) {
    for chunk in [usize::MAX / 2, 1, 2, 3, 7, 16] {
        let got: Vec<String> = pieces(input.as_bytes(), chunk)
            .into_iter()
            .map(|(line, text, broken)| format!("{}{line}:{text}", if broken.is_some() { "!" } else { "" }))
            .collect();
        assert_eq!(got, expected, "{input:?} by {chunk}");
    }
}

#[test]
fn shapes() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        (" \n\t\r\n", &[]),
        ("{}", &["1:{}"]),
        ("{\"a\":1}\n{\"b\":2}\n", &["1:{\"a\":1}", "2:{\"b\":2}"]),
        ("{\"a\":1}\r\n\r\n{\"b\":2}\r\n", &["1:{\"a\":1}", "3:{\"b\":2}"]),
        ("\u{feff}{\"a\":1}\n\u{feff}{\"b\":2}", &["1:{\"a\":1}", "2:{\"b\":2}"]),
        ("\0\0\0{\"a\":1}\n", &["1:{\"a\":1}"]),
        (
            "{\n  \"a\": {\n    \"b\": [\n      {}\n    ]\n  }\n}\n{\n  \"c\": 1\n}",
            &["1:{\n  \"a\": {\n    \"b\": [\n      {}\n    ]\n  }\n}", "8:{\n  \"c\": 1\n}"],
        ),
        (
            "{\n\"a\": [\n{\n\"b\": 1\n},\n{\n\"c\": 2\n}\n]\n}\n{}",
            &["1:{\n\"a\": [\n{\n\"b\": 1\n},\n{\n\"c\": 2\n}\n]\n}", "11:{}"],
        ),
        ("{\"a\":\n{\"b\":1}}\n{}", &["1:{\"a\":\n{\"b\":1}}", "3:{}"]),
        ("[{\"a\":1},{\"b\":2}]", &["1:{\"a\":1}", "1:{\"b\":2}"]),
        ("[\n{\"a\":1},\n{\"b\":2}\n]\n", &["2:{\"a\":1}", "3:{\"b\":2}"]),
        (
            "[\n  {\n    \"a\": 1\n  },\n  {\n    \"b\": 2\n  }\n]",
            &["2:{\n    \"a\": 1\n  }", "5:{\n    \"b\": 2\n  }"],
        ),
        ("[{\n  \"a\": 1\n}, {\n  \"b\": 2\n}]", &["1:{\n  \"a\": 1\n}", "3:{\n  \"b\": 2\n}"]),
        ("[]", &[]),
        ("[ ]\n[\n]\n{}", &["4:{}"]),
        ("[{}][{}]\n[{}]", &["1:{}", "1:{}", "2:{}"]),
        ("{}{} {}", &["1:{}", "1:{}", "1:{}"]),
        // Several on one line of a file with an object on each line: the parser separates them.
        ("{}\n{\"a\":1}{\"b\":2}\n", &["1:{}", "2:{\"a\":1}{\"b\":2}"]),
        ("{\"a\":1}\n{\n  \"b\": 2\n}\n{\"c\":3}\n", &["1:{\"a\":1}", "2:{\n  \"b\": 2\n}", "5:{\"c\":3}"]),
        (r#"{"a":"}{][\"\\"}{"b":"{"}"#, &[r#"1:{"a":"}{][\"\\"}"#, r#"1:{"b":"{"}"#]),
    ];
    for (input, expected) in cases {
        check(input, expected);
    }
}

#[test]
fn garbage_and_truncation() {
    let cases: &[(&str, &[&str])] = &[
        ("level=info msg=\"{\"\n{\"a\":1}\n", &["!1:level=info msg=\"{\"", "2:{\"a\":1}"]),
        (
            "{\"a\":1}\nnull\n17\n\"x\"\n[1,2]\n{\"b\":2}",
            &["1:{\"a\":1}", "!2:null", "!3:17", "!4:\"x\"", "!5:[1,2]", "6:{\"b\":2}"],
        ),
        ("[INFO] {}\n{}", &["!1:[INFO] {}", "2:{}"]),
        ("{\"a\":1}}\n{}", &["1:{\"a\":1}", "!1:}", "2:{}"]),
        // An object on each line, one of them cut off: also the first, the second and the last.
        ("{\"a\":\"x\n{\"b\":2}\n{\"c\":3}", &["!1:{\"a\":\"x", "2:{\"b\":2}", "3:{\"c\":3}"]),
        ("{\"a\":1,\n{\"b\":2}\n{\"c\":3}", &["!1:{\"a\":1,", "2:{\"b\":2}", "3:{\"c\":3}"]),
        ("{\"a\":[\n{\"b\":2}\n{\"c\":3}", &["!1:{\"a\":[", "2:{\"b\":2}", "3:{\"c\":3}"]),
        ("{\"a\":{\"b\":\n{\"c\":1}\n{\"d\":2}", &["!1:{\"a\":{\"b\":", "2:{\"c\":1}", "3:{\"d\":2}"]),
        ("{\"a\":1}\n{\"b\":[\n{\"c\":3}\n{\"d\":4}\n", &["1:{\"a\":1}", "!2:{\"b\":[", "3:{\"c\":3}", "4:{\"d\":4}"]),
        ("{\"a\":1}\n{\"b\":\"\ngarbage\n{\"c\":3}\n", &["1:{\"a\":1}", "!2:{\"b\":\"", "!3:garbage", "4:{\"c\":3}"]),
        ("{\"a\":1}\n{\"b\":2", &["1:{\"a\":1}", "!2:{\"b\":2"]),
        ("{\"a\":1}\n{\"b\":\"\\", &["1:{\"a\":1}", "!2:{\"b\":\"\\"]),
        ("{\"a\":1}\n{\"b\":[1}\n{\"c\":3}\n", &["1:{\"a\":1}", "2:{\"b\":[1}", "3:{\"c\":3}"]),
        // Indented objects: one cut in a string, one after a brace, one at the end; one with a bracket too many.
        ("{\n  \"a\": \"x\n{\n  \"b\": 2\n}\n", &["!1:{\n  \"a\": \"x", "3:{\n  \"b\": 2\n}"]),
        ("{\n  \"a\": {\n    \"x\": [\n{\n  \"b\": 2\n}\n", &["!1:{\n  \"a\": {\n    \"x\": [", "4:{\n  \"b\": 2\n}"]),
        (
            "{\n  \"a\": \"x\n  \"y\": {\n  }\n}\n{\n  \"b\": 2\n}\n",
            &["!1:{\n  \"a\": \"x\n  \"y\": {\n  }\n}", "6:{\n  \"b\": 2\n}"],
        ),
        ("{\n  \"b\": 2\n}\n{\n  \"a\": {\n", &["1:{\n  \"b\": 2\n}", "!4:{\n  \"a\": {"]),
        ("{\n  \"a\": 1\n}\n}\n{\n  \"b\": 2\n}\n", &["1:{\n  \"a\": 1\n}", "!4:}", "5:{\n  \"b\": 2\n}"]),
        (
            "[\n  {\n    \"a\": ]\n  },\n  {\n    \"b\": 2\n  }\n]",
            &["!2:{\n    \"a\": ]\n  }", "5:{\n    \"b\": 2\n  }"],
        ),
        ("[{\n  \"a\": \"\n}, {\n  \"b\": 2\n}]", &["!1:{\n  \"a\": \"\n}", "3:{\n  \"b\": 2\n}"]),
        // A long array on one line.
        (
            "[{\"a\":1},x{\"b\":2},{\"c\":3,{\"d\":4}]",
            &["1:{\"a\":1}", "!1:x", "1:{\"b\":2}", "!1:{\"c\":3,", "1:{\"d\":4}"],
        ),
        ("[{\"a\":1},{\"b\":", &["1:{\"a\":1}", "!1:{\"b\":"]),
    ];
    for (input, expected) in cases {
        check(input, expected);
    }
}

#[test]
fn broken_pieces_have_reasons() {
    let long = format!("{{\"a\":\"{}\"}}\n{{}}", "x".repeat(2 * MAX));
    let deep = format!("{}{}\n{{}}", "{\"a\":".repeat(200), "}".repeat(200));
    let cases = [
        ("x\n{}", "not a JSON object"),
        ("{\"a\":\"x\n{}", "a string is not closed on its line"),
        ("{\"a\":1,\n{}", "the record is not closed before the next one starts"),
        ("{\"a\":1,{}\n{}", "an object starts where none is allowed"),
        ("{\"a\":]}\n{}", "a closing bracket has no matching opening one"),
        ("{}\n{\"a\":1", "the input ends inside the record"),
        (&long, "a record longer than the limit"),
        (&deep, "nested deeper than 128 levels"),
    ];
    for (input, reason) in cases {
        for chunk in [usize::MAX / 2, 64] {
            let found = pieces(input.as_bytes(), chunk);
            assert!(found.iter().any(|(_, _, broken)| *broken == Some(reason)), "{reason}: {found:?}");
            assert!(found.iter().any(|(_, text, broken)| text == "{}" && broken.is_none()), "{reason}: {found:?}");
        }
    }
}

#[test]
fn an_object_longer_than_the_limit_is_one_piece() {
    let (text, digits) = ("x".repeat(3 * MAX), "1,".repeat(3 * MAX));
    let lines = "    \"k\": {\n      \"v\": [1]\n    },\n".repeat(MAX / 8);
    let long = [
        format!("{{\"a\":\"{text}\"}}"),
        format!("{{\"a\":[{digits}2]}}"),
        format!("{text} {{\"b\":2}}"),
        format!("{{\n  \"a\": {{\n{lines}    \"k\": 1\n  }}\n}}"),
    ];
    for long in &long {
        for before in ["{\"a\":1}\n", "{\n  \"a\": 1\n}\n", ""] {
            let input = format!("{before}{long}\n{{\"c\":3}}\n");
            for chunk in [usize::MAX / 2, 64, 7] {
                let found = pieces(input.as_bytes(), chunk);
                let (broken, good): (Vec<_>, Vec<_>) = found.iter().partition(|(_, _, broken)| broken.is_some());
                assert_eq!(broken.len(), 1, "{before:?} {:.40} by {chunk}: {broken:?}", long);
                assert_eq!(good.len(), 1 + usize::from(!before.is_empty()), "{before:?} {:.40} by {chunk}", long);
                let line = input.lines().position(|line| line == "{\"c\":3}").unwrap() as u64 + 1;
                assert_eq!(good.last().unwrap().0, line, "{before:?} {:.40} by {chunk}", long);
            }
        }
    }
}

#[test]
fn the_object_after_one_longer_than_the_limit_is_found_wherever_the_input_is_cut() {
    for length in MAX - 20..MAX + 20 {
        let open = "{\n  \"a\": \"not closed\n";
        let broken = format!("{open}  {}\n", "x".repeat(length - open.len() - 3));
        assert_eq!(broken.len(), length);
        for chunk in [1, 2, 3, 7] {
            let found = pieces(format!("{broken}{{\"c\":3}}\n").as_bytes(), chunk);
            let good =
                found.iter().filter(|(line, text, broken)| (*line, text.as_str(), *broken) == (4, "{\"c\":3}", None));
            assert_eq!((good.count(), found.len()), (1, 2), "{length} by {chunk}: {found:?}");
        }
    }
}

/// A model: good objects, each on a line, come back whole, whatever is done to the lines between them.
#[test]
fn good_lines_survive_any_damage_to_their_neighbors() {
    let good = r#"{"process_exec":{"process":{"exec_id":"x","args":["{","}"]}},"time":"t"}"#;
    for cut in 0..good.len() {
        if !good.is_char_boundary(cut) {
            continue;
        }
        for damaged in [&good[..cut], &good[cut..]] {
            let input = format!("{good}\n{damaged}\n{good}\n{good}\n");
            let found = pieces(input.as_bytes(), usize::MAX / 2);
            let whole = found.iter().filter(|(line, text, broken)| text == good && *line != 2 && broken.is_none());
            assert_eq!(whole.count(), 3, "{damaged}: {found:?}");
        }
    }
}
