# METADATA
# title: Required reviews
# description: |
#   A pull request is approved by enough other people who may, for the commits it has now: approvals of the
#   author, of contributors, of people without permission and of earlier heads do not count, and every one
#   that does not is named with the reason. Also per path, by code owners, and for the last push.
# custom:
#   id: CHG-02
#   severity: high
#   owner: engineering
#   solution: Ask someone who did not work on the change to review its newest commit and approve it.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32, A.5.3]
#     pci: ["6.2.3", "6.5.1", "6.5.4"]
#     nist: [CM-3, CM-5(1), AC-5]
#     slsa: [ORG_SOURCE_TWO_PARTY]
#   facts:
#     - pull_request
#     - reviews
#     - commits
#     - files
#     - old_paths
#     - codeowners
#     - permissions
#     - team_members
#     - organization_members
#     - pushes
#     - merge_group
package controls.required_reviews

import data.lib.changes
import data.lib.people
import data.lib.reviews.approvals
import data.lib.reviews.paths
import data.lib.reviews.scope

settings := scope.settings

default applies := false

applies if scope.applies

default skip_reason := "it is about neither a pull request nor a merge group"

skip_reason := "switched off by the parameter required_reviews.enabled" if {
	changes.relevant
	scope.switched_off
}

# What has to be fetched for these parameters.
needs contains {"fact": fact} if {
	applies
	some fact in {"pull_request", "reviews", "commits"}
}

needs contains {"fact": "merge_group"} if {
	applies
	changes.about == "merge_group"
}

needs contains {"fact": fact} if {
	scope.configured
	scope.paths_matter
	some fact in {"files", "old_paths"}
}

needs contains {"fact": "codeowners"} if {
	scope.configured
	settings.require_code_owner_review
}

needs contains {"fact": "permissions"} if {
	scope.configured
	settings.minimum_permission != "write"
}

needs contains {"fact": "pushes"} if {
	scope.configured
	scope.pushes_matter
}

needs contains {"fact": "team_members", "id": lower(name)} if {
	scope.configured
	some name in scope.named_teams
}

needs contains {"fact": "organization_members", "id": lower(name)} if {
	scope.configured
	some name in settings.approvers.organizations
}

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if {
	applies
	some msg in scope.faults
}

error contains {"msg": msg, "who": "whoever runs gatelog", "fix": look_again} if {
	scope.configured
	some msg in (changes.trouble(scope.facts_read) | scope.unread)
}

look_again := "ask for another look: re-run this check; if it stays, the log of gatelog says why"

# Nobody knows who made the last push.
error contains {
	"msg": sprintf("%swho made the last push is not known: %d of 2 people approved %s", [changes.label(scope.judged[i]), persons, approvals.head(i)]),
	"who": approvals.anyone(i),
	"fix": sprintf("two people approve the pull request at %s, so that one of them did not push it", [approvals.head(i)]),
} if {
	some i, persons in approvals.unknown_push
}

error contains finding if some finding in paths.error

# Enough approvals.
deny contains {
	"msg": sprintf("%s%d of %d approvals%s", [changes.label(change), have, need, approvals.ignored_text(i)]),
	"who": approvals.anyone(i),
	"fix": sprintf("approve the pull request at %s%s", [approvals.head(i), approvals.again_text(i)]),
} if {
	some i, change in scope.judged
	have := count(approvals.counting[i])
	need := settings.required_approving_review_count
	have < need
}

# Changes requested.
deny contains {
	"msg": sprintf("%s%s requested changes", [changes.label(change), people.mention(review.user)]),
	"who": people.mention(review.user),
	"fix": sprintf("%s approves, or someone with write permission dismisses the review", [people.mention(review.user)]),
} if {
	settings.request_changes_blocks
	some i, change in scope.judged
	some review in approvals.requested_changes[i]
	review.can_push == true
}

# The last push is approved by someone else. While no approval counts at all, "0 of 1 approvals" says it.
deny contains {
	"msg": sprintf("%sthe last push (%s by %s) is approved by nobody else", [changes.label(scope.judged[i]), people.short(push.after), people.mention(push.user)]),
	"who": approvals.anyone_but(i, push.user),
	"fix": sprintf("someone other than %s approves the pull request at %s", [people.mention(push.user), approvals.head(i)]),
} if {
	some i, push in approvals.unapproved_push
	enough_to_tell(i)
}

enough_to_tell(i) if count(approvals.counting[i]) > 0

enough_to_tell(_) if settings.required_approving_review_count == 0

deny contains finding if some finding in paths.deny

warn contains sprintf("%s%s requested changes, which does not block: no write permission", [changes.label(change), people.mention(review.user)]) if {
	settings.request_changes_blocks
	some i, change in scope.judged
	some review in approvals.requested_changes[i]
	not review.can_push == true
}

warn contains sprintf("%s%s requested changes, which does not block: request_changes_blocks is off", [changes.label(change), people.mention(review.user)]) if {
	not settings.request_changes_blocks
	some i, change in scope.judged
	some review in approvals.requested_changes[i]
}

# Each approval that does not count, with the reason.
warn contains sprintf("%sapproval of %s does not count: %s", [changes.label(scope.judged[i]), name, reason]) if {
	some i, reasons in approvals.ignored_names
	some pair in reasons
	name := pair[0]
	reason := pair[1]
}

warn contains sprintf("%sthis is a draft; it is judged like any other pull request", [changes.label(change)]) if {
	some change in scope.judged
	change.pull_request.draft == true
}

warn contains finding if some finding in paths.warn
