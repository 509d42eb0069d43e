//! simulated_github
