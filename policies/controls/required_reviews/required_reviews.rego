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
import data.lib.params
import data.lib.people

settings := params.effective("required_reviews")

shape := {
	"": {
		"enabled": "boolean?",
		"required_approving_review_count": "count",
		"dismiss_stale_reviews_on_push": "boolean",
		"ignore_update_merges": "boolean",
		"ignore_commits_by": "logins",
		"require_last_push_approval": "boolean",
		"require_code_owner_review": "boolean",
		"required_reviewers": "mappings",
		"approvers": "mapping",
		"minimum_permission": "permission",
		"allow_author": "boolean",
		"allow_contributor": "boolean",
		"allow_non_author_contributor": "boolean",
		"count_apps": "logins",
		"request_changes_blocks": "boolean",
	},
	"approvers": {"users": "logins", "teams": "teams", "organizations": "logins"},
	"required_reviewers": {"reviewers": "reviewers", "minimum_approvals": "count", "file_patterns": "patterns?"},
}

faults := params.problems("required_reviews", settings, shape)

default applies := false

applies if {
	changes.relevant
	not switched_off
}

switched_off if settings.enabled == false

default skip_reason := "it is about neither a pull request nor a merge group"

skip_reason := "switched off by the parameter required_reviews.enabled" if {
	changes.relevant
	switched_off
}

configured if {
	applies
	count(faults) == 0
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
	configured
	paths_matter
	some fact in {"files", "old_paths"}
}

needs contains {"fact": "codeowners"} if {
	configured
	settings.require_code_owner_review
}

needs contains {"fact": "permissions"} if {
	configured
	settings.minimum_permission != "write"
}

needs contains {"fact": "pushes"} if {
	configured
	pushes_matter
}

needs contains {"fact": "team_members", "id": lower(name)} if {
	configured
	some name in named_teams
}

needs contains {"fact": "organization_members", "id": lower(name)} if {
	configured
	some name in settings.approvers.organizations
}

paths_matter if settings.require_code_owner_review == true

paths_matter if {
	some entry in settings.required_reviewers
	count(object.get(entry, "file_patterns", [])) > 0
}

pushes_matter if settings.require_last_push_approval

pushes_matter if not contributors_allowed

pushes_matter if count(settings.ignore_commits_by) > 0

contributors_allowed if settings.allow_contributor == true

contributors_allowed if settings.allow_non_author_contributor == true

named_teams contains name if some name in settings.approvers.teams

named_teams contains name if {
	some entry in settings.required_reviewers
	some name in entry.reviewers
	people.is_team(name)
}

# The pull requests that can be judged, by their place in the merge group; 0 for a pull request.
facts_read := {"pull_request", "reviews", "commits"} | {"files" | paths_matter}

judged[i] := change if {
	configured
	count(unread) == 0
	some i, change in changes.usable(facts_read)
}

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if {
	applies
	some msg in faults
}

error contains {"msg": msg, "who": "whoever runs gatelog", "fix": look_again} if {
	configured
	some msg in changes.trouble(facts_read) | unread
}

look_again := "ask for another look: re-run this check; if it stays, the log of gatelog says why"

# Facts that these parameters need and that are not there. Nothing is decided without them: a team that
# could not be read is never a team without members.
unread contains sprintf("team %s could not be read", [name]) if {
	configured
	some name in people.unread_teams(named_teams)
}

unread contains sprintf("members of the organisation %s could not be read", [name]) if {
	configured
	some name in people.unread_organizations(settings.approvers.organizations)
}

unread contains sprintf("%sthe permission of %s could not be read", [changes.label(change), people.mention(review.user)]) if {
	configured
	settings.minimum_permission != "write"
	some change in changes.usable({"reviews"})
	some review in change.reviews
	people.is_person(review.user)
	not is_string(object.get(review, "permission", null))
}

unread contains sprintf("%swho pushed could not be read", [changes.label(change)]) if {
	configured
	pushes_matter
	some change in changes.usable({"pull_request"})
	not is_array(object.get(change, "pushes", null))
}

unread contains sprintf("%sthe old path of %s could not be read", [changes.label(change), file.filename]) if {
	configured
	paths_matter
	some change in changes.usable({"files"})
	some file in change.files
	file.status == "renamed"
	not is_string(object.get(file, "previous_filename", null))
}

unread contains sprintf("%sCODEOWNERS could not be read", [changes.label(change)]) if {
	configured
	settings.require_code_owner_review
	some change in changes.usable({"files"})
	not owners_read(change)
}

unread contains sprintf("team %s, a code owner, could not be read", [name]) if {
	configured
	settings.require_code_owner_review
	some change in changes.usable({"files"})
	some file in change.files
	some owned in object.get(file, "owners", [])
	some name in people.unread_teams(owned.teams)
}

owners_read(change) if {
	is_object(change.codeowners)
	unknown := [file | some file in change.files; not is_array(object.get(file, "owners", null))]
	count(unknown) == 0
}

# Enough approvals.
deny contains {
	"msg": sprintf("%s%d of %d approvals%s", [changes.label(change), have, need, ignored_text(i)]),
	"who": anyone(i),
	"fix": sprintf("approve the pull request at %s%s", [head(i), again_text(i)]),
} if {
	some i, change in judged
	have := count(counting[i])
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
	some i, change in judged
	some review in requested_changes[i]
	review.can_push == true
}

warn contains sprintf("%s%s requested changes, which does not block: no write permission", [changes.label(change), people.mention(review.user)]) if {
	settings.request_changes_blocks
	some i, change in judged
	some review in requested_changes[i]
	not review.can_push == true
}

warn contains sprintf("%s%s requested changes, which does not block: request_changes_blocks is off", [changes.label(change), people.mention(review.user)]) if {
	not settings.request_changes_blocks
	some i, change in judged
	some review in requested_changes[i]
}

# Each approval that does not count, with the reason.
warn contains sprintf("%sapproval of %s does not count: %s", [changes.label(judged[i]), name, reason]) if {
	some i, reasons in ignored_names
	some pair in reasons
	name := pair[0]
	reason := pair[1]
}

warn contains sprintf("%sthis is a draft; it is judged like any other pull request", [changes.label(change)]) if {
	some change in judged
	change.pull_request.draft == true
}

# Who can help, for findings.
anyone(i) := concat("", [candidates, except_text(i)])

candidates := sprintf("anyone with %s permission", [settings.minimum_permission]) if {
	not approvers_named
} else := sprintf("%s, with %s permission", [
	people.list(array.concat(
		people.mentions(array.concat(settings.approvers.users, settings.approvers.teams)),
		[sprintf("members of %s", [name]) | some name in settings.approvers.organizations],
	)),
	settings.minimum_permission,
])

except_text(i) := sprintf(" except %s", [people.list(sort(excluded[i]))]) if {
	count(excluded[i]) > 0
} else := ""

# Those whose approval cannot count, or counts already.
excluded[i] := {people.mention(account) |
	some account in contributors[i] | {change.pull_request.user}
	people.is_person(account)
	cannot_approve(i, account)
} | {people.mention(review.user) | some review in counting[i]} if {
	some i, change in judged
}

cannot_approve(i, account) if barred_author(i, account)

cannot_approve(i, account) if barred_contributor(i, account)

# among(i, names): those of `names` who can help.
among(i, names) := people.list(left) if {
	out := {lower(mention) | some mention in excluded[i]}
	left := [name | some name in names; not lower(name) in out]
	count(left) > 0
} else := sprintf("whoever can name someone beside %s", [people.list(names)])

head(i) := people.short(judged[i].pull_request.head.sha)
