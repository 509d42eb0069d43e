# METADATA
# title: Restricted branches
# description: |
#   Who may create, update, delete and force-push which branches and tags, and which branches may be merged
#   into which. Merging a pull request that gatelog allowed is not a direct push.
# custom:
#   id: CHG-01
#   severity: high
#   owner: engineering
#   solution: Open a pull request instead of pushing; put the branch or tag back as it was.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.4]
#     pci: ["6.5.1", "6.5.4"]
#     nist: [CM-3, CM-5, CM-5(1)]
#     slsa: [ORG_SOURCE_PROTECTED_REFS]
#   facts:
#     - pull_request
#     - merge_group
#     - team_members
#     - landed
#     - push_commits
package controls.restricted_branches

import data.lib.changes
import data.lib.params
import data.lib.patterns
import data.lib.people
import data.lib.refs

given := params.effective("restricted_branches")

# The parameters, where they can be used.
settings := given if configured

shape := {
	"": {"enabled": "boolean?", "rules": "mappings", "merge_from": "mappings"},
	"rules": {"type": "ref_type", "pattern": "pattern", "restrict": "restrictions", "allow": "mapping"},
	"rules.allow": {"users": "logins", "teams": "teams", "apps": "logins"},
	"merge_from": {"base": "pattern", "head": "patterns"},
}

faults := params.problems("restricted_branches", given, shape) | wrong_kind

# A rule for branches cannot be written refs/tags/…, nor the other way round: it would protect nothing.
wrong_kind contains sprintf("parameter restricted_branches.rules[%d].pattern is for the other kind of ref", [i]) if {
	some i, rule in refs.rules
	is_string(rule.pattern)
	some kind, prefix in prefixes
	kind != rule.type
	startswith(rule.pattern, prefix)
}

default applies := false

applies if {
	relevant
	not switched_off
}

relevant if changes.relevant

relevant if refs.watched

# Rules that cannot be read might be for this ref.
relevant if {
	refs.is_push
	count(faults) > 0
}

switched_off if given.enabled == false

default skip_reason := "no rule is for this branch or tag"

skip_reason := "it is about neither a pull request, a merge group nor a push" if {
	not changes.relevant
	not refs.is_push
} else := "switched off by the parameter restricted_branches.enabled" if {
	relevant
	switched_off
}

configured if {
	applies
	count(faults) == 0
}

needs contains {"fact": "pull_request"} if {
	applies
	changes.relevant
}

needs contains {"fact": "merge_group"} if {
	applies
	changes.about == "merge_group"
}

needs contains {"fact": fact} if {
	may_have_landed
	some fact in {"landed", "push_commits"}
}

needs contains {"fact": "team_members", "id": lower(name)} if {
	some name in named_teams
}

# Rules that speak about what this push does.
broken_by[i] := operations if {
	configured
	some i, rule in refs.matching_rules
	operations := {kind | some kind in rule.restrict} & refs.operations
	count(operations) > 0
}

# Only a plain update of a branch can be GitHub merging a pull request.
may_have_landed if {
	refs.on_branch
	refs.operations == {"updates"}
	count(broken_by) > 0
}

named_teams contains name if {
	some i, _ in broken_by
	some name in refs.rules[i].allow.teams
}

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if {
	applies
	some msg in faults
}

error contains {
	"msg": msg, "who": "whoever runs gatelog",
	"fix": "ask for another look: re-run this check; if it stays, the log of gatelog says why",
} if {
	configured
	some msg in unread
}

unread contains msg if {
	changes.relevant
	some msg in changes.trouble({"pull_request"})
}

unread contains sprintf("team %s could not be read", [name]) if {
	some name in people.unread_teams(named_teams)
}

unread contains "how the push came about could not be read" if {
	may_have_landed
	not is_object(object.get(input.push, "landed", null))
}

unread contains sprintf("%s: who pushed is not known", [refs.shown]) if {
	not merged_as_allowed
	not is_object(object.get(input.push, "pusher", null))
	input.push.pusher_kind != "deploy_key"
	some i, _ in broken_by
	not allows_nobody(refs.rules[i].allow)
}

allows_nobody(allow) if (count(allow.users) + count(allow.teams)) + count(allow.apps) == 0

# GitHub merged pull requests that our ledger had allowed at these heads.
merged_as_allowed if {
	may_have_landed
	input.push.landed.kind in {"merge_group", "merge", "squash", "rebase"}
	pulls := input.push.landed.pull_requests
	count(pulls) > 0
	not_allowed := [pull | some pull in pulls; not pull.allowed == true]
	count(not_allowed) == 0
}

# GitHub merged one that was not allowed.
bypass if {
	may_have_landed
	is_object(input.push.landed)
	not input.push.landed.kind == "direct"
	not merged_as_allowed
}

judged_push if {
	configured
	count(unread) == 0
	not merged_as_allowed
}

# A bypass is one whoever merged: a permission to push is none to merge what was refused.
deny contains {
	"msg": sprintf("%s merged into %s without being allowed (bypass)%s", [pulls_text, input.push.ref_name, reason_text]),
	"who": sprintf("%s, and whoever may change %s", [refs.pusher, input.push.ref_name]),
	"fix": "have the change reviewed now, or take it back with a pull request that reverts it",
} if {
	judged_push
	bypass
}

deny contains {
	"msg": sprintf("%s may not %s%s", [refs.pusher, deed(broken_by[i]), reason_text]),
	"who": allowed_text(rule.allow),
	"fix": way_back,
} if {
	judged_push
	not bypass
	some i, rule in refs.matching_rules
	count(broken_by[i]) > 0
	not allowed(rule.allow)
}

# allowed(allow): whoever pushed stands on the list. A deploy key is nobody; so is who is not known.
allowed(allow) if {
	input.push.pusher_kind == "user"
	people.is_person(input.push.pusher)
	people.named(allow.users, input.push.pusher)
}

allowed(allow) if {
	input.push.pusher_kind == "user"
	people.is_person(input.push.pusher)
	some team in allow.teams
	people.in_team(team, input.push.pusher)
}

allowed(allow) if {
	input.push.pusher_kind in {"app", "user"}
	people.app_named(allow.apps, input.push.pusher)
}

deed(operations) := sprintf("force-push %s", [refs.shown]) if {
	"force_pushes" in operations
	input.push.ref_kind == "branch"
} else := sprintf("move %s", [refs.shown]) if {
	"force_pushes" in refs.operations
	input.push.ref_kind == "tag"
} else := sprintf("create %s", [refs.shown]) if {
	"creations" in operations
} else := sprintf("delete %s", [refs.shown]) if {
	"deletions" in operations
} else := sprintf("change %s by a force push", [refs.shown]) if {
	"force_pushes" in refs.operations
} else := sprintf("push directly to %s", [refs.shown])

pulls_text := people.list([sprintf("#%d", [pull.number]) | some pull in input.push.landed.pull_requests; not pull.allowed == true]) if {
	count([pull | some pull in input.push.landed.pull_requests; not pull.allowed == true]) > 0
} else := "a pull request"

default reason_text := ""

reason_text := sprintf(": %s", [input.push.landed.reason]) if {
	is_string(input.push.landed.reason)
	input.push.landed.reason != ""
}

allowed_text(allow) := people.list(names) if {
	names := array.concat(
		people.mentions(array.concat(allow.users, allow.teams)),
		[sprintf("the app %s", [app]) | some app in allow.apps],
	)
	count(names) > 0
} else := "nobody: a repository administrator puts it back"

full_name := concat("", [prefixes[input.push.ref_kind], refs.command_name(input.push.ref_name)])

prefixes := {"branch": "refs/heads/", "tag": "refs/tags/"}

before := object.get(input.push, "before", null)

after := object.get(input.push, "after", null)

# way_back: how the ref is put back as it was.
way_back := sprintf("git push origin --delete %s", [full_name]) if {
	refs.created
} else := sprintf("git push origin %v:%s", [before, full_name]) if {
	refs.deleted
	is_string(before)
} else := sprintf("create %s again where it was", [refs.shown]) if {
	refs.deleted
} else := sprintf("git push --force-with-lease=%s:%v origin %v:%s", [full_name, after, before, full_name]) if {
	"force_pushes" in refs.operations
} else := sprintf("git revert --no-edit %v..%v on a branch of its own, and open a pull request", [before, after])

# What may be merged: every entry for the base branch must know the head, in this very repository.
deny contains {
	"msg": sprintf("%sonly %s may be merged into %s, not %s", [changes.label(change), heads_text(entry), pull.base.ref, head_text(object.get(pull, "head", {}))]),
	"who": "the author",
	"fix": sprintf("open the pull request from such a branch of %s, or against another base", [repository_name]),
} if {
	configured
	some change in changes.usable({"pull_request"})
	pull := change.pull_request
	some entry in settings.merge_from
	patterns.matches(entry.base, pull.base.ref)
	not may_merge(entry, object.get(pull, "head", {}))
}

default repository_name := "this repository"

repository_name := input.repository.name if is_string(input.repository.name)

may_merge(entry, head) if {
	head.repo.id == input.repository.id
	patterns.any_matches(entry.head, head.ref)
}

heads_text(entry) := people.list(entry.head) if {
	count(entry.head) > 0
} else := "nothing"

head_text(head) := sprintf("%v of %s", [name, head.repo.full_name]) if {
	is_string(head.repo.full_name)
	head.repo.id != input.repository.id
	name := object.get(head, "ref", "an unknown branch")
} else := sprintf("%v of a deleted fork", [object.get(head, "ref", "an unknown branch")]) if {
	not is_object(object.get(head, "repo", null))
} else := sprintf("%v", [object.get(head, "ref", "an unknown branch")])
