//! An input from real history as a fixture for tests: the same facts, other people.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Accounts of GitHub's own that mean something to policies.
const KEPT: &[&str] = &["web-flow", "github-actions[bot]", "dependabot[bot]", "renovate[bot]", "ghost"];

/// Replaces logins, ids and e-mails of people and apps by made-up ones, everywhere the same, and
/// leaves the webhook's payload out. Says who became whom.
///
/// Titles, messages and branch names stay, but for logins in them: policies read those.
pub fn without_people(input: &mut Value) -> Vec<(String, String)> {
    if let Some(event) = input.get_mut("event").and_then(Value::as_object_mut) {
        event.insert("payload".to_owned(), json!({}));
    }
    let mut people = People::default();
    people.find(input);
    people.replace(input, None);
    people.names.into_iter().map(|(_, (was, is))| (was, is)).collect()
}

#[derive(Default)]
struct People {
    /// Lower case → as written, and the new name.
    names: BTreeMap<String, (String, String)>,
    ids: BTreeMap<u64, u64>,
    emails: BTreeMap<String, String>,
}

impl People {
    fn find(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                self.account(map);
                if let Some(Value::String(email)) = map.get("email") {
                    let next = self.emails.len() + 1;
                    self.emails
                        .entry(email.clone())
                        .or_insert_with(|| format!("somebody-{next}@example.com"));
                }
                map.values().for_each(|v| self.find(v));
            }
            Value::Array(items) => items.iter().for_each(|v| self.find(v)),
            _ => {}
        }
    }

    fn account(&mut self, map: &Map<String, Value>) {
        let (Some(Value::String(login)), Some(id)) =
            (map.get("login"), map.get("id").and_then(Value::as_u64))
        else {
            return;
        };
        let kept = KEPT.iter().any(|k| k.eq_ignore_ascii_case(login));
        if kept || map.get("type").is_some_and(|t| t == "Organization") {
            return;
        }
        let next = self.names.len() + 1;
        let new =
            if login.ends_with("[bot]") { format!("app-{next}[bot]") } else { format!("person-{next}") };
        self.names.entry(login.to_lowercase()).or_insert((login.clone(), new));
        let next = self.ids.len() as u64 + 1001;
        self.ids.entry(id).or_insert(next);
    }

    fn replace(&self, value: &mut Value, key: Option<&str>) {
        match value {
            Value::Object(map) => {
                let account = map.contains_key("login");
                for (k, v) in map.iter_mut() {
                    if account && k == "id" {
                        self.id(v);
                    }
                    self.replace(v, Some(k));
                }
            }
            Value::Array(items) => {
                // Members of teams and organisations are ids.
                items.iter_mut().filter(|v| v.is_u64()).for_each(|v| self.id(v));
                items.iter_mut().for_each(|v| self.replace(v, key));
            }
            Value::String(s) => {
                *s = match (key, self.emails.get(s)) {
                    (Some("email"), Some(new)) => new.clone(),
                    _ => self.text(s),
                }
            }
            _ => {}
        }
    }

    fn id(&self, value: &mut Value) {
        if let Some(new) = value.as_u64().and_then(|id| self.ids.get(&id)) {
            *value = json!(new);
        }
    }

    /// Logins as whole words, and e-mails.
    fn text(&self, text: &str) -> String {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let (mut out, mut rest) = (String::new(), text);
        while !rest.is_empty() {
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            if end == 0 {
                let one = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..one]);
                rest = &rest[one..];
                continue;
            }
            let bot = if rest[end..].starts_with("[bot]") { end + "[bot]".len() } else { end };
            let known = |n: usize| self.names.get(&rest[..n].to_lowercase()).map(|(_, new)| (n, new));
            match known(bot).or_else(|| known(end)) {
                Some((n, new)) => {
                    out.push_str(new);
                    rest = &rest[n..];
                }
                None => {
                    out.push_str(&rest[..end]);
                    rest = &rest[end..];
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_left_and_everybody_stays_the_same() {
        let account = |id: u64, login: &str| json!({"id": id, "login": login, "type": "User"});
        let mut input = json!({
            "event": {"payload": {"sender": {"login": "alice", "id": 7}}},
            "pull_request": {"user": account(7, "alice"), "head": {"ref": "Alice/fix-alice-2"}, "title": "by @alice, not malice"},
            "commits": [{"author": {"email": "a.l@corp.example", "user": account(7, "alice")}, "committer": {"email": "noreply@github.com", "user": account(9, "web-flow")}}],
            "files": [{"filename": "a", "owners": [{"users": ["ALICE"], "teams": ["o/t"]}]}],
            "teams": {"o/t": {"id": 3, "members": [7, 8]}},
        });
        let told = without_people(&mut input);
        assert_eq!(told, [("alice".to_owned(), "person-1".to_owned())]);
        let text = input.to_string();
        assert!(
            !text.to_lowercase().replace("malice", "").replace("fix-alice-2", "").contains("alice"),
            "{text}"
        );
        assert!(!text.contains("corp.example"), "{text}");
        assert_eq!(input["teams"]["o/t"]["members"], json!([1001, 8]));
        assert_eq!(input["pull_request"]["user"]["id"], 1001);
        assert_eq!(input["commits"][0]["committer"]["user"]["login"], "web-flow");
        assert_eq!(input["pull_request"]["head"]["ref"], "person-1/fix-alice-2");
    }
}
