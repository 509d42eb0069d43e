//! `[[ledger.hold]]`: what a legal hold keeps, whoever asks for its erasure and however old it is.
//!
//! A list of tables has no variables in the environment.

use toml::{Spanned, de::DeValue};

use super::{ConfigError, tables};

/// Where holds stand.
pub(super) const SECTION: &str = "ledger.hold";

/// Exactly one of `repository` and `entries` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// `repository`: `"owner/name"`, or its number as a text.
    pub repository: Option<String>,
    /// `pull_request`: of that repository; all that is about it if there is none.
    pub pull_request: Option<u64>,
    /// `entries`: `"100-200"`, first and last.
    pub entries: Option<(u64, u64)>,
    /// `reason`: shown where the hold keeps something.
    pub reason: String,
}

/// # Errors
/// Something in it is not as it must be. A hold that is not understood holds nothing, so this is
/// never passed over.
pub(super) fn read(
    value: &Spanned<DeValue<'_>>,
    place: impl Fn(usize) -> String,
) -> Result<Vec<Hold>, ConfigError> {
    tables::read(value, place, ("holds", SECTION, EXAMPLE), one)
}

const EXAMPLE: &str =
    "[[ledger.hold]]\nrepository = \"octo-org/app\"\npull_request = 12\nreason = \"case 2026-17\"";

fn one(value: &DeValue<'_>) -> Result<Hold, String> {
    let DeValue::Table(table) = value else { return Err("is not a table".into()) };
    let mut hold = Hold { repository: None, pull_request: None, entries: None, reason: String::new() };
    for (key, value) in table {
        let value = value.get_ref();
        let text = || value.as_str().map(str::to_owned).filter(|t| !t.trim().is_empty());
        match &**key.get_ref() {
            "repository" => {
                let name = text().ok_or("repository must be a text")?;
                let is_name = name
                    .split_once('/')
                    .is_some_and(|(o, n)| !o.is_empty() && !n.is_empty() && !n.contains('/'));
                if !is_name && name.parse::<u64>().is_err() {
                    return Err("repository must be \"owner/name\" or its number in quotes".into());
                }
                hold.repository = Some(name);
            }
            "pull_request" => hold.pull_request = Some(number(value).ok_or("pull_request must be a number")?),
            "entries" => {
                hold.entries = Some(text().and_then(|t| range(&t)).ok_or("entries must be \"FIRST-LAST\"")?)
            }
            "reason" => hold.reason = text().ok_or("reason must be a text")?,
            other => {
                return Err(format!(
                    "has no key `{other}`; there are repository, pull_request, entries, reason"
                ));
            }
        }
    }
    match (&hold.repository, hold.pull_request, hold.entries) {
        _ if hold.reason.is_empty() => Err("needs a reason".into()),
        (None, Some(_), _) => Err("pull_request needs the repository it is of".into()),
        (None, None, None) | (Some(_), _, Some(_)) => Err("needs either repository or entries".into()),
        _ => Ok(hold),
    }
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    value.as_integer().filter(|n| n.radix() == 10)?.as_str().parse().ok()
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}
