# METADATA
# title: Rules of the branch
# description: GitHub itself demands on the branch what this gate rests on, which is our check from our app and neither force pushes nor deletion. Where someone takes that away, it shows.
# custom:
#   id: CHG-17
#   severity: high
#   owner: security
#   solution: Put the rule back, in the settings of the repository or organisation.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.4]
#     pci: ["6.5.1", "6.5.4"]
#     nist: [CM-3, CM-5, CM-6]
#     slsa: [ORG_SOURCE_PROTECTED_REFS]
#   facts: [pull_request, merge_group, base_rules]
package controls.branch_rules

import data.lib.changes
import data.lib.optional
import data.lib.refs

shape := {
	"require_check": "boolean", "bound_to_app": "boolean", "block_force_pushes": "boolean",
	"block_deletions": "boolean", "require_pull_request": "boolean",
}

settings := optional.settings("branch_rules")

default applies := false

applies if {
	relevant
	optional.switched_on("branch_rules")
}

relevant if changes.relevant

relevant if watched_push

# A branch that is gone has no rules.
watched_push if {
	refs.on_branch
	refs.watched
	not refs.deleted
}

skip_reason := "not switched on (parameter branch_rules.enabled)" if {
	relevant
} else := "it is about neither a pull request, a merge group nor a push to a watched branch"

needs contains {"fact": "base_rules"} if applies

needs contains {"fact": "pull_request"} if {
	applies
	changes.about == "pull_request"
}

needs contains {"fact": "merge_group"} if {
	applies
	changes.about == "merge_group"
}

faults := {msg |
	applies
	some msg in optional.faults("branch_rules", shape)
}

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if some msg in faults

error contains {"msg": msg, "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check; if it stays, the log of gatelog says why"} if {
	applies
	changes.relevant
	some msg in changes.trouble({"pull_request"})
}

error contains {"msg": "the rules of the branch were not read", "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check; if it stays, the log of gatelog says why"} if {
	applies
	not read
}

# They are of the branch this is about.
read if {
	is_array(input.base_rules.rules)
	input.base_rules.branch == input.target.name
}

judging if {
	applies
	count(faults) == 0
	read
}

who := "whoever administers the repository"

deny contains {"msg": sprintf("GitHub does not demand this check on %s: what it says can be merged past", [input.target.name]), "who": who, "fix": "require the check in a ruleset for the branch, from this app"} if {
	judging
	settings.require_check == true
	not demanded
}

demanded if input.base_rules.required in {"bound", "unbound"}

deny contains {"msg": sprintf("the check that GitHub demands on %s may come from anyone: everybody with write access can make it green", [input.target.name]), "who": who, "fix": "choose this app as the expected source of the required check"} if {
	judging
	settings.bound_to_app == true
	input.base_rules.required == "unbound"
}

# What classic protection allows only administrators can read, so a ruleset has to say it.
deny contains {"msg": sprintf("no ruleset %s %s", [rule.says, input.target.name]), "who": who, "fix": rule.fix} if {
	judging
	some parameter, rule in wanted
	settings[parameter] == true
	not rule.type in types
}

wanted := {
	"block_force_pushes": {"type": "non_fast_forward", "says": "blocks force pushes to", "fix": "switch on \"Block force pushes\" in a ruleset for the branch"},
	"block_deletions": {"type": "deletion", "says": "restricts the deletion of", "fix": "switch on \"Restrict deletions\" in a ruleset for the branch"},
	"require_pull_request": {"type": "pull_request", "says": "demands pull requests for", "fix": "switch on \"Require a pull request before merging\" in a ruleset for the branch"},
}

types := {rule.type |
	judging
	some rule in input.base_rules.rules
	is_object(rule)
	is_string(rule.type)
}
