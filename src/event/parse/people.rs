//! Who joined or left, as `membership` and `organization` state it.

use serde::Deserialize;

use super::Id;
use crate::event::{About, Circle, Membership};

/// `membership`: <https://docs.github.com/en/webhooks/webhook-events-and-payloads#membership>. Of a team
/// that was deleted only its name is left; then nothing is stated.
#[derive(Deserialize)]
pub(super) struct TeamMembership {
    action: Option<String>,
    member: Option<Id>,
    team: Option<DeletedOr>,
}

#[derive(Deserialize)]
struct DeletedOr {
    id: Option<u64>,
}

impl TeamMembership {
    pub(super) fn about(self) -> About {
        let circle = self.team.and_then(|t| t.id).map(Circle::Team);
        stated(circle, self.member, self.action.as_deref(), "added", "removed")
    }
}

/// `organization`: <https://docs.github.com/en/webhooks/webhook-events-and-payloads#organization>
#[derive(Deserialize)]
pub(super) struct OrganizationMembership {
    action: Option<String>,
    membership: Option<Member>,
    organization: Option<Login>,
}

#[derive(Deserialize)]
struct Member {
    user: Option<Id>,
}

#[derive(Deserialize)]
struct Login {
    login: Option<String>,
}

impl OrganizationMembership {
    pub(super) fn about(self) -> About {
        let login = self.organization.and_then(|o| o.login);
        let circle = login.map(|l| Circle::Organization(l.to_ascii_lowercase()));
        let account = self.membership.and_then(|m| m.user);
        stated(circle, account, self.action.as_deref(), "member_added", "member_removed")
    }
}

fn stated(
    circle: Option<Circle>,
    account: Option<Id>,
    action: Option<&str>,
    joined: &str,
    left: &str,
) -> About {
    match (circle, account, action) {
        (Some(circle), Some(account), Some(action)) if action == joined || action == left => {
            About::Membership(Membership { circle, account: account.id, member: action == joined })
        }
        _ => About::Organization,
    }
}
