# METADATA
# title: Change size
# description: A pull request changes no more lines and files than a person can review; paths that are generated do not count.
# custom:
#   id: CHG-10
#   severity: low
#   owner: engineering
#   solution: Split the change; a reviewer sees less in a large one.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32]
#     pci: ["6.5.1"]
#     nist: [CM-3, SA-11]
#   facts: [pull_request, files, merge_group]
package controls.change_size

import data.lib.changes
import data.lib.optional
import data.lib.patterns

facts := {"pull_request", "files"}

shape := {"max_lines": "count", "max_files": "count", "ignore": "patterns"}

settings := optional.settings("change_size")

judged := optional.judged("change_size", shape, facts)

default applies := false

applies if optional.on("change_size")

skip_reason := optional.why_not("change_size")

needs := optional.needs("change_size", facts)

error contains finding if some finding in optional.errors("change_size", shape, facts)

counted(change) := [file |
	some file in change.files
	not patterns.any_matches(settings.ignore, file.filename)
]

lines(change) := sum([size |
	some file in counted(change)
	size := file.additions + file.deletions
])

# GitHub counts no lines it does not show; without the numbers nothing is small.
error contains {"msg": sprintf("%sthe size of %s is not known", [changes.label(change), file.filename]), "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check"} if {
	some change in judged
	some file in change.files
	not sized(file)
}

sized(file) if {
	is_number(file.additions)
	is_number(file.deletions)
}

deny contains {
	"msg": sprintf("%s%d lines are changed, at most %d are allowed", [changes.label(change), lines(change), settings.max_lines]),
	"who": "the author",
	"fix": "split the pull request",
} if {
	some change in judged
	lines(change) > settings.max_lines
}

deny contains {
	"msg": sprintf("%s%d files are changed, at most %d are allowed", [changes.label(change), count(counted(change)), settings.max_files]),
	"who": "the author",
	"fix": "split the pull request",
} if {
	some change in judged
	count(counted(change)) > settings.max_files
}
