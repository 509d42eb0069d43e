//! Helpers that the integration tests share.
#![allow(dead_code, reason = "each test binary uses a part of them")]

pub mod foreign;
