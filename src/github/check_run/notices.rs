//! What a check run says where there is no verdict to show.

use super::{Context, Rendered, State, cut_title, page::Page, proof_line};
use crate::{
    escape::{markdown, markdown_code},
    event::Sha,
};

/// Shown while a verdict takes longer than a moment, so that nobody waits on "Expected".
#[must_use]
pub fn in_progress(context: &Context) -> Rendered {
    notice(
        State::InProgress,
        "Reading what GitHub says about this change",
        "### ⏳ Being judged\n\nThe event is recorded; facts are being read and the policies will decide.",
        context,
    )
}

/// Shown where judging was not finished before the pull request moved on (or, without `newer`, was
/// closed).
#[must_use]
pub fn left(newer: Option<&Sha>, context: &Context) -> Rendered {
    let (title, body) = match newer {
        Some(newer) => (
            format!("Not judged: superseded by the newer head {}", newer.short()),
            format!("### Superseded\n\nThe pull request has moved on to {}. That commit has a check of its own.", newer.short()),
        ),
        None => (
            "Not judged: the pull request was closed".to_owned(),
            "### Closed\n\nThe pull request was closed before it was judged at this commit. Reopened, it is judged.".to_owned(),
        ),
    };
    notice(State::Failure, &title, &body, context)
}

/// In place of a success whose pull request stands on the commit no more and was not merged.
#[must_use]
pub fn taken_back(newer: Option<&Sha>, context: &Context) -> Rendered {
    let (title, body) = match newer {
        Some(newer) => (
            format!("Superseded by the newer head {}", newer.short()),
            format!(
                "### Superseded\n\nThis commit was allowed. The pull request has moved on to {}, which has a check \
                 of its own, and no open pull request has this commit as its head.",
                newer.short()
            ),
        ),
        None => (
            "Taken back: the pull request was closed".to_owned(),
            "### Closed\n\nThis commit was allowed, and the pull request was closed without a merge. GitHub asks \
             for the check of a commit, whatever the pull request: one opened from it later would pass before it \
             is judged. Reopened, it is judged."
                .to_owned(),
        ),
    };
    notice(State::Failure, &title, &body, context)
}

/// Shown while GitHub does not answer: nothing is decided on half the facts.
#[must_use]
pub fn waiting_for_github(reason: &str, context: &Context) -> Rendered {
    notice(
        State::InProgress,
        &format!("Waiting for GitHub: {reason}"),
        &format!(
            "### ⏳ Waiting for GitHub\n\nFacts could not be read: {}\n\nThis is tried again by itself; there \
             is nothing to do here.",
            markdown(reason)
        ),
        context,
    )
}

/// Shown when GitHub has not answered for `minutes`: red, until it answers again.
#[must_use]
pub fn github_did_not_answer(reason: &str, minutes: u64, context: &Context) -> Rendered {
    notice(
        State::Failure,
        &format!("Could not decide: GitHub gave no facts for {minutes} minutes ({reason})"),
        &format!(
            "### ⚠️ Could not decide\n\nFor {minutes} minutes GitHub gave no facts: {}\n\nWhat cannot be \
             decided is not allowed. It is judged again by itself as soon as GitHub answers.",
            markdown(reason)
        ),
        context,
    )
}

fn notice(state: State, title: &str, body: &str, context: &Context) -> Rendered {
    let footer = format!(
        "Head {} · entry {}\n{}",
        markdown_code(context.head.as_str()),
        context.entry,
        proof_line(context)
    );
    let mut page = Page::new(footer, context.entry);
    page.paragraph(body);
    let draft = if context.draft { "Draft. " } else { "" };
    Rendered {
        state,
        title: cut_title(&format!("{draft}{title}")),
        summary: page.finish(),
        text: String::new(),
        annotations: vec![],
    }
}
