//! Commands in comments on a pull request: the first line, when it begins with `/gatelog`.
//!
//! | line | meaning |
//! |---|---|
//! | `/gatelog recheck` | judge again |
//! | `/gatelog waive CHG-02[,CHG-05] [paths GLOB[,GLOB]] until 2026-12-01 because REASON` | ask for an exception |
//! | `/gatelog break-glass because REASON` | the same in an emergency |
//! | `/gatelog approve [N]` | agree to the request of entry N |
//! | `/gatelog revoke N because REASON` | end the exception of entry N now |
//! | `/gatelog reviewed N because NOTE` | the follow-up review of a break-glass is done |
//!
//! Only the payload of `issue_comment.created` is read: whoever may edit other people's comments must not
//! put words into their mouths.

use std::time::Duration;

use serde_json::Value;

use super::Account;
use crate::time::Time;

/// Characters of a reason.
pub const MAX_REASON: usize = 500;
/// Controls or paths in one command.
const MAX_ITEMS: usize = 20;

/// A command and who gave it.
#[derive(Clone, Debug)]
pub struct Given {
    pub by: Account,
    pub at: Time,
    /// `Err`: it begins like a command and is none; what is wrong, and how to write it.
    pub command: Result<Command, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Recheck,
    Waive {
        controls: Vec<String>,
        paths: Vec<String>,
        until: Time,
        reason: String,
    },
    BreakGlass {
        reason: String,
    },
    /// `None`: the only request that waits.
    Approve {
        of: Option<u64>,
    },
    Revoke {
        of: u64,
        reason: String,
    },
    Reviewed {
        of: u64,
        note: String,
    },
}

impl Command {
    /// The word after `/gatelog`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Recheck => "recheck",
            Self::Waive { .. } => "waive",
            Self::BreakGlass { .. } => "break-glass",
            Self::Approve { .. } => "approve",
            Self::Revoke { .. } => "revoke",
            Self::Reviewed { .. } => "reviewed",
        }
    }
}

/// The command of a new comment on a pull request, written by the person who sent it. Bots give none.
#[must_use]
pub fn given(name: &str, payload: &Value) -> Option<Given> {
    let comment = &payload["comment"];
    let is_new = name == "issue_comment" && payload["action"] == "created";
    if !is_new || payload["issue"]["pull_request"].is_null() {
        return None;
    }
    let command = parse(comment["body"].as_str()?)?;
    let account = |v: &Value| {
        let (id, login) = (v["id"].as_u64()?, v["login"].as_str()?.to_owned());
        Some(Account { id, login, kind: v["type"].as_str()?.to_owned() })
    };
    let (author, sender) = (account(&comment["user"])?, account(&payload["sender"])?);
    let by_app = !comment["performed_via_github_app"].is_null();
    if author.id != sender.id || sender.kind != "User" || by_app {
        return None;
    }
    Some(Given { by: sender, at: comment["created_at"].as_str()?.parse().ok()?, command })
}

/// `None`: the first line is no command.
#[must_use]
pub fn parse(body: &str) -> Option<Result<Command, String>> {
    let line = body.lines().next()?.trim_end();
    let rest = line.strip_prefix("/gatelog")?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    Some(read(rest.trim()))
}

const HELP: &str = "known are recheck, waive, break-glass, approve, revoke, reviewed";

fn read(rest: &str) -> Result<Command, String> {
    let (word, rest) = word(rest);
    match word {
        "recheck" => nothing_more(rest, Command::Recheck),
        "waive" => waive(rest),
        "break-glass" => Ok(Command::BreakGlass { reason: because(rest, "break-glass")? }),
        "approve" => {
            let (number, rest) = self::word(rest);
            let of = if number.is_empty() { None } else { Some(entry(number)?) };
            nothing_more(rest, Command::Approve { of })
        }
        "revoke" => {
            let (number, rest) = self::word(rest);
            Ok(Command::Revoke { of: entry(number)?, reason: because(rest, "revoke N")? })
        }
        "reviewed" => {
            let (number, rest) = self::word(rest);
            Ok(Command::Reviewed { of: entry(number)?, note: because(rest, "reviewed N")? })
        }
        "" => Err(format!("no command; {HELP}")),
        other => Err(format!("`{}` is no command; {HELP}", short(other))),
    }
}

fn waive(rest: &str) -> Result<Command, String> {
    const FORM: &str = "write: waive CHG-02 until 2026-12-01 because REASON";
    let (controls, mut rest) = word(rest);
    let controls = list(controls)?;
    if controls.iter().any(|c| matches!(c.as_str(), "until" | "because" | "paths")) || controls.is_empty() {
        return Err(format!("no control is named; {FORM}"));
    }
    if controls.iter().any(|c| !c.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))) {
        return Err(format!("a control's id has letters, digits, `-`, `_` and `.` only; {FORM}"));
    }
    let mut paths = Vec::new();
    if let ("paths", more) = word(rest) {
        let (globs, more) = word(more);
        paths = list(globs)?;
        rest = more;
    }
    let ("until", rest) = word(rest) else { return Err(format!("`until` is missing; {FORM}")) };
    let (end, rest) = word(rest);
    let until = until(end)?;
    Ok(Command::Waive { controls, paths, until, reason: because(rest, "waive CHG-02 until 2026-12-01")? })
}

/// A time in RFC 3339, or a day: to its end, UTC.
///
/// # Errors
/// It is neither.
pub fn until(text: &str) -> Result<Time, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let day = text.len() == 10;
    let midnight = day.then(|| format!("{text}T00:00:00Z").parse::<Time>().ok()).flatten();
    midnight.map(|t| t.plus(Duration::from_secs(24 * 3600))).ok_or_else(|| {
        format!("`{}` is no day such as 2026-12-01 and no time such as 2026-12-01T12:00:00Z", short(text))
    })
}

fn because(rest: &str, before: &str) -> Result<String, String> {
    let ("because", reason) = word(rest) else {
        return Err(format!("`because` and a reason are missing; write: {before} because REASON"));
    };
    let reason = reason.trim();
    match reason.chars().count() {
        0 => Err(format!("the reason is missing; write: {before} because REASON")),
        n if n > MAX_REASON => Err(format!("the reason has {n} characters, the limit is {MAX_REASON}")),
        _ => Ok(reason.to_owned()),
    }
}

fn entry(word: &str) -> Result<u64, String> {
    let number = word.strip_prefix('#').unwrap_or(word);
    number.parse().map_err(|_| format!("`{}` is no number of an entry", short(word)))
}

fn list(words: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = words.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    if items.len() > MAX_ITEMS {
        return Err(format!("{} items in one list, the limit is {MAX_ITEMS}", items.len()));
    }
    Ok(items)
}

fn nothing_more(rest: &str, command: Command) -> Result<Command, String> {
    if rest.is_empty() { Ok(command) } else { Err(format!("`{}` is too much", short(rest))) }
}

/// The next word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn ok(line: &str) -> Command {
        parse(line).unwrap().unwrap()
    }

    fn wrong(line: &str) -> String {
        parse(line).unwrap().unwrap_err()
    }

    #[test]
    fn what_may_be_said() {
        assert_eq!(ok("/gatelog recheck\nthanks"), Command::Recheck);
        assert_eq!(ok("/gatelog  approve #12 "), Command::Approve { of: Some(12) });
        assert_eq!(ok("/gatelog approve"), Command::Approve { of: None });
        assert_eq!(
            ok("/gatelog waive CHG-02,CHG-05 paths vendor/**,*.lock until 2026-12-01 because vendor import"),
            Command::Waive {
                controls: vec!["CHG-02".into(), "CHG-05".into()],
                paths: vec!["vendor/**".into(), "*.lock".into()],
                until: "2026-12-02T00:00:00Z".parse().unwrap(),
                reason: "vendor import".into(),
            }
        );
        assert_eq!(
            ok("/gatelog break-glass because the shop is down"),
            Command::BreakGlass { reason: "the shop is down".into() }
        );
        assert_eq!(
            ok("/gatelog reviewed 7 because it was right"),
            Command::Reviewed { of: 7, note: "it was right".into() }
        );
        assert_eq!(ok("/gatelog revoke 7 because over"), Command::Revoke { of: 7, reason: "over".into() });
    }

    #[test]
    fn what_is_no_command_is_none() {
        for body in [
            "",
            "hello",
            " /gatelog recheck",
            "x\n/gatelog recheck",
            "/gatelogs recheck",
            "> /gatelog recheck",
        ] {
            assert!(parse(body).is_none(), "{body}");
        }
    }

    #[test]
    fn a_wrong_command_says_how_to_write_it() {
        for (line, says) in [
            ("/gatelog", "no command"),
            ("/gatelog waiver CHG-02", "`waiver` is no command"),
            ("/gatelog waive", "no control is named"),
            ("/gatelog waive until 2026-12-01 because x", "no control is named"),
            ("/gatelog waive * until 2026-12-01 because x", "letters, digits"),
            ("/gatelog waive CHG-02 because x", "`until` is missing"),
            ("/gatelog waive CHG-02 until tomorrow because x", "`tomorrow` is no day"),
            ("/gatelog waive CHG-02 until 2026-02-30 because x", "is no day"),
            ("/gatelog waive CHG-02 until 2026-12-01", "`because` and a reason are missing"),
            ("/gatelog waive CHG-02 until 2026-12-01 because  ", "the reason is missing"),
            ("/gatelog recheck now", "`now` is too much"),
            ("/gatelog approve x", "`x` is no number"),
            ("/gatelog break-glass now", "`because` and a reason are missing"),
        ] {
            assert!(wrong(line).contains(says), "{line}: {}", wrong(line));
        }
        assert!(wrong(&format!("/gatelog break-glass because {}", "x".repeat(501))).contains("limit is 500"));
    }

    fn comment(change: impl Fn(&mut Value)) -> Option<Given> {
        let mona = json!({"id": 1, "login": "mona", "type": "User"});
        let mut payload = json!({
            "action": "created",
            "issue": {"number": 7, "pull_request": {"url": "u"}},
            "comment": {"id": 5, "user": mona, "body": "/gatelog recheck", "created_at": "2026-11-24T15:04:05Z",
                        "performed_via_github_app": null},
            "sender": mona,
        });
        change(&mut payload);
        given("issue_comment", &payload)
    }

    #[test]
    fn only_a_new_comment_of_its_sender_counts() {
        assert!(comment(|_| ()).is_some());
        assert!(comment(|p| p["action"] = json!("edited")).is_none());
        assert!(comment(|p| p["sender"]["id"] = json!(2)).is_none(), "written by somebody else");
        assert!(comment(|p| p["sender"]["type"] = json!("Bot")).is_none());
        assert!(comment(|p| p["comment"]["performed_via_github_app"] = json!({"id": 1})).is_none());
        assert!(comment(|p| p["issue"]["pull_request"] = Value::Null).is_none(), "an issue");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(body in any::<String>(), tail in any::<String>()) {
            let _ = parse(&body);
            let _ = parse(&format!("/gatelog {tail}"));
            let _ = parse(&format!("/gatelog waive {tail}"));
        }
    }
}
