//! The arguments of a call, by type.

use super::record::{Arg, Body};
use crate::import::format::RecordRefusal;
use crate::import::json::{Number, fit, given};

/// The arguments of a call, by type: texts (strings, paths, files), numbers, and others.
#[derive(Default)]
pub(super) struct CallArguments<'a> {
    pub(super) args: &'a [Arg<'a>],
    pub(super) returned: Option<&'a Arg<'a>>,
    texts: Vec<String>,
    /// Which of the texts is the first path of the kernel's, as opposed to strings of the caller's.
    first_path: Option<usize>,
    numbers: Vec<i64>,
    /// How many of the numbers come before the last text.
    before_text: usize,
    return_value: Option<i64>,
}

impl<'a> CallArguments<'a> {
    /// The arguments of `body`. Errors: one has more than 64 bits.
    pub(super) fn new(body: &'a Body<'a>) -> Result<Self, RecordRefusal> {
        let mut call = Self {
            args: body.args.as_deref().unwrap_or_default(),
            returned: body.r#return.as_ref(),
            ..Self::default()
        };
        for arg in call.args {
            if let Some(file) = arg.path_arg.as_ref().or(arg.file_arg.as_ref()).or(arg.linux_binprm_arg.as_ref()) {
                call.first_path.get_or_insert(call.texts.len());
                call.texts.push(kernel_path(given(&file.path).unwrap_or_default()));
                call.before_text = call.numbers.len();
            } else if let Some(text) = &arg.string_arg {
                call.texts.push(text.as_str().to_owned());
                call.before_text = call.numbers.len();
            } else if let Some(number) = number(arg)? {
                call.numbers.push(number);
            }
        }
        call.return_value = call.returned.map(number).transpose()?.flatten();
        Ok(call)
    }

    /// The text at `place`, unless it is empty.
    pub(super) fn text(&self, place: usize) -> Option<String> {
        self.texts.get(place).filter(|text| !text.is_empty()).cloned()
    }

    /// Whether there are two texts or more.
    pub(super) fn has_two_texts(&self) -> bool {
        self.texts.len() > 1
    }

    /// Place of the target of a mount, whose texts are source, target and type: the path where there is one.
    pub(super) fn target(&self) -> usize {
        self.first_path.unwrap_or(1)
    }

    /// The number at `place`.
    pub(super) fn number(&self, place: usize) -> Option<i64> {
        self.numbers.get(place).copied()
    }

    /// The last number.
    pub(super) fn last_number(&self) -> Option<i64> {
        self.numbers.last().copied()
    }

    /// The number at `place` after the last text. Without a text it is unknown which argument a number is.
    pub(super) fn after_text(&self, place: usize) -> Option<i64> {
        self.texts.first()?;
        self.numbers.get(self.before_text + place).copied()
    }

    /// What the call returned, if it is a number.
    pub(super) fn return_value(&self) -> Option<i64> {
        self.return_value
    }
}

fn number(arg: &Arg<'_>) -> Result<Option<i64>, RecordRefusal> {
    let number = arg.int_arg.or(arg.uint_arg).or(arg.size_arg).or(arg.long_arg);
    // Flags and sizes of 64 bits have no sign.
    if number.is_some_and(|Number(number)| number > i64::MAX.into()) {
        return Ok(fit::<u64>("an argument", number)?.map(|number| number as i64));
    }
    fit("an argument", number)
}

/// A path of the kernel's begins at a root; versions before 1.0 omitted its slash.
fn kernel_path(path: &str) -> String {
    let on_disk = !path.is_empty() && !path.starts_with('/') && !path.contains(':');
    if on_disk { format!("/{path}") } else { path.to_owned() }
}
