//! The webhook: where GitHub sends events to, and whether they arrive.

use std::{collections::BTreeMap, time::Duration};

use http::Uri;
use serde_json::json;

use super::{Report, State, app::settings_page};
use crate::{
    github::{
        Github,
        inspect::{App, Hook},
        reconcile::PastDelivery,
    },
    time::Time,
};

/// How far back deliveries are looked at, and pages of a hundred at most.
const RECENT: Duration = Duration::from_secs(24 * 3600);
const PAGES: usize = 5;

pub(super) async fn examine(github: &Github, app: &App, now: Time, report: &mut Report) {
    match github.hook().await {
        Ok(hook) => config(&hook, &settings_page(app), report),
        Err(trouble) => report.trouble("webhook", trouble),
    }
    let since = Time::from_unix_micros(now.unix_micros() - RECENT.as_micros() as i64).unwrap_or(now);
    match github.deliveries(since, PAGES).await {
        Ok(listed) => deliveries(&listed.items, listed.complete, &settings_page(app), report),
        Err(trouble) => report.trouble("webhook", trouble),
    }
}

pub(super) fn config(hook: &Hook, page: &str, report: &mut Report) {
    let Some(url) = hook.url.as_deref().filter(|u| !u.is_empty()) else {
        let text = format!("the App has no webhook: set https://YOUR-HOST/webhook\nat {page}");
        return report.say("webhook", State::Wrong, text);
    };
    let uri = url.parse::<Uri>().ok();
    let path = uri.as_ref().map(Uri::path).unwrap_or_default();
    // A proxy in front may rewrite the path; what it is called there is no mistake by itself.
    if !path.ends_with("/webhook") {
        let text = format!("{url} does not end in /webhook, which is where gatelog listens\nat {page}");
        report.say("webhook", State::Note, text);
    }
    if uri.and_then(|u| u.scheme_str().map(str::to_owned)).as_deref() != Some("https") {
        report.say(
            "webhook",
            State::Note,
            format!("{url} is not https: events cross the network in the open"),
        );
    }
    if [json!("1"), json!(1), json!(true)].contains(&hook.insecure_ssl) {
        let text =
            format!("GitHub does not check the certificate of {url}: enable SSL verification\nat {page}");
        report.say("webhook", State::Wrong, text);
    } else {
        report.say("webhook", State::Good, format!("GitHub sends events to {url}"));
    }
}

pub(super) fn deliveries(attempts: &[PastDelivery], complete: bool, page: &str, report: &mut Report) {
    let Some(newest) = attempts.first() else {
        let text =
            "GitHub sent nothing within a day; a push to a repository of the App shows whether it arrives";
        return report.say("webhook", State::Note, text);
    };
    let mut arrived: BTreeMap<&str, bool> = BTreeMap::new();
    for attempt in attempts {
        *arrived.entry(&attempt.guid).or_default() |= attempt.arrived();
    }
    let (all, lost) = (arrived.len(), arrived.values().filter(|arrived| !**arrived).count());
    let since = if complete { "within a day" } else { "lately" };
    if !newest.arrived() {
        let text = format!(
            "the newest delivery ({}) did not arrive, GitHub was answered {}; {lost} of {all} {since} did not\n\
             look at {page}/advanced, and whether `gatelog serve` runs behind that address",
            newest.event, newest.status_code
        );
        report.say("webhook", State::Wrong, text);
    } else if lost > 0 {
        let text = format!("{lost} of {all} deliveries {since} did not arrive; sweeps ask for them again");
        report.say("webhook", State::Note, text);
    } else {
        report.say("webhook", State::Good, format!("all {all} deliveries {since} arrived"));
    }
}
