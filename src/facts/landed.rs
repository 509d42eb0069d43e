//! landed
