//! Which events touch which subject, and what gatelog does about them: one table, [`handling`].

use super::{About, Event, RefKind, Sha, Source};

/// Identifiers of the buttons on our check run: judge again; say which rules decided. GitHub: at most 20
/// characters.
pub const RECHECK: &str = "recheck";
pub const EXPLAIN: &str = "explain";

/// What an event asks of gatelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    pub judge: Judge,
    /// Other pull requests to look at again.
    pub fan_out: FanOut,
    /// People, teams or rules may have changed: forget what is cached of them.
    pub drop_caches: bool,
}

impl Handling {
    /// Judged on itself alone, touching nothing: also what an unreadable payload gets.
    pub const BARE: Self = Self { judge: Judge::Bare, fan_out: FanOut::None, drop_caches: false };
}

/// On which facts the event is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    PullRequest,
    Ref,
    MergeGroup,
    /// On the event alone.
    Bare,
}

/// Which open pull requests are looked at again because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FanOut {
    None,
    /// Those with this head (a re-run of our check was asked for).
    Head,
    /// Other open pull requests with the same head as this one (opened, closed, moved).
    SharedHead,
    Repository,
    Organization,
    /// Those with this branch as base.
    Base,
    /// Those whose controls read this fact: on the commit, into the branch, or of the repository or
    /// organisation that the event is about.
    Reading(&'static str),
}

/// The table: first row that matches. An event it does not know is judged on itself alone, and an
/// action it does not know is handled as the other actions of its event.
#[must_use]
#[rustfmt::skip]
pub fn handling(event: &Event) -> Handling {
    use About as A;
    const KEEP: bool = false;
    const DROP: bool = true;

    let action = event.action.as_deref().unwrap_or_default();
    let (judge, fan_out, drop_caches) = match (event.name.as_str(), action, &event.about) {
        // gatelog's own wish to look again. The name alone proves nothing: no signature covers it.
        ("gatelog", "look_again", A::PullRequest(_)) if event.source == Source::Gatelog
                                                 => (Judge::PullRequest, FanOut::None,         KEEP),
        ("gatelog", "look_again", A::MergeGroup { .. }) if event.source == Source::Gatelog
                                                 => (Judge::MergeGroup,  FanOut::None,         KEEP),

        // Pull requests. Which other pull requests share the head changes with these actions.
        ("pull_request", "opened" | "closed" | "reopened" | "synchronize" | "edited", A::PullRequest(_))
                                                 => (Judge::PullRequest, FanOut::SharedHead,   KEEP),
        ("pull_request", _, A::PullRequest(_))   => (Judge::PullRequest, FanOut::None,         KEEP),
        ("pull_request_review", _, A::PullRequest(_))
                                                 => (Judge::PullRequest, FanOut::None,         KEEP),

        // A push that could not be decided is judged again with what GitHub said of it then: nothing moves now.
        ("push" | "create" | "delete", _, A::Ref(_)) if event.source == Source::Gatelog
                                                 => (Judge::Ref,         FanOut::None,         KEEP),
        // Branches and tags. Code owners are read from the base branch.
        ("push", _, A::Ref(r)) if r.touches_codeowners
                                                 => (Judge::Ref,         FanOut::Base,         KEEP),
        // Whether a pull request is up to date with its base.
        ("push", _, A::Ref(r)) if r.kind == RefKind::Branch
                                                 => (Judge::Ref,         FanOut::Reading("comparison"), KEEP),
        ("push" | "create" | "delete", _, A::Ref(_))
                                                 => (Judge::Ref,         FanOut::None,         KEEP),

        // The merge queue. A destroyed group waits for nothing.
        ("merge_group", "destroyed", _)          => (Judge::Bare,        FanOut::None,         KEEP),
        ("merge_group", _, A::MergeGroup { .. }) => (Judge::MergeGroup,  FanOut::None,         KEEP),

        // "Re-run" and the buttons of our check run. GitHub sends them to the owner of the run only.
        ("check_run", "requested_action", A::Check(c)) if c.button.as_deref() == Some(EXPLAIN)
                                                 => (Judge::Bare,        FanOut::None,         KEEP),
        ("check_run", "rerequested" | "requested_action", A::Check(_))
                                                 => (Judge::Bare,        FanOut::Head,         KEEP),
        ("check_suite", "rerequested", A::Check(_))
                                                 => (Judge::Bare,        FanOut::Head,         KEEP),

        // What other apps say of a commit.
        ("check_run" | "status", _, A::Check(_)) => (Judge::Bare,        FanOut::Reading("checks"), KEEP),
        ("secret_scanning_alert", _, _)          => (Judge::Bare,        FanOut::Reading("secret_alerts"), KEEP),

        // People and teams.
        ("member", _, _)                         => (Judge::Bare,        FanOut::Repository,   DROP),
        ("team" | "team_add" | "membership" | "organization", _, _)
                                                 => (Judge::Bare,        FanOut::Organization, DROP),

        // Parameters go by the name of a repository; who may do what, by its owner.
        ("repository", "renamed" | "transferred" | "edited", _)
                                                 => (Judge::Bare,        FanOut::Repository,   DROP),
        // Rules, and what we may see.
        ("branch_protection_rule" | "branch_protection_configuration" | "repository_ruleset", _, _)
                                                 => (Judge::Bare,        FanOut::Reading("base_rules"), DROP),
        ("repository", _, _)
                                                 => (Judge::Bare,        FanOut::None,         DROP),
        ("installation" | "installation_repositories", _, _)
                                                 => (Judge::Bare,        FanOut::None,         DROP),

        _                                        => (Judge::Bare,        FanOut::None,         KEEP),
    };
    Handling { judge, fan_out, drop_caches }
}

/// Whether a verdict on an event of this name decides about its pull request. Others (a comment on it) only
/// mention it: what the gate knows of its pull requests, and when it looks at them again, does not go by them.
/// For events of the ledger, whose payload may be gone; of an event in hand [`handling`] says the same.
#[must_use]
pub fn decides_pull_request(name: &str, source: Source) -> bool {
    match name {
        "pull_request" | "pull_request_review" => true,
        "gatelog" => source == Source::Gatelog,
        _ => false,
    }
}

/// Whether a newer event of the same lane may answer for this one (`superseded`): it only says "look
/// again". What it fans out is due all the same.
///
/// Never a push, the creation or deletion of a ref, a merge group, or a pull request that the payload
/// shows closed or merged: each of those happens once and is judged as it was.
#[must_use]
pub fn is_look_again(event: &Event) -> bool {
    match &event.about {
        About::PullRequest(p) => {
            let closed = p.open == Some(false) || p.merged == Some(true);
            let closes = event.action.as_deref() == Some("closed");
            handling(event).judge == Judge::PullRequest && !closed && !closes
        }
        _ => false,
    }
}

/// Events of one lane are judged one after the other, in the order of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    PullRequest {
        repository: u64,
        number: u64,
    },
    Ref {
        repository: u64,
        kind: RefKind,
        name: String,
    },
    MergeGroup {
        repository: u64,
        head: Sha,
    },
    /// Waits for nothing and holds up nothing.
    Own,
}

/// The lane of an event, by what it is judged on. Without a repository nothing can be shared.
#[must_use]
pub fn lane(event: &Event) -> Lane {
    let Some(repository) = event.repository.as_ref().map(|r| r.id) else { return Lane::Own };
    match (handling(event).judge, &event.about) {
        (Judge::PullRequest, About::PullRequest(p)) => Lane::PullRequest { repository, number: p.number },
        (Judge::Ref, About::Ref(r)) => Lane::Ref { repository, kind: r.kind, name: r.name.clone() },
        (Judge::MergeGroup, About::MergeGroup { head, .. }) => {
            Lane::MergeGroup { repository, head: head.clone() }
        }
        _ => Lane::Own,
    }
}

#[cfg(test)]
mod tests;
