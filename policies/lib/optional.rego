# METADATA
# title: Controls that are off until parameters switch them on
# description: |
#   Without a section of its own a control was not switched on; with one it applies unless `enabled` is
#   exactly false, so that a mistake in the section is an error and never "off".
package lib.optional

import data.lib.changes
import data.lib.params

# settings(control): its parameters, merged; empty if nobody gave any.
settings(control) := params.effective(control)

on(control) if {
	changes.relevant
	switched_on(control)
}

# switched_on(control): whatever the event is about.
switched_on(control) if {
	given := settings(control)
	count(given) > 0
	not given.enabled == false
}

# why_not(control): why it is skipped.
why_not(control) := sprintf("not switched on (parameter %s.enabled)", [control]) if {
	changes.relevant
} else := "it is about neither a pull request nor a merge group"

# faults(control, shape): what is wrong with the parameters of a control that is on. `shape`: the keys of its
# section and their types, or, with a place "", as in lib.params.
faults(control, shape) := params.problems(control, settings(control), object.union({"": {"enabled": "boolean"}}, places(shape)))

places(shape) := shape if {
	is_object(object.get(shape, "", null))
} else := {"": shape}

# errors(control, shape, facts): findings for the control's `error`: parameters, and facts that were not read.
errors(control, shape, facts) := {{"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} |
	on(control)
	some msg in faults(control, shape)
} | {{"msg": msg, "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check; if it stays, the log of gatelog says why"} |
	on(control)
	some msg in changes.trouble(facts)
}

# judged(control, shape, facts): the pull requests that can be judged, by their place.
judged(control, shape, facts) := {i: change |
	on(control)
	count(faults(control, shape)) == 0
	some i, change in changes.usable(facts)
}

# needs(control, facts): what is fetched for a control that is on.
needs(control, facts) := {{"fact": fact} |
	on(control)
	some fact in facts
} | {{"fact": "merge_group"} |
	on(control)
	changes.about == "merge_group"
}
