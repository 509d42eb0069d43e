# METADATA
# title: Sensitive paths
# description: A change of a sensitive path is approved by two people who had no part in it, whatever the other parameters for reviews allow.
# custom:
#   id: CHG-03
#   severity: high
#   owner: security
#   solution: Ask people who did not work on the change to review its newest commit and approve it.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.4, A.5.3]
#     pci: ["6.5.1", "6.5.4"]
#     nist: [CM-3, CM-5, AC-5]
#     slsa: [ORG_SOURCE_TWO_PARTY]
#   facts: [pull_request, reviews, commits, files, old_paths, pushes, team_members, merge_group]
package controls.sensitive_paths

import data.lib.changes
import data.lib.independent
import data.lib.optional
import data.lib.patterns
import data.lib.people

facts := independent.facts | {"files", "old_paths"}

shape := {"paths": "patterns", "minimum_approvals": "count", "reviewers": "people"}

settings := optional.settings("sensitive_paths")

judged := optional.judged("sensitive_paths", shape, facts)

default applies := false

applies if optional.on("sensitive_paths")

skip_reason := optional.why_not("sensitive_paths")

needs := optional.needs("sensitive_paths", facts) | {{"fact": "team_members", "id": lower(name)} |
	applies
	some name in independent.teams(object.get(settings, "reviewers", []))
}

error := optional.errors("sensitive_paths", shape, facts) | {finding |
	count(judged) > 0
	some finding in independent.unread(settings.reviewers)
}

# touched[i]: sensitive paths that a pull request changes.
touched[i] := found if {
	some i, change in judged
	expressions := patterns.compiled(settings.paths)
	found := sort({path |
		some path in changes.paths(change)
		some expression in expressions
		regex.match(expression, path)
	})
	count(found) > 0
}

deny contains {
	"msg": sprintf("%s%d of %d approvals for the sensitive %s by people who had no part in the change%s", [changes.label(change), have, wanted, people.list(found), independent.why_more(change)]),
	"path": found[0],
	"who": independent.whom(settings.reviewers),
	"fix": independent.fix(change),
} if {
	some i, found in touched
	change := judged[i]
	wanted := independent.needed(change, settings.minimum_approvals)
	have := count(independent.approving(change, settings.reviewers))
	have < wanted
}
