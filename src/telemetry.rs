//! Logs for people and machines, and [`Metrics`] for Prometheus.

use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Log, LogFormat, log_filter};

pub mod alerts;
mod metrics;

pub use metrics::{Intake, Metrics, StoreCounts, Task};

/// The variable that overrides `[log] level`.
pub const LEVEL_VARIABLE: &str = "GATELOG_LOG";

/// Starts logging to standard error for the life of the process. A second call changes nothing.
///
/// `level` is `GATELOG_LOG` where it is set; a wrong one there falls back to the configuration.
pub fn start(log: &Log, variable: Option<&str>) {
    let variable = variable.filter(|v| !v.is_empty());
    let chosen = variable.and_then(log_filter);
    let wrong = variable.is_some() && chosen.is_none();
    let filter = chosen.or_else(|| log_filter(&log.level)).unwrap_or_default();
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match log.format {
        LogFormat::Text => {
            let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
            let layer = tracing_subscriber::fmt::layer().with_ansi(colour).with_target(false);
            registry.with(layer.with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true);
            registry.with(layer.with_span_list(false).with_writer(std::io::stderr)).try_init()
        }
    };
    if wrong {
        tracing::warn!("{LEVEL_VARIABLE} is no log level; [log] level = {:?} is used", log.level);
    }
}
