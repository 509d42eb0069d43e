//! The App at GitHub: its key, clock, permissions and events, and where it is installed.

use std::{collections::BTreeSet, time::Duration};

use super::{Report, State};
use crate::{
    config::Config,
    github::{
        Github,
        inspect::{App, Installed, Permissions},
        needed,
    },
    time::Time,
};

/// GitHub refuses a token of an App whose clock is a minute ahead.
const MAX_SKEW: Duration = Duration::from_secs(30);

/// The App, if GitHub takes the key.
pub(super) async fn examine(config: &Config, github: &Github, report: &mut Report) -> Option<App> {
    let (app, date) = match github.app().await {
        Ok(answer) => answer,
        Err(trouble) if trouble.passes() => {
            report.say("github", State::Unknown, trouble.reason);
            return None;
        }
        Err(trouble) => {
            let hint = "app_id and private_key_file must belong to the same App, and the clock must be right";
            report.say("github", State::Wrong, format!("{}\n{hint}", trouble.reason));
            return None;
        }
    };
    let text =
        format!("{} accepts the key of App {} ({})", config.github.api_url, config.github.app_id, app.name);
    report.say("github", State::Good, text);
    clock(date.as_deref(), Time::now(), report);
    let page = format!("{}/permissions", settings_page(&app));
    permissions("app", &app.permissions, &page, report);
    events("app", &app.events, &page, report);
    Some(app)
}

/// Where the owner of the App changes it.
pub(super) fn settings_page(app: &App) -> String {
    let web = web(app);
    match app.owner.kind.as_str() {
        "Organization" => format!("{web}/organizations/{}/settings/apps/{}", app.owner.login, app.slug),
        _ => format!("{web}/settings/apps/{}", app.slug),
    }
}

/// Where people see this GitHub: `https://github.com`.
fn web(app: &App) -> String {
    let mut parts = app.html_url.splitn(4, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(""), Some(host)) => format!("{scheme}//{host}"),
        _ => "https://github.com".to_owned(),
    }
}

pub(super) fn clock(date: Option<&str>, now: Time, report: &mut Report) {
    let theirs = date.and_then(|d| jiff::fmt::rfc2822::parse(d).ok());
    let Some(theirs) = theirs.and_then(|z| Time::from_unix_micros(z.timestamp().as_microsecond())) else {
        return report.say("clock", State::Unknown, "GitHub did not say what time it is");
    };
    let skew = now.since(theirs).max(theirs.since(now));
    if skew > MAX_SKEW {
        let text = format!("{} s away from GitHub's clock; set it (NTP)", skew.as_secs());
        report.say("clock", State::Wrong, text);
    } else {
        report.say("clock", State::Good, "agrees with GitHub's");
    }
}

fn enough(granted: &Permissions, name: &str, level: &str) -> bool {
    granted.get(name).is_some_and(|has| has == level || has == "write" || has == "admin")
}

/// Those that are missing: needed, and good to have.
fn missing(granted: &Permissions) -> (Vec<String>, Vec<(String, &'static str)>) {
    let (mut needed, mut optional) = (vec![], vec![]);
    for (name, level) in needed::PERMISSIONS.iter().filter(|(name, level)| !enough(granted, name, level)) {
        let shown = format!("{name}: {level}");
        match needed::OPTIONAL_PERMISSIONS.iter().find(|(n, _)| n == name) {
            Some((_, without)) => optional.push((shown, *without)),
            None => needed.push(shown),
        }
    }
    (needed, optional)
}

pub(super) fn permissions(part: &'static str, granted: &Permissions, page: &str, report: &mut Report) {
    let (needed, optional) = missing(granted);
    if needed.is_empty() {
        report.say(part, State::Good, "has the permissions it needs");
    } else {
        let text = format!("permissions to add: {}\nat {page}", needed.join(", "));
        report.say(part, State::Wrong, text);
    }
    for (permission, without) in optional {
        report.say(part, State::Note, format!("without {permission}, {without}"));
    }
    let allowed = |name: &str, has: &str| {
        let mut used = needed::PERMISSIONS.iter().chain(needed::FOR_CONTROLS);
        used.any(|(n, level)| *n == name && (*level == has || *level == "write"))
    };
    let more: Vec<_> =
        granted.iter().filter(|(n, l)| !allowed(n, l)).map(|(n, l)| format!("{n}: {l}")).collect();
    if !more.is_empty() {
        let text =
            format!("permissions to take away, gatelog does not use them: {}\nat {page}", more.join(", "));
        report.say(part, State::Note, text);
    }
}

pub(super) fn events(part: &'static str, subscribed: &[String], page: &str, report: &mut Report) {
    let has = |event: &str| subscribed.iter().any(|s| s == event);
    let missing: Vec<_> = needed::EVENTS.iter().filter(|e| !has(e)).copied().collect();
    if missing.is_empty() {
        report.say(part, State::Good, "subscribes to the events it needs");
    } else {
        let text = format!("events to subscribe to: {}\nat {page}", missing.join(", "));
        report.say(part, State::Wrong, text);
    }
    for (event, without) in needed::OPTIONAL_EVENTS.iter().filter(|(e, _)| !has(e)) {
        report.say(part, State::Note, format!("without the event {event}, {without}"));
    }
    let known: BTreeSet<&str> =
        needed::all_events().chain(needed::EVENTS_FOR_CONTROLS.iter().copied()).collect();
    let more: Vec<_> = subscribed.iter().map(String::as_str).filter(|e| !known.contains(e)).collect();
    if !more.is_empty() {
        let text = format!("events that are recorded and decide nothing: {}", more.join(", "));
        report.say(part, State::Note, text);
    }
}

/// Where the App is installed and may do what it must.
pub(super) async fn installations(github: &Github, app: &App, report: &mut Report) -> Vec<Installed> {
    let all = match github.installed().await {
        Ok(all) => all,
        Err(trouble) => {
            report.trouble("install", trouble);
            return vec![];
        }
    };
    if all.is_empty() {
        let text = format!("the App is installed nowhere\nat {}/installations", settings_page(app));
        report.say("install", State::Wrong, text);
    }
    let mut usable = vec![];
    for installed in all {
        let who = &installed.account.login;
        let page = installed.html_url.clone().unwrap_or_else(|| {
            format!("{}/organizations/{who}/settings/installations/{}", web(app), installed.id)
        });
        let lacking = missing(&installed.permissions).0;
        if installed.suspended_at.is_some() {
            report.say(
                "install",
                State::Wrong,
                format!("{who}: suspended, nothing is judged there\nat {page}"),
            );
        } else if lacking.is_empty() {
            report.say("install", State::Good, format!("{who}: with the permissions it needs"));
            usable.push(installed);
        } else if missing(&app.permissions).0.is_empty() {
            let text = format!("{who}: has not accepted {}\nan owner does so at {page}", lacking.join(", "));
            report.say("install", State::Wrong, text);
            usable.push(installed);
        } else {
            report.say(
                "install",
                State::Note,
                format!("{who}: has to accept what is added to the App, at {page}"),
            );
            usable.push(installed);
        }
    }
    usable
}
