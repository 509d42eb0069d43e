# METADATA
# title: Dependency changes
# description: What brings in other people's code is approved by those who answer for it, comes apart from other changes if wanted, and takes no lock file away.
# custom:
#   id: CHG-08
#   severity: medium
#   owner: security
#   solution: Ask a reviewer of dependencies; put other changes into a pull request of their own.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32, A.8.4, A.8.28]
#     pci: ["6.3.2", "6.5.1"]
#     nist: [CM-3, CM-5, SR-3]
#     slsa: [ORG_SOURCE_TWO_PARTY]
#   facts: [pull_request, reviews, commits, files, old_paths, pushes, team_members, merge_group]
package controls.dependency_changes

import data.lib.changes
import data.lib.independent
import data.lib.optional
import data.lib.patterns
import data.lib.people

facts := independent.facts | {"files", "old_paths"}

shape := {"manifests": "patterns", "lock_files": "patterns", "minimum_approvals": "count", "reviewers": "people", "apart": "boolean"}

settings := optional.settings("dependency_changes")

judged := optional.judged("dependency_changes", shape, facts)

default applies := false

applies if optional.on("dependency_changes")

skip_reason := optional.why_not("dependency_changes")

needs := optional.needs("dependency_changes", facts) | {{"fact": "team_members", "id": lower(name)} |
	applies
	some name in independent.teams(object.get(settings, "reviewers", []))
}

error := optional.errors("dependency_changes", shape, facts) | {finding |
	count(judged) > 0
	some finding in independent.unread(settings.reviewers)
}

# touched[i]: manifests and lock files that a pull request changes.
touched[i] := found if {
	some i, change in judged
	expressions := patterns.compiled(array.concat(settings.manifests, settings.lock_files))
	found := sort({path |
		some path in changes.paths(change)
		some expression in expressions
		regex.match(expression, path)
	})
	count(found) > 0
}

deny contains {
	"msg": sprintf("%s%d of %d approvals for changed dependencies (%s)%s", [changes.label(change), have, wanted, people.list(found), independent.why_more(change)]),
	"path": found[0],
	"who": independent.whom(settings.reviewers),
	"fix": independent.fix(change),
} if {
	some i, found in touched
	change := judged[i]
	wanted := independent.needed(change, settings.minimum_approvals)
	settings.minimum_approvals > 0
	have := count(independent.approving(change, settings.reviewers))
	have < wanted
}

deny contains {
	"msg": sprintf("%sdependencies change together with %s", [changes.label(change), people.list(others)]),
	"path": others[0],
	"who": "the author",
	"fix": "put the dependencies into a pull request of their own",
} if {
	settings.apart == true
	some i, found in touched
	change := judged[i]
	others := sort(changes.paths(change) - {path | some path in found})
	count(others) > 0
}

# Without a lock file nobody knows what was built.
deny contains {
	"msg": sprintf("%sthe lock file %s is taken away", [changes.label(change), path]),
	"path": path,
	"who": "the author",
	"fix": "put the lock file back",
} if {
	some i, _ in touched
	change := judged[i]
	some file in change.files
	some path in gone(file)
	patterns.any_matches(settings.lock_files, path)
	left := {other.filename | some other in change.files; other.status != "removed"}
	not path in left
}

gone(file) := [file.filename] if {
	file.status == "removed"
} else := [file.previous_filename] if {
	file.status == "renamed"
} else := []
