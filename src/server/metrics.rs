//! `GET /metrics`: what Prometheus scrapes.

use axum::extract::State;
use http::header;

use super::App;
use crate::{github::Window, telemetry::StoreCounts, time::Time};

/// OpenMetrics text.
pub async fn scrape(State(app): State<App>) -> ([(header::HeaderName, &'static str); 1], String) {
    let ledger = app.gate.ledger();
    let stats = ledger.stats();
    app.metrics.store(StoreCounts {
        entries: ledger.head().size,
        groups: stats.groups,
        syncs: stats.store.syncs,
        bytes: stats.store.bytes,
    });
    if let Some(publisher) = &app.publisher {
        if let Some(published) = publisher.published() {
            app.metrics.signed(published.checkpoint.size);
        }
        app.metrics.quorum_missed(publisher.quorum_missed().is_some());
        for witness in publisher.witnesses() {
            app.metrics.witnessed(&witness.name, witness.seen.map_or(0, |(size, _)| size));
        }
    }
    let usage = app.github.usage();
    for call in &usage.calls {
        app.metrics.github_calls(call.kind, call.status, call.count);
    }
    for left in &usage.remaining {
        app.metrics.github_remaining(left.installation, left.resource, left.left);
    }
    for limit in &usage.budget {
        let (who, what) = (limit.installation, limit.limit);
        match limit.window {
            Window::Minute => app.metrics.github_minute(who, what, limit.used, limit.waiting),
            Window::Hour => app.metrics.github_hour(who, what, limit.used),
            Window::AtOnce => app.metrics.github_at_once(who, what, limit.used, limit.waiting),
        }
    }
    let waiting = ledger.unjudged();
    let oldest =
        waiting.first().and_then(|seq| ledger.entry(*seq).ok().flatten()).map(|stored| stored.entry.time);
    app.metrics.queue(waiting.len(), oldest);
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media)], app.metrics.text(Time::now()))
}
