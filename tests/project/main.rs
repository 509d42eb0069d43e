//! What holds for the project itself: documents, dependencies, floors.

mod dependencies;
mod docs;
mod floors;
