# METADATA
# title: Workflow files
# description: Changed workflows and actions use other people's actions pinned to a commit, hand no secrets to code that has not been reviewed, and ask for no more rights than they need.
# custom:
#   id: CHG-07
#   severity: high
#   owner: security
#   solution: Pin the action to the commit of the release you looked at; split what needs secrets from what runs the code of a pull request.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.4, A.8.28]
#     pci: ["6.3.2", "6.5.1"]
#     nist: [CM-3, CM-5, SR-3, SA-12]
#   facts: [pull_request, files, workflows, merge_group]
package controls.workflow_files

import data.lib.changes
import data.lib.optional

facts := {"pull_request", "files", "workflows"}

shape := {"pin_actions": "boolean", "trusted_owners": "logins", "no_checkout_on": "texts", "forbid_write_all": "boolean"}

settings := optional.settings("workflow_files")

judged := optional.judged("workflow_files", shape, facts)

default applies := false

applies if optional.on("workflow_files")

skip_reason := optional.why_not("workflow_files")

needs := optional.needs("workflow_files", facts)

error := optional.errors("workflow_files", shape, facts)

# changed[[i, path]]: the documents of workflows and actions.
changed[[i, file.path]] := file.document if {
	some i, change in judged
	some file in change.workflows
	is_object(file.document)
}

deny contains {
	"msg": sprintf("%s%s is not a workflow that can be read: %s", [changes.label(change), file.path, why(file)]),
	"path": file.path,
	"who": "the author",
	"fix": "correct the YAML",
} if {
	some change in judged
	some file in change.workflows
	not is_object(file.document)
}

why(file) := file.error if {
	is_string(file.error)
} else := "it is not a mapping"

# Whatever stands under a `uses`: steps, whole jobs, steps of an action.
used[place] := {value | walk(document, [path, value]); path[count(path) - 1] == "uses"} if {
	some place, document in changed
}

deny contains {
	"msg": sprintf("%s%s uses %v, which is not pinned to a commit", [changes.label(judged[place[0]]), place[1], value]),
	"path": place[1],
	"who": "the author",
	"fix": "write the whole commit id behind the @, with the release in a comment",
} if {
	settings.pin_actions == true
	some place, values in used
	some value in values
	not pinned(value)
}

pinned(value) if {
	is_string(value)
	startswith(value, "./")
}

pinned(value) if {
	is_string(value)
	regex.match(`^docker://[^@]+@sha256:[0-9a-f]{64}$`, value)
}

pinned(value) if {
	is_string(value)
	not startswith(value, "docker://")
	regex.match(`^[^@]+@([0-9a-f]{40}|[0-9a-f]{64})$`, value)
}

pinned(value) if {
	is_string(value)
	owner := lower(split(value, "/")[0])
	some trusted in settings.trusted_owners
	lower(trusted) == owner
}

# on: a name, a list of names, or a mapping of names. Readers of old YAML take the key for `true`.
triggers[place] := names if {
	some place, document in changed
	value := object.get(document, "on", object.get(document, "true", null))
	names := names_of(value)
}

names_of(value) := {value} if {
	is_string(value)
} else := {name | some name in value} if {
	is_array(value)
} else := object.keys(value) if {
	is_object(value)
} else := set()

# Such a workflow runs with the secrets of the repository, whoever opened the pull request.
risky[place] := trigger if {
	some place, names in triggers
	found := sort(names & {name | some name in settings.no_checkout_on})
	trigger := found[0]
}

deny contains {
	"msg": sprintf("%s%s runs on %s and %s", [changes.label(judged[place[0]]), place[1], trigger, what]),
	"path": place[1],
	"who": "the author",
	"fix": "run the code of a pull request on pull_request, and what needs secrets apart from it",
} if {
	some place, trigger in risky
	some what in fetched(changed[place])
}

fetched(document) := {"checks out code" |
	walk(document, [path, value])
	path[count(path) - 1] == "uses"
	is_string(value)
	regex.match(`(?i)^actions/checkout(@|/|$)`, value)
} | ({"fetches code in a command" |
	walk(document, [path, value])
	path[count(path) - 1] == "run"
	is_string(value)
	regex.match(`(?i)\bgit\b[^\n]*\b(fetch|checkout|clone|pull|switch|worktree)\b|\bgh\s+(pr\s+checkout|repo\s+clone)\b`, value)
} | {"calls another workflow or an action of the repository, which may fetch code" |
	walk(document, [path, value])
	path[count(path) - 1] == "uses"
	is_string(value)
	regex.match(`^\./|/\.github/workflows/`, value)
})

deny contains {
	"msg": sprintf("%s%s asks for the right to write everything", [changes.label(judged[place[0]]), place[1]]),
	"path": place[1],
	"who": "the author",
	"fix": "name the permissions that it needs",
} if {
	settings.forbid_write_all == true
	some place, document in changed
	walk(document, [path, value])
	path[count(path) - 1] == "permissions"
	value == "write-all"
}
