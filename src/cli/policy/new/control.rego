# METADATA
# title: TITLE
# description: |
#   What it makes sure of, in a sentence that an auditor understands.
# custom:
#   id: OWN-NAME
#   severity: medium
#   mode: evaluate
#   owner: engineering
#   solution: What whoever is stopped by it does.
#   frameworks:
#     soc2: [CC8.1]
#   facts:
#     - pull_request
#     - merge_group
package controls.NAME

import data.lib.changes
import data.lib.params

given := params.effective("NAME")

# Every parameter with its type; one that is missing, unknown or wrong makes the control an error.
faults := params.problems("NAME", given, {"": {"enabled": "boolean?", "labels": "texts"}})

default applies := false

applies if {
	changes.relevant
	not given.enabled == false
}

default skip_reason := "it is about neither a pull request nor a merge group"

skip_reason := "switched off by the parameter NAME.enabled" if {
	changes.relevant
	given.enabled == false
}

# Only what can be relied on is judged.
configured if {
	applies
	count(faults) == 0
}

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if {
	applies
	some msg in faults
}

error contains {"msg": msg, "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check"} if {
	configured
	some msg in changes.trouble({"pull_request"})
}

deny contains {
	"msg": sprintf("%sthe label %s says that it must not be merged", [changes.label(change), label.name]),
	"who": "whoever set the label",
	"fix": sprintf("take the label %s off", [label.name]),
} if {
	configured
	some change in changes.usable({"pull_request"})
	some label in change.pull_request.labels
	label.name in given.labels
}
