//! `[[ledger.witness]]`: who is asked to cosign checkpoints.
//!
//! What keys and quorums mean is the ledger's to say; here they are texts.

use toml::{Spanned, de::DeValue};

use super::{ConfigError, tables};

/// Where witnesses stand.
pub(super) const SECTION: &str = "ledger.witness";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// `vkey`: as `gatelog witness key show`, or the witness' own page, says it.
    pub vkey: String,
    /// `url`: where it takes checkpoints; without `/add-checkpoint`.
    pub url: String,
}

const EXAMPLE: &str =
    "[[ledger.witness]]\nvkey = \"witness.example/w1+…\"\nurl = \"https://witness.example/w1\"";

/// # Errors
/// Something in it is not as it must be.
pub(super) fn read(
    value: &Spanned<DeValue<'_>>,
    place: impl Fn(usize) -> String,
) -> Result<Vec<Witness>, ConfigError> {
    tables::read(value, place, ("witnesses", SECTION, EXAMPLE), one)
}

fn one(value: &DeValue<'_>) -> Result<Witness, String> {
    let DeValue::Table(table) = value else { return Err("is not a table".into()) };
    let (mut vkey, mut url) = (None, None);
    for (key, value) in table {
        let text = value.get_ref().as_str().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
        match &**key.get_ref() {
            "vkey" => vkey = Some(text.ok_or("vkey must be a text")?),
            "url" => url = Some(text.ok_or("url must be a text")?),
            other => return Err(format!("has no key `{other}`; there are vkey, url")),
        }
    }
    Ok(Witness { vkey: vkey.ok_or("needs a vkey")?, url: url.ok_or("needs a url")? })
}
