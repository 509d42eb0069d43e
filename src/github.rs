//! github

pub mod check_run;
pub mod report;
