//! codeowners
