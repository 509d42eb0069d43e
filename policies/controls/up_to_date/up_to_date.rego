# METADATA
# title: Up to date
# description: A pull request stands on what its base branch is now, and does not grow old; what was tested is then what is merged.
# custom:
#   id: CHG-18
#   severity: low
#   owner: engineering
#   solution: Update the branch from its base; open a fresh pull request for what has grown old.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32, A.8.29]
#     pci: ["6.5.1"]
#     nist: [CM-3, CM-3(2)]
#   facts: [pull_request, comparison, merge_group]
package controls.up_to_date

import data.lib.changes
import data.lib.optional

facts := {"pull_request"}

shape := {"require_up_to_date": "boolean", "max_behind": "count", "max_age_days": "count"}

settings := optional.settings("up_to_date")

judged := optional.judged("up_to_date", shape, facts)

default applies := false

applies if optional.on("up_to_date")

skip_reason := optional.why_not("up_to_date")

# The queue makes a merge group of the newest base itself.
compared if {
	applies
	changes.about == "pull_request"
	not settings.require_up_to_date == false
}

needs := optional.needs("up_to_date", facts) | {{"fact": "comparison"} | compared}

error := (optional.errors("up_to_date", shape, facts) | {finding |
	compared
	some change in judged
	not known(change)
	finding := {"msg": "how far the base branch is ahead was not read", "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check; if it stays, the log of gatelog says why"}
}) | {finding |
	some change in judged
	settings.max_age_days > 0
	not opened(change)
	finding := {"msg": sprintf("%sit is not known when it was opened", [changes.label(change)]), "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check"}
}

# Of this head, and of this base.
known(change) if {
	comparison := change.comparison
	comparison.head_sha == change.pull_request.head.sha
	comparison.base_sha == change.pull_request.base.sha
	is_number(comparison.behind_by)
	is_string(comparison.merge_base_sha)
}

deny contains {
	"msg": sprintf("%d commits of %s are missing, at most %d may be", [change.comparison.behind_by, change.pull_request.base.ref, settings.max_behind]),
	"who": "the author",
	"fix": "press \"Update branch\", or merge the base branch and push",
} if {
	compared
	some change in judged
	known(change)
	change.comparison.behind_by > settings.max_behind
}

opened(change) := time.parse_rfc3339_ns(at) if {
	at := object.get(change, ["pull_request", "created_at"], null)
	is_string(at)
}

day := ((24 * 60) * 60) * 1000000000

now := time.parse_rfc3339_ns(input.time)

# From when on it is too old.
old_at(change) := opened(change) + (settings.max_age_days * day)

deny contains {
	"msg": sprintf("%sit was opened more than %d days ago", [changes.label(change), settings.max_age_days]),
	"who": "the author",
	"fix": "open a fresh pull request on the newest base",
} if {
	settings.max_age_days > 0
	some change in judged
	now >= old_at(change)
}

valid_until := time.format(soonest) if {
	settings.max_age_days > 0
	soonest := min([at | some change in judged; at := old_at(change); at > now])
}
