//! Lists of tables, `[[section]]`, which have no variables in the environment.

use toml::{Spanned, de::DeValue};

use super::ConfigError;

/// Reads each table with `one`; `what` names them, `example` shows one.
///
/// # Errors
/// It is no list, or `one` says what is wrong with a table; the line is that of the table.
pub(super) fn read<T>(
    value: &Spanned<DeValue<'_>>,
    place: impl Fn(usize) -> String,
    (what, section, example): (&str, &str, &str),
    one: impl Fn(&DeValue<'_>) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let wrong =
        |at: usize, what: &str| ConfigError::Wrong(format!("{}: {what}; for example\n{example}", place(at)));
    let list = value.get_ref().as_array();
    let list =
        list.ok_or_else(|| wrong(value.span().start, &format!("{what} are written as [[{section}]]")))?;
    list.iter()
        .map(|item| {
            one(item.get_ref()).map_err(|why| wrong(item.span().start, &format!("[[{section}]] {why}")))
        })
        .collect()
}
