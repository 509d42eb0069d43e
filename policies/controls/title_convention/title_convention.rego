# METADATA
# title: Title convention
# description: The title of a pull request, which becomes the message of what lands, matches a pattern, such as that of conventional commits or a ticket.
# custom:
#   id: CHG-12
#   severity: low
#   owner: engineering
#   solution: Edit the title of the pull request.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32]
#     pci: ["6.5.1"]
#     nist: [CM-3, CM-3(2)]
#   facts: [pull_request, merge_group]
package controls.title_convention

import data.lib.changes
import data.lib.optional

facts := {"pull_request"}

shape := {"pattern": "text", "example": "text"}

settings := optional.settings("title_convention")

judged := optional.judged("title_convention", shape, facts)

default applies := false

applies if optional.on("title_convention")

skip_reason := optional.why_not("title_convention")

needs := optional.needs("title_convention", facts)

error := optional.errors("title_convention", shape, facts)

# A title that is not there matches nothing.
deny contains {
	"msg": sprintf("%sthe title does not match %s", [changes.label(change), settings.pattern]),
	"who": "the author",
	"fix": sprintf("write it like this: %s", [settings.example]),
} if {
	some change in judged
	not matches(object.get(change, ["pull_request", "title"], ""))
}

matches(title) if {
	is_string(title)
	regex.match(settings.pattern, title)
}
