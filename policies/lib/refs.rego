# METADATA
# title: What a push does to a branch or tag, and whether anybody watches it
package lib.refs

import data.lib.changes
import data.lib.params
import data.lib.patterns
import data.lib.people

is_push if {
	changes.about == "ref"
	is_object(input.push)
}

# A branch is watched if it is the default branch, or some rule or some `branches` entry is for it; a tag,
# if some rule is for it. To all others no control applies.
watched if {
	is_push
	count(matching_rules) > 0
}

watched if {
	on_branch
	input.push.ref_name == input.repository.default_branch
}

watched if {
	on_branch
	params.has_branch_entry(input.push.ref_name)
}

# Without knowing the default branch, none can be ruled out.
watched if {
	on_branch
	not is_string(object.get(input, ["repository", "default_branch"], null))
}

on_branch if {
	is_push
	input.push.ref_kind == "branch"
}

rules := found if {
	found := params.effective("restricted_branches").rules
	is_array(found)
} else := []

matching_rules[i] := rule if {
	is_push
	some i, rule in rules
	rule.type == input.push.ref_kind
	patterns.matches(rule.pattern, input.push.ref_name)
}

# operations: which of creations, updates, deletions, force_pushes the push is. A force push is also an
# update, and so is a moved tag, which is always also a force push.
operations contains "creations" if created

operations contains "deletions" if deleted

operations contains "updates" if updated

operations contains "force_pushes" if {
	updated
	input.push.forced == true
}

operations contains "force_pushes" if {
	updated
	input.push.ref_kind == "tag"
}

updated if {
	is_push
	not created
	not deleted
}

created if {
	is_push
	input.push.created == true
}

created if {
	is_push
	gone(input.push.before)
	not input.push.deleted == true
}

deleted if {
	is_push
	input.push.deleted == true
}

deleted if {
	is_push
	gone(input.push.after)
	not input.push.created == true
}

# GitHub writes "no such commit" as zeros; facts write it as null.
gone(sha) if is_null(sha)

gone(sha) if {
	is_string(sha)
	regex.match(`^0+$`, sha)
}

# pusher: how whoever pushed is named in a finding.
pusher := "a deploy key" if {
	input.push.pusher_kind == "deploy_key"
} else := people.mention(input.push.pusher) if {
	is_object(input.push.pusher)
} else := "somebody unknown"

# shown: `branch main`, `tag v1`.
shown := sprintf("%s %s", [input.push.ref_kind, input.push.ref_name])

# command_name(name): a branch or tag as it can be copied into a shell; others could carry commands.
command_name(name) := name if {
	regex.match(`^[A-Za-z0-9_][A-Za-z0-9_./+@=-]*$`, name)
} else := "NAME"
