use super::{app::*, *};
use crate::github::{
    inspect::{Hook, Permissions},
    needed,
    reconcile::PastDelivery,
};

fn granted(pairs: &[(&str, &str)]) -> Permissions {
    pairs.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect()
}

const PAGE: &str = "https://github.com/organizations/octo-org/settings/apps/gatelog";

#[test]
fn what_the_app_has_and_what_it_needs() {
    let mut report = Report::default();
    permissions("app", &granted(needed::PERMISSIONS), PAGE, &mut report);
    events("app", &needed::all_events().map(str::to_owned).collect::<Vec<_>>(), PAGE, &mut report);
    assert_eq!(report.exit(), Exit::Ok);
    assert!(report.0.iter().all(|l| l.state == State::Good), "{report:?}");
    let some =
        granted(&[("checks", "read"), ("contents", "write"), ("metadata", "read"), ("issues", "write")]);
    permissions("app", &some, PAGE, &mut report);
    events("app", &["push".to_owned(), "star".to_owned()], PAGE, &mut report);
    assert_eq!(report.exit(), Exit::Failed);
    insta::assert_snapshot!(anstream::adapter::strip_str(&report.text()).to_string());
}

#[test]
fn the_clock() {
    let says = |now: &str| {
        let mut report = Report::default();
        clock(Some("Tue, 24 Nov 2026 15:00:00 GMT"), now.parse().unwrap(), &mut report);
        report.0[0].state
    };
    assert_eq!(says("2026-11-24T15:00:20Z"), State::Good);
    assert_eq!(says("2026-11-24T15:00:31Z"), State::Wrong);
    assert_eq!(says("2026-11-24T14:59:00Z"), State::Wrong);
    let mut report = Report::default();
    clock(None, Time::now(), &mut report);
    assert_eq!(report.exit(), Exit::CouldNotRun);
}

#[test]
fn the_webhook() {
    let says = |json: serde_json::Value| {
        let mut report = Report::default();
        hook::config(&serde_json::from_value::<Hook>(json).unwrap(), PAGE, &mut report);
        report.0.iter().map(|l| l.state).max_by_key(|s| *s as u8).unwrap()
    };
    let url = "https://gate.example.com/webhook";
    assert_eq!(
        says(serde_json::json!({"url": url, "content_type": "json", "insecure_ssl": "0"})),
        State::Good
    );
    assert_eq!(says(serde_json::json!({"url": url, "insecure_ssl": "1"})), State::Wrong);
    assert_eq!(says(serde_json::json!({"url": url, "insecure_ssl": 1})), State::Wrong);
    assert_eq!(says(serde_json::json!({"url": "http://gate.example.com/webhook"})), State::Note);
    assert_eq!(says(serde_json::json!({"url": "https://gate.example.com/"})), State::Note);
    assert_eq!(says(serde_json::json!({"url": null})), State::Wrong);
}

#[test]
fn deliveries() {
    let attempt = |guid: &str, status: i64| PastDelivery {
        id: 1,
        guid: guid.to_owned(),
        delivered_at: Time::now(),
        redelivery: false,
        status_code: status,
        event: "push".to_owned(),
        action: None,
        installation_id: None,
        repository_id: None,
    };
    let says = |attempts: &[PastDelivery]| {
        let mut report = Report::default();
        hook::deliveries(attempts, true, PAGE, &mut report);
        (report.0[0].state, report.0[0].text.clone())
    };
    assert_eq!(says(&[]).0, State::Note);
    // Newest first: one that failed and was sent again has arrived.
    assert_eq!(says(&[attempt("b", 202), attempt("a", 202), attempt("a", 502)]).0, State::Good);
    let (state, text) = says(&[attempt("b", 202), attempt("a", 502)]);
    assert!(state == State::Note && text.contains("1 of 2"), "{text}");
    let (state, text) = says(&[attempt("b", 502), attempt("a", 202)]);
    assert!(state == State::Wrong && text.contains("answered 502; 1 of 2"), "{text}");
}
