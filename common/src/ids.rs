//! A choice among things that have ids: all of them, or some by id or by the beginning of an id.

/// Which of several things are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdSelection {
    /// All.
    All,
    /// Those with these ids; where no id is equal to one of these, all that start with it.
    Ids(Vec<String>),
}

impl IdSelection {
    /// All where `ids` is empty, otherwise those.
    pub fn all_or(ids: Vec<String>) -> Self {
        if ids.is_empty() { Self::All } else { Self::Ids(ids) }
    }

    /// The selected ones of `things`, each once and in their order; `id` gives the id of one.
    pub fn select<T>(&self, things: Vec<T>, id: impl Fn(&T) -> String) -> Vec<T> {
        let Self::Ids(wanted) = self else { return things };
        let ids: Vec<String> = things.iter().map(id).collect();
        let mut selected = vec![false; ids.len()];
        for position in wanted.iter().flat_map(|wanted| matching(&ids, wanted)) {
            selected[position] = true;
        }
        things.into_iter().zip(selected).filter_map(|(thing, selected)| selected.then_some(thing)).collect()
    }

    /// The first of the wanted ids that selects none of `ids`.
    pub fn unknown<'a>(&'a self, ids: &[String]) -> Option<&'a str> {
        let Self::Ids(wanted) = self else { return None };
        wanted.iter().find(|wanted| matching(ids, wanted).is_empty()).map(String::as_str)
    }
}

/// Positions of those of `ids` that `wanted` names: the ones equal to it, otherwise all that start with it.
fn matching(ids: &[String], wanted: &str) -> Vec<usize> {
    let positions = |matches: &dyn Fn(&String) -> bool| {
        ids.iter().enumerate().filter(|(_, id)| matches(id)).map(|(position, _)| position).collect::<Vec<_>>()
    };
    let equal = positions(&|id| id == wanted);
    if equal.is_empty() { positions(&|id| id.starts_with(wanted)) } else { equal }
}

/// The only one of `things` that `wanted` names by its id or the beginning of it.
///
/// Errors: how many it names, when that is not one.
pub fn only<T>(things: Vec<T>, wanted: &str, id: impl Fn(&T) -> String) -> Result<T, usize> {
    let mut named = IdSelection::Ids(vec![wanted.to_owned()]).select(things, id);
    match named.pop() {
        Some(one) if named.is_empty() => Ok(one),
        Some(_) => Err(named.len() + 1),
        None => Err(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 4] = ["t-0-1", "t-0-10", "t-0-11", "u-0-2"];

    fn ids() -> Vec<String> {
        IDS.map(str::to_owned).to_vec()
    }

    #[test]
    fn a_complete_id_selects_only_its_own_and_a_beginning_all_that_start_with_it() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&["t-0-1"], &["t-0-1"]),
            (&["t-0-"], &["t-0-1", "t-0-10", "t-0-11"]),
            (&["u", "t-0-1"], &["t-0-1", "u-0-2"]),
            (&["t-0-10", "t-0"], &["t-0-1", "t-0-10", "t-0-11"]),
            (&["t-0-10", "t-0-10"], &["t-0-10"]),
            (&["v"], &[]),
            (&[""], &IDS),
        ];
        for (wanted, expected) in cases {
            let selection = IdSelection::all_or(wanted.iter().map(|&id| id.to_owned()).collect());
            assert_eq!(selection.select(ids(), String::clone), expected, "{wanted:?}");
        }
        assert_eq!(IdSelection::all_or(Vec::new()).select(ids(), String::clone), IDS);
    }

    #[test]
    fn an_id_that_selects_nothing_is_named() {
        let selection = IdSelection::Ids(vec!["t".into(), "v".into(), "w".into()]);
        assert_eq!(selection.unknown(&ids()), Some("v"));
        assert_eq!(IdSelection::Ids(vec!["t".into()]).unknown(&ids()), None);
        assert_eq!(IdSelection::All.unknown(&[]), None);
    }

    #[test]
    fn one_is_found_where_exactly_one_is_named() {
        let cases = [("t-0-1", Ok("t-0-1")), ("u", Ok("u-0-2")), ("t", Err(3)), ("v", Err(0))];
        for (wanted, expected) in cases {
            assert_eq!(only(ids(), wanted, String::clone), expected.map(str::to_owned), "{wanted}");
        }
    }
}
