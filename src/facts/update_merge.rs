//! update_merge
