# METADATA
# title: Change freeze
# description: Nothing is merged, and nothing deployed to the environments named, while a freeze window is open; a label can mark what must be merged all the same.
# custom:
#   id: CHG-14
#   severity: medium
#   owner: engineering
#   solution: Wait until the window closes, or have the exception label set by whoever may.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32]
#     pci: ["6.5.1"]
#     nist: [CM-3, CM-3(1)]
#   facts: [pull_request, merge_group]
package controls.change_freeze

import data.lib.changes
import data.lib.environments
import data.lib.optional

facts := {"pull_request"}

shape := {"windows": "windows", "exception_label": "text", "environments": "patterns?"}

settings := optional.settings("change_freeze")

judged := optional.judged("change_freeze", shape, facts)

default applies := false

applies if optional.on("change_freeze")

applies if deploys

skip_reason := "no freeze is for this environment (parameter change_freeze.environments)" if {
	asked
} else := optional.why_not("change_freeze")

needs := optional.needs("change_freeze", facts)

error := optional.errors("change_freeze", shape, facts) | {{"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} |
	some msg in faults
}

default asked := false

asked if {
	environments.asked
	optional.switched_on("change_freeze")
}

frozen_environments := object.get(settings, "environments", [])

faults contains msg if {
	asked
	some msg in optional.faults("change_freeze", shape)
}

faults contains msg if {
	asked
	some msg in environments.problems(frozen_environments)
}

faults contains "the environment is not named" if {
	asked
	count(frozen_environments) > 0
	environments.name == ""
}

# Whether anything is deployed to an environment that freezes, or it cannot be told.
default deploys := false

deploys if count(faults) > 0

deploys if {
	asked
	environments.any_matches(frozen_environments, environments.name)
}

deploying if {
	deploys
	count(faults) == 0
}

now := time.parse_rfc3339_ns(input.time)

some_subject if count(judged) > 0

some_subject if deploying

open_windows contains window if {
	some_subject
	some window in settings.windows
	now >= time.parse_rfc3339_ns(window.from)
	now < time.parse_rfc3339_ns(window.until)
}

deny contains {
	"msg": sprintf("%schanges are frozen until %s: %s", [changes.label(change), window.until, window.why]),
	"who": sprintf("whoever may set the label %s", [settings.exception_label]),
	"fix": sprintf("wait until %s", [window.until]),
} if {
	some change in judged
	some window in open_windows
	not excepted(change)
}

deny contains {
	"msg": sprintf("deployments to %s are frozen until %s: %s", [environments.name, window.until, window.why]),
	"who": "nobody before that",
	"fix": sprintf("deploy after %s", [window.until]),
} if {
	deploying
	some window in open_windows
}

excepted(change) if {
	some label in change.pull_request.labels
	label.name == settings.exception_label
}

# What is allowed now may be frozen later, and the other way round.
edges contains edge if {
	some_subject
	some window in settings.windows
	some edge in [window.from, window.until]
	time.parse_rfc3339_ns(edge) > now
}

valid_until := soonest if {
	times := sort([[time.parse_rfc3339_ns(edge), edge] | some edge in edges])
	soonest := times[0][1]
}
