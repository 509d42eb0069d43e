# METADATA
# title: Required checks
# description: Named checks have passed on the newest commit, and the app they are expected from said so; the same name by another app counts for nothing.
# custom:
#   id: CHG-06
#   severity: high
#   owner: engineering
#   solution: Mend what the check complains of and push, or run it again.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32, A.8.29]
#     pci: ["6.2.3", "6.5.1"]
#     nist: [CM-3, CM-3(2), SA-11]
#   facts: [pull_request, checks, merge_group]
package controls.required_checks

import data.lib.changes
import data.lib.optional
import data.lib.people

facts := {"pull_request", "checks"}

shape := {
	"": {"checks": "mappings", "accept": "texts"},
	"checks": {"name": "text", "app": "login"},
}

settings := optional.settings("required_checks")

judged := optional.judged("required_checks", shape, facts)

default applies := false

applies if optional.on("required_checks")

skip_reason := optional.why_not("required_checks")

needs := optional.needs("required_checks", facts)

error := optional.errors("required_checks", shape, facts)

# By the app that is expected. Several of one name must all have passed.
ours(change, wanted) := [check |
	some check in change.checks
	check.name == wanted.name
	by_app(check, wanted.app)
]

by_app(check, app) if {
	check.kind == "check_run"
	lower(check.app.slug) == trim_suffix(lower(app), "[bot]")
}

# A status is as good as the account that set it.
by_app(check, app) if {
	check.kind == "status"
	people.app_named([app], check.creator)
}

by_others(change, wanted) := sort({who(check) |
	some check in change.checks
	check.name == wanted.name
	not by_app(check, wanted.app)
})

who(check) := check.app.slug if {
	is_object(check.app)
} else := people.mention(check.creator)

others_text(change, wanted) := sprintf(" (by %s it counts for nothing)", [people.list(others)]) if {
	others := by_others(change, wanted)
	count(others) > 0
} else := ""

# Not there yet is not there.
pending contains {
	"msg": sprintf("%sthe check %s of %s has not reported on %s%s", [changes.label(change), wanted.name, wanted.app, people.short(change.pull_request.head.sha), others_text(change, wanted)]),
	"who": wanted.app,
	"fix": "wait for it; if it never comes, see why it does not run",
} if {
	some change in judged
	some wanted in settings.checks
	count(ours(change, wanted)) == 0
}

pending contains {
	"msg": sprintf("%sthe check %s of %s is %v", [changes.label(change), wanted.name, wanted.app, check.status]),
	"who": wanted.app,
	"fix": "wait for it",
} if {
	some change in judged
	some wanted in settings.checks
	some check in ours(change, wanted)
	check.status != "completed"
}

deny contains {
	"msg": sprintf("%sthe check %s of %s says %v", [changes.label(change), wanted.name, wanted.app, check.conclusion]),
	"who": "the author",
	"fix": "mend what it complains of and push, or run it again",
} if {
	some change in judged
	some wanted in settings.checks
	some check in ours(change, wanted)
	check.status == "completed"
	not check.conclusion in settings.accept
}
