//! Whether a body names a person: found by reading it. Pure.
//!
//! A person is a login and whatever bodies tie to it: the e-mail addresses and names that stand beside it
//! in one object, as in `{"name": "Ada", "email": "ada@example.com", "username": "ada"}`. A body names the
//! person where a JSON string, a key or a value,
//! * is the login, in any case;
//! * is one of the e-mail addresses, or a no-reply address of GitHub with the login;
//! * stands under `name` and is one of the names;
//! * mentions `@login` in a text.
//!
//! A text that is no JSON names the person where the login or an address stands in it as a word.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whom to look for. Everything in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    login: String,
    emails: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Person {
    /// `also`: e-mail addresses (with an `@`) and names that are known from elsewhere.
    #[must_use]
    pub fn new(login: &str, also: &[String]) -> Self {
        let (emails, names) = also.iter().map(|a| a.to_lowercase()).partition(|a| a.contains('@'));
        Self { login: login.trim_start_matches('@').to_lowercase(), emails, names }
    }

    /// Takes in what a body ties to the login. `false`: nothing new.
    pub fn learn(&mut self, body: &[u8], media: &str) -> bool {
        let before = (self.emails.len(), self.names.len());
        let login = self.login.clone();
        let mut found = vec![];
        walk(&json(body, media), &mut |seen| {
            if let Seen::Object(object) = seen
                && [&object.login, &object.username]
                    .into_iter()
                    .flatten()
                    .any(|l| l.eq_ignore_ascii_case(&login))
            {
                found.push((object.email.clone(), object.name.clone()));
            }
        });
        for (email, name) in found {
            self.emails.extend(email.filter(|e| e.contains('@')).map(|e| e.to_lowercase()));
            self.names.extend(name.filter(|n| !n.is_empty()).map(|n| n.to_lowercase()));
        }
        (self.emails.len(), self.names.len()) != before
    }

    #[must_use]
    pub fn is_named_in(&self, body: &[u8], media: &str) -> bool {
        let text = json(body, media);
        let mut named = false;
        let whole = walk(&text, &mut |seen| {
            named |= match seen {
                Seen::Text(text) => self.is_text(text),
                Seen::Object(object) => {
                    object.name.as_ref().is_some_and(|n| self.names.contains(&n.to_lowercase()))
                }
            };
        });
        named || (!whole && self.is_in_words(&text))
    }

    fn is_text(&self, text: &str) -> bool {
        if text.eq_ignore_ascii_case(&self.login) {
            return true;
        }
        if !text.contains('@') {
            return false;
        }
        let text = text.to_lowercase();
        self.emails.contains(&text) || self.is_no_reply(&text) || has_word(&text, &format!("@{}", self.login))
    }

    /// `login@users.noreply.github.com`, `123+login@…`; on GitHub Enterprise Server with its host.
    fn is_no_reply(&self, text: &str) -> bool {
        text.split_once("@users.noreply.")
            .is_some_and(|(local, _)| local.split_once('+').map_or(local, |(_, login)| login) == self.login)
    }

    /// Whether the login or an address stands there as a word.
    pub(super) fn is_in_words(&self, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text).to_lowercase();
        [&self.login].into_iter().chain(&self.emails).any(|word| has_word(&text, word))
    }
}

/// Logins are letters, digits and single hyphens.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            !text[..at].chars().next_back().is_some_and(inside)
                && !text[at + word.len()..].chars().next().is_some_and(inside)
        })
}

/// The JSON of a body: a form has it in the field `payload`.
pub(super) fn json<'a>(body: &'a [u8], media: &str) -> Cow<'a, [u8]> {
    if media == "application/x-www-form-urlencoded"
        && let Some((_, text)) = form_urlencoded::parse(body).find(|(name, _)| name == "payload")
    {
        return Cow::Owned(text.into_owned().into_bytes());
    }
    Cow::Borrowed(body)
}

/// What the fields of an object say of a person.
#[derive(Default)]
struct Object {
    login: Option<String>,
    username: Option<String>,
    email: Option<String>,
    name: Option<String>,
}

impl Object {
    fn field(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "login" => Some(&mut self.login),
            "username" => Some(&mut self.username),
            "email" => Some(&mut self.email),
            "name" => Some(&mut self.name),
            _ => None,
        }
    }
}

enum Seen<'a> {
    /// A key or a string.
    Text(&'a str),
    Object(&'a Object),
}

/// Tells of every string and object, without making a tree of a body that may be 25 MB. `false`: it is
/// not JSON, or not to its end.
fn walk(body: &[u8], each: &mut dyn FnMut(Seen<'_>)) -> bool {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Walk { each, text: None }.deserialize(&mut json);
    read.and_then(|()| json.end()).is_ok()
}

struct Walk<'a, 'f> {
    each: &'a mut (dyn FnMut(Seen<'_>) + 'f),
    /// Where the value goes if it is a string.
    text: Option<&'a mut Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.each)(Seen::Text(text));
        if let Some(wanted) = self.text {
            *wanted = Some(text.to_owned());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk { each: &mut *self.each, text: None })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut object = Object::default();
        while let Some(key) = fields.next_key::<Cow<'_, str>>()? {
            (self.each)(Seen::Text(&key));
            fields.next_value_seed(Walk { each: &mut *self.each, text: object.field(&key) })?;
        }
        (self.each)(Seen::Object(&object));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";

    fn named(person: &Person, body: &str) -> bool {
        person.is_named_in(body.as_bytes(), JSON)
    }

    #[test]
    fn a_login_is_a_whole_string() {
        let ada = Person::new("Ada", &[]);
        for body in [
            r#"{"sender": {"login": "ada"}}"#,
            r#"["ADA"]"#,
            r#"{"ada": 1}"#,
            r#"{"a": {"b": ["\u0061da"]}}"#,
            r#"{"body": "thanks, @ada!"}"#,
            r#"{"email": "7+ada@users.noreply.github.com"}"#,
        ] {
            assert!(named(&ada, body), "{body}");
        }
        for body in
            [r#"{"login": "adam"}"#, r#"{"body": "adapt, @adam, @ada-b"}"#, r#"{"n": 1}"#, r#""a ada b""#]
        {
            assert!(!named(&ada, body), "{body}");
        }
    }

    #[test]
    fn addresses_and_names_are_learned_from_what_stands_beside_the_login() {
        let mut ada = Person::new("ada", &[]);
        let commit = r#"{"author": {"name": "Ada L.", "email": "Ada@example.com", "username": "ada"}}"#;
        let other = r#"{"author": {"name": "Ada L.", "email": "x@y"}, "title": "Ada L."}"#;
        assert!(!named(&ada, other));
        assert!(ada.learn(commit.as_bytes(), JSON) && !ada.learn(commit.as_bytes(), JSON));
        assert!(named(&ada, other));
        assert!(named(&ada, r#"{"email": "ada@EXAMPLE.com"}"#));
        assert!(!named(&ada, r#"{"title": "Ada L."}"#), "a name counts only as a name");
        assert!(named(&Person::new("x", &["ada@example.com".into()]), r#"["ada@example.com"]"#));
    }

    #[test]
    fn forms_and_texts_are_read_too() {
        let ada = Person::new("ada", &[]);
        let form = "payload=%7B%22login%22%3A%22ada%22%7D";
        assert!(ada.is_named_in(form.as_bytes(), "application/x-www-form-urlencoded"));
        assert!(named(&ada, "not json: ada did it") && !named(&ada, "not json: adam did it"));
        assert!(named(&ada, r#"{"broken": ["ada"#) && !named(&ada, r#"{"broken": ["#));
    }
}
