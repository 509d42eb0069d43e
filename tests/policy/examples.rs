//! Every payload that GitHub's own tools publish as an example, read and placed.

use std::{collections::BTreeSet, fs};

use gatelog::{
    event::{ContentType, Delivery, handling, parse},
    time::Time,
};
use serde_json::Value;

fn delivery(name: &str, content: ContentType, body: String) -> Delivery {
    Delivery { guid: "g".into(), name: name.into(), content, body: body.into(), received_at: Time::now() }
}

fn form(payload: &Value) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish()
}

/// One line: what the event is about and what is done about it.
fn line(name: &str, payload: &Value) -> String {
    let event = parse(&delivery(name, ContentType::Json, payload.to_string()))
        .unwrap_or_else(|e| panic!("{name}: {e}\n{payload}"));
    parse(&delivery(name, ContentType::Form, form(payload)))
        .unwrap_or_else(|e| panic!("{name} as a form: {e}"));
    let h = handling(&event);
    format!(
        "{name}.{}: {:?} judged as {:?}, fan-out {:?}{}",
        event.action.as_deref().unwrap_or("-"),
        event.subject().kind,
        h.judge,
        h.fan_out,
        if h.drop_caches { ", drops caches" } else { "" }
    )
}

#[test]
fn all_published_examples() {
    let Some(dir) = crate::common::foreign::foreign(crate::common::foreign::Tool::Node) else { return };
    let index = dir.join("node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(index).unwrap()).unwrap();
    let mut lines = BTreeSet::new();
    let mut payloads = 0;
    for event in &events {
        for payload in event["examples"].as_array().unwrap() {
            payloads += 1;
            lines.insert(line(event["name"].as_str().unwrap(), payload));
        }
    }
    assert_eq!((events.len(), payloads), (58, 329));
    insta::assert_snapshot!(lines.into_iter().collect::<Vec<_>>().join("\n"));
}
