# METADATA
# title: Deployments
# description: What goes into an environment comes from its branches, by a pull request that gatelog allowed, and is sent there by somebody who may and did not write it.
# custom:
#   id: CHG-09
#   severity: high
#   owner: operations
#   solution: Merge the change first, and have somebody who did not write it start the deployment.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.31, A.5.3]
#     pci: ["6.5.1", "6.5.3", "6.5.4"]
#     nist: [CM-3, CM-5, AC-5]
#     slsa: [ORG_SOURCE_TWO_PARTY]
#   facts: [deployment]
package controls.deployments

import data.lib.commits
import data.lib.environments
import data.lib.optional
import data.lib.patterns
import data.lib.people

shape := {
	"": {"environments": "mappings", "allow_other_environments": "boolean?"},
	"environments": {
		"environment": "pattern", "branches": "patterns", "on_default_branch": "boolean",
		"require_allowed": "boolean", "separate_deployer": "boolean", "deployers": "logins",
	},
}

settings := optional.settings("deployments")

relevant := environments.asked

payload := input.event.payload

environment := environments.name

faults := {msg |
	optional.switched_on("deployments")
	relevant
	some msg in optional.faults("deployments", shape)
} | {msg |
	optional.switched_on("deployments")
	relevant
	named := [rule.environment | some rule in settings.environments; is_object(rule)]
	some msg in environments.problems(named)
}

default applies := false

applies if {
	optional.switched_on("deployments")
	relevant
}

rules[i] := rule if {
	applies
	count(faults) == 0
	some i, rule in settings.environments
	environments.matches(rule.environment, environment)
}

skip_reason := "not switched on (parameter deployments.enabled)" if {
	relevant
} else := "it is not the question whether to deploy"

needs contains {"fact": "deployment"} if {
	applies
	not other
}

# Rules that cannot be read might be for this environment, and so might one that is not named.
default other := false

other if {
	applies
	count(faults) == 0
	environment != ""
	count(rules) == 0
}

deny contains {"msg": sprintf("no rule is for the environment %s", [environment]), "who": "whoever maintains the policies", "fix": "add it to deployments.environments (policies/data.yaml)"} if {
	other
	not object.get(settings, "allow_other_environments", false) == true
}

look_again := "ask again: re-run the job that deploys"

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if some msg in faults

error contains {"msg": "the environment is not named", "who": "whoever runs gatelog", "fix": look_again} if {
	applies
	environment == ""
}

error contains {"msg": "what is deployed could not be read", "who": "whoever runs gatelog", "fix": look_again} if {
	applies
	not other
	not read
}

# It is of the commit that GitHub asks about, and whole.
read if {
	is_string(payload.deployment.sha)
	input.deployment.sha == payload.deployment.sha
	is_object(input.deployment.commit.author)
	is_object(input.deployment.commit.committer)
	is_array(input.deployment.commit.authors)
	is_array(input.deployment.commit.parents)
	is_array(input.deployment.pull_requests)
	is_array(input.deployment.landed)
	is_array(input.deployment.pushers)
	every pull in input.deployment.pull_requests {
		is_array(pull.authors)
		is_array(pull.nameless)
		is_array(pull.pushers)
	}
}

judged[i] := rule if {
	read
	some i, rule in rules
}

short := people.short(input.deployment.sha)

# What the deployment names: a branch, a tag, or a name alone, which may be either.
default from := ""

from := payload.deployment.ref if is_string(payload.deployment.ref)

default is_branch := false

is_branch if startswith(from, "refs/heads/")

is_branch if {
	from != ""
	not startswith(from, "refs/")
}

branch := trim_prefix(from, "refs/heads/")

deny contains {"msg": sprintf("%s may not be deployed to %s", [shown_from, environment]), "who": "whoever started the deployment", "fix": sprintf("deploy from %s", [people.list(rule.branches)])} if {
	some rule in judged
	count(rule.branches) > 0
	not from_one_of(rule.branches)
}

# What runs there is the workflow of the pull request, whatever commit is named.
deny contains {"msg": sprintf("the pull request %s may not be deployed to %s", [from, environment]), "who": "whoever started the deployment", "fix": "merge it first"} if {
	some rule in judged
	startswith(from, "refs/pull/")
	count(rule.branches) == 0
	needs_a_landing(rule)
}

needs_a_landing(rule) if rule.on_default_branch == true

needs_a_landing(rule) if rule.require_allowed == true

from_one_of(branches) if {
	is_branch
	patterns.any_matches(branches, branch)
}

# The tag `main` is not the branch `main`, and both are called `main`.
deny contains {"msg": sprintf("%s, which is to be deployed to %s, is not on a branch %s", [short, environment, branch]), "who": "whoever started the deployment", "fix": sprintf("deploy from %s", [people.list(rule.branches)])} if {
	some rule in judged
	count(rule.branches) > 0
	from_one_of(rule.branches)
	not input.deployment.on_named_branch == true
}

shown_from := from if {
	from != ""
} else := "what is named nowhere"

deny contains {"msg": sprintf("%s, which is to be deployed to %s, is not on the default branch", [short, environment]), "who": "whoever started the deployment", "fix": "merge it first"} if {
	some rule in judged
	rule.on_default_branch == true
	not input.deployment.on_default_branch == true
}

deny contains {"msg": sprintf("%s, which is to be deployed to %s, did not come by a pull request that was allowed%s", [short, environment, why_not(rule)]), "who": "whoever merged it", "fix": "bring it in by a pull request that gatelog allows"} if {
	some rule in judged
	rule.require_allowed == true
	not came_allowed(rule)
	not undecided(rule)
}

error contains {"msg": sprintf("whether %s, which is to be deployed to %s, was allowed is not known%s", [short, environment, why_not(rule)]), "who": "whoever runs gatelog", "fix": look_again} if {
	some rule in judged
	rule.require_allowed == true
	not came_allowed(rule)
	undecided(rule)
}

# A pull request into another branch was judged by what that branch asks for, which may be less. So only what
# landed on a branch that the rule names counts, and what landed on the default branch only where the rule asks
# for that branch or names none: a commit that was allowed there says nothing of a release branch that it was
# pushed to by hand.
counts(rule, landing) if patterns.any_matches(rule.branches, landing.branch)

counts(rule, landing) if {
	landing.branch == input.repository.default_branch
	rests_on_default(rule)
}

rests_on_default(rule) if rule.on_default_branch == true

rests_on_default(rule) if count(rule.branches) == 0

came_allowed(rule) if {
	some landing in input.deployment.landed
	counts(rule, landing)
	landing.allowed == true
}

undecided(rule) if {
	some landing in input.deployment.landed
	counts(rule, landing)
	landing.kind == "unknown"
}

why_not(rule) := sprintf(": %s", [reasons[0]]) if {
	reasons := sort([landing.reason |
		some landing in input.deployment.landed
		counts(rule, landing)
		is_string(landing.reason)
	])
	count(reasons) > 0
} else := ""

# Who sends it there: who started the run, and whom the deployment names.
deployers := [account |
	some account in [object.get(payload, "sender", null), object.get(payload, ["deployment", "creator"], null)]
	people.is_person(account)
]

deny contains {"msg": sprintf("it is not known who deploys to %s", [environment]), "who": "whoever started the deployment", "fix": "a person starts it"} if {
	some rule in judged
	rule.separate_deployer == true
	count(deployers) == 0
}

deny contains {"msg": sprintf("%s wrote what is to be deployed to %s", [people.mention(account), environment]), "who": "anyone else who may deploy", "fix": "somebody who did not write it starts the deployment"} if {
	some rule in judged
	rule.separate_deployer == true
	some account in deployers
	account.id in authors
}

# The author of a merge that GitHub made is who pressed the button.
merged_by_github if {
	read
	count(input.deployment.pull_requests) > 0
	count(input.deployment.commit.parents) == 2
	input.deployment.commit.committed_via_web == true
	commits.verified(input.deployment.commit)
	input.deployment.commit.verification.signed_by_github == true
}

# Names in commits are claims; who pushed is not.
authors := {account.id |
	some account in array.concat(named, pushed)
	is_object(account)
}

named := [account |
	read
	not merged_by_github
	some account in commits.accounts(input.deployment.commit)
]

pushed := array.concat(
	[account | read; some account in input.deployment.pushers],
	[account |
		read
		some pull in input.deployment.pull_requests
		some account in array.concat(array.concat([pull.user], pull.authors), pull.pushers)
	],
)

# Somebody who is not known may be who deploys.
unknown contains sprintf("it is not known who wrote %s, which is to be deployed", [people.short(sha)]) if {
	read
	some sha in nameless
}

unknown contains sprintf("it is not known who pushed all commits of #%d, which are to be deployed", [pull.number]) if {
	read
	some pull in input.deployment.pull_requests
	null in pull.pushers
}

unknown contains sprintf("it is not known who pushed %s, which is to be deployed", [short]) if {
	read
	null in input.deployment.pushers
}

nameless contains sha if {
	read
	some pull in input.deployment.pull_requests
	some sha in pull.nameless
}

nameless contains input.deployment.commit.sha if {
	read
	not merged_by_github
	some account in [account_of(person) | some person in array.concat([input.deployment.commit.author], input.deployment.commit.authors)]
	is_null(account)
}

nameless contains input.deployment.commit.sha if {
	read
	not input.deployment.commit.committed_via_web == true
	is_null(account_of(input.deployment.commit.committer))
}

account_of(person) := object.get(person, "user", null)

deny contains {"msg": sprintf("%s to %s", [msg, environment]), "who": "whoever maintains the policies", "fix": "bring in a change whose authors and pushers are known, or have an exception made"} if {
	some rule in judged
	rule.separate_deployer == true
	some msg in unknown
}

deny contains {"msg": sprintf("%s may not deploy to %s", [people.mention(sender), environment]), "who": people.list(people.mentions(rule.deployers)), "fix": "one of them starts the deployment"} if {
	some rule in judged
	count(rule.deployers) > 0
	not people.named(rule.deployers, sender)
}

default sender := null

sender := payload.sender if is_object(payload.sender)
