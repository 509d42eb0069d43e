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
import data.lib.optional
import data.lib.patterns
import data.lib.people

shape := {
	"": {"environments": "mappings"},
	"environments": {
		"environment": "pattern", "branches": "patterns", "on_default_branch": "boolean",
		"require_allowed": "boolean", "separate_deployer": "boolean", "deployers": "logins",
	},
}

settings := optional.settings("deployments")

# GitHub asks before it deploys, where the environment names this app as its protection rule.
relevant if {
	input.event.name == "deployment_protection_rule"
	input.event.action == "requested"
}

payload := input.event.payload

faults := {msg |
	optional.switched_on("deployments")
	relevant
	some msg in optional.faults("deployments", shape)
}

default environment := ""

environment := payload.environment if is_string(payload.environment)

default applies := false

applies if {
	optional.switched_on("deployments")
	relevant
	matched
}

# Rules that cannot be read might be for this environment, and so might one that is not named.
matched if count(faults) > 0

matched if environment == ""

matched if count(rules) > 0

rules[i] := rule if {
	relevant
	count(faults) == 0
	some i, rule in settings.environments
	patterns.matches(rule.environment, environment)
}

skip_reason := "not switched on (parameter deployments.enabled)" if {
	relevant
	not optional.switched_on("deployments")
} else := "no rule is for this environment" if {
	relevant
} else := "it is not the question whether to deploy"

needs contains {"fact": "deployment"} if applies

look_again := "ask again: re-run the job that deploys"

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if some msg in faults

error contains {"msg": "the environment is not named", "who": "whoever runs gatelog", "fix": look_again} if {
	applies
	environment == ""
}

error contains {"msg": "what is deployed could not be read", "who": "whoever runs gatelog", "fix": look_again} if {
	applies
	not read
}

# It is of the commit that GitHub asks about.
read if {
	is_string(payload.deployment.sha)
	input.deployment.sha == payload.deployment.sha
	is_object(input.deployment.commit)
	is_array(input.deployment.pull_requests)
}

judged[i] := rule if {
	read
	some i, rule in rules
}

short := people.short(input.deployment.sha)

# A branch or a tag, as the deployment names it.
default from := ""

from := patterns.strip_ref(payload.deployment.ref) if is_string(payload.deployment.ref)

deny contains {"msg": sprintf("%s may not be deployed to %s", [shown_from, environment]), "who": "whoever started the deployment", "fix": sprintf("deploy from %s", [people.list(rule.branches)])} if {
	some rule in judged
	count(rule.branches) > 0
	not patterns.any_matches(rule.branches, from)
}

shown_from := from if {
	from != ""
} else := "what is named nowhere"

deny contains {"msg": sprintf("%s, which is to be deployed to %s, is not on the default branch", [short, environment]), "who": "whoever started the deployment", "fix": "merge it first"} if {
	some rule in judged
	rule.on_default_branch == true
	not input.deployment.on_default_branch == true
}

deny contains {"msg": sprintf("%s, which is to be deployed to %s, did not come by a pull request that was allowed", [short, environment]), "who": "whoever merged it", "fix": "bring it in by a pull request that gatelog allows"} if {
	some rule in judged
	rule.require_allowed == true
	count(allowed) == 0
}

allowed := [pull | read; some pull in input.deployment.pull_requests; pull.allowed == true]

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

authors := {account.id | read; not merged_by_github; some account in commits.accounts(input.deployment.commit)} | {account.id |
	read
	some pull in input.deployment.pull_requests
	some account in array.concat([pull.user], pull.authors)
	is_object(account)
}

deny contains {"msg": sprintf("%s may not deploy to %s", [people.mention(sender), environment]), "who": people.list(people.mentions(rule.deployers)), "fix": "one of them starts the deployment"} if {
	some rule in judged
	count(rule.deployers) > 0
	not people.named(rule.deployers, sender)
}

default sender := null

sender := payload.sender if is_object(payload.sender)
