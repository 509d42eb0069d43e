# METADATA
# title: What reviews are judged with
# description: |
#   The parameters of required_reviews, what has to be known for them, and the pull requests whose facts are
#   there. Nothing is decided without them: a team that could not be read is never a team without members.
package lib.reviews.scope

import data.lib.changes
import data.lib.params
import data.lib.people

given := params.effective("required_reviews")

# The parameters, where they can be used.
settings := given if configured

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

faults := params.problems("required_reviews", given, shape)

default applies := false

applies if {
	changes.relevant
	not switched_off
}

switched_off if given.enabled == false

configured if {
	applies
	count(faults) == 0
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
	is_null(object.get(owned, "error", null))
	some name in people.unread_teams(owned.teams)
}

owners_read(change) if {
	is_object(change.codeowners)
	unknown := [file | some file in change.files; not is_array(object.get(file, "owners", null))]
	count(unknown) == 0
}
