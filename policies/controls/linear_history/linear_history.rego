# METADATA
# title: Linear history
# description: A pull request brings no merge commits; clean updates from the base branch can be let through.
# custom:
#   id: CHG-11
#   severity: low
#   owner: engineering
#   solution: Rebase the branch on its base.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32]
#     pci: ["6.5.1"]
#     nist: [CM-3]
#   facts: [pull_request, commits, merge_group]
package controls.linear_history

import data.lib.changes
import data.lib.optional
import data.lib.people

facts := {"pull_request", "commits"}

shape := {"allow_update_merges": "boolean"}

settings := optional.settings("linear_history")

judged := optional.judged("linear_history", shape, facts)

default applies := false

applies if optional.on("linear_history")

skip_reason := optional.why_not("linear_history")

needs := optional.needs("linear_history", facts)

error := optional.errors("linear_history", shape, facts)

deny contains {
	"msg": sprintf("%scommit %s is a merge", [changes.label(change), people.short(commit.sha)]),
	"commit": commit.sha,
	"who": "the author",
	"fix": "git rebase on the base branch, and push with --force-with-lease",
} if {
	some change in judged
	some commit in change.commits
	count(commit.parents) != 1
	not let_through(commit)
}

let_through(commit) if {
	settings.allow_update_merges
	commit.update_merge == true
}
