# METADATA
# title: Change freeze
# description: Nothing is merged while a freeze window is open; a label can mark what must go in all the same.
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
import data.lib.optional

facts := {"pull_request"}

shape := {"windows": "windows", "exception_label": "text"}

settings := optional.settings("change_freeze")

judged := optional.judged("change_freeze", shape, facts)

default applies := false

applies if optional.on("change_freeze")

skip_reason := optional.why_not("change_freeze")

needs := optional.needs("change_freeze", facts)

error := optional.errors("change_freeze", shape, facts)

now := time.parse_rfc3339_ns(input.time)

open_windows contains window if {
	count(judged) > 0
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

excepted(change) if {
	some label in change.pull_request.labels
	label.name == settings.exception_label
}

# What is allowed now may be frozen later, and the other way round.
edges contains edge if {
	count(judged) > 0
	some window in settings.windows
	some edge in [window.from, window.until]
	time.parse_rfc3339_ns(edge) > now
}

valid_until := soonest if {
	times := sort([[time.parse_rfc3339_ns(edge), edge] | some edge in edges])
	soonest := times[0][1]
}
