# METADATA
# title: Signed commits
# description: |
#   Every commit of a pull request, and of a push to a watched branch, carries a signature that GitHub has
#   verified. GitHub's own signature on web commits is told apart from the author's.
# custom:
#   id: CHG-05
#   severity: medium
#   owner: engineering
#   solution: Sign the commits named (`git commit --amend --no-edit -S`) with a key your account has, and push again.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.28]
#     pci: ["6.2.4", "6.5.1"]
#     nist: [CM-14, SI-7(15), AU-10]
#     slsa: [ORG_SOURCE_AUTHENTICATED_ACTORS]
#   facts:
#     - pull_request
#     - commits
#     - pushes
#     - push_commits
#     - merge_group
package controls.signed_commits

import data.lib.changes
import data.lib.commits
import data.lib.params
import data.lib.people
import data.lib.refs

given := params.effective("signed_commits")

# The parameters, where they can be used.
settings := given if configured

shape := {"": {
	"enabled": "boolean?",
	"required": "boolean",
	"allow_github_signed": "boolean",
	"signer_must_be_author": "boolean",
	"allowed_key_ids": "keys",
	"exempt_accounts": "logins",
}}

faults := params.problems("signed_commits", given, shape)

default applies := false

applies if {
	relevant
	not switched_off
	not given.required == false
}

relevant if changes.relevant

relevant if brings_commits

# A push to a watched branch; the deletion of one brings nothing, and a `create` event has its own push.
brings_commits if {
	refs.watched
	refs.on_branch
	not refs.deleted
	not object.get(input, ["event", "name"], "push") in {"create", "delete"}
}

switched_off if given.enabled == false

default skip_reason := "it is about neither a pull request, a merge group nor commits on a watched branch"

skip_reason := "switched off by the parameter signed_commits.enabled" if {
	relevant
	switched_off
} else := "signatures are not required (parameter signed_commits.required)" if {
	relevant
	given.required == false
}

configured if {
	applies
	count(faults) == 0
}

needs contains {"fact": fact} if {
	applies
	changes.relevant
	some fact in {"pull_request", "commits"}
}

needs contains {"fact": "merge_group"} if {
	applies
	changes.about == "merge_group"
}

needs contains {"fact": "pushes"} if {
	configured
	changes.relevant
	count(settings.exempt_accounts) > 0
}

needs contains {"fact": "push_commits"} if {
	applies
	brings_commits
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
	some msg in changes.trouble({"pull_request", "commits"})
}

unread contains sprintf("%swho pushed could not be read", [changes.label(change)]) if {
	changes.relevant
	count(settings.exempt_accounts) > 0
	some change in changes.usable({"pull_request"})
	not is_array(object.get(change, "pushes", null))
}

unread contains "the commits of the push could not be read" if {
	brings_commits
	not is_array(object.get(input.push, "commits", null))
}

# A branch made from commits that are already here: GitHub names none, and what they are is not known.
unread contains "the push names no commits: whether all are signed cannot be told" if {
	brings_commits
	input.push.commits == []
}

unread contains sprintf("the list of commits lacks the head %s", [people.short(input.push.after)]) if {
	brings_commits
	is_array(input.push.commits)
	count(input.push.commits) > 0
	count([commit | some commit in input.push.commits; commit.sha == input.push.after]) == 0
}

# What is judged together: the commits of one pull request, or of the push.
batches[i] := {
	"label": changes.label(change),
	"commits": change.commits,
	"pushes": object.get(change, "pushes", []),
	"head": change.pull_request.head.sha,
	"base": base_name(change.pull_request.base),
} if {
	configured
	some i, change in changes.usable({"pull_request", "commits"})
}

batches["push"] := {
	"label": "",
	"commits": input.push.commits,
	"pushes": [{"commits": [commit.sha | some commit in input.push.commits], "user": object.get(input.push, "pusher", null)}],
	"head": input.push.after,
	"base": push_base,
} if {
	configured
	brings_commits
	count(unread) == 0
}

push_base := input.push.before if {
	is_string(input.push.before)
} else := base_name({"ref": object.get(input.repository, "default_branch", ""), "sha": null})

# A branch name could carry shell commands: one that looks odd is replaced by its commit.
base_name(base) := sprintf("origin/%s", [base.ref]) if {
	refs.command_name(base.ref) == base.ref
} else := object.get(base, "sha", null)

# bad[i]: [commit, what is wrong] in a batch.
bad[i] := [{"commit": commit, "why": why} |
	some commit in batch.commits
	why := fault(commit)
	not exempt(batch, commit)
] if {
	some i, batch in batches
}

exempt(batch, commit) if {
	count(settings.exempt_accounts) > 0
	commits.made_by(commit, settings.exempt_accounts, commits.pushers(batch, commit.sha))
}

transient_states := {"GPGVERIFY_UNAVAILABLE", "GPGVERIFY_ERROR", "OCSP_PENDING", "OCSP_ERROR"}

state(commit) := object.get(commit, ["verification", "state"], "unknown")

# transient(commit): GitHub has not come to a result yet.
transient(commit) if {
	state(commit) in transient_states
	object.get(commit, ["verification", "verified"], null) == false
}

# fault(commit): why its signature does not do; undefined if it does.
fault(commit) := "not_yet" if {
	transient(commit)
} else := sprintf("is not signed (%s)", [state(commit)]) if {
	state(commit) == "UNSIGNED"
	not object.get(commit, ["verification", "verified"], null) == true
} else := sprintf("is called both verified and not (%s)", [state(commit)]) if {
	contradiction(commit)
} else := sprintf("has a signature that GitHub does not accept (%s%s)", [state(commit), state_text(state(commit))]) if {
	not commits.verified(commit)
} else := "is signed by GitHub, not by its author" if {
	by_github(commit)
	not settings.allow_github_signed
} else := "is signed by someone else than its author" if {
	settings.signer_must_be_author
	not signer_is_author(commit)
} else := sprintf("is signed with a key that is not allowed (%v)", [object.get(commit, ["verification", "key_id"], null)]) if {
	not key_allowed(commit)
}

contradiction(commit) if {
	object.get(commit, ["verification", "verified"], null) == true
	state(commit) != "VALID"
}

contradiction(commit) if {
	object.get(commit, ["verification", "verified"], null) != true
	state(commit) == "VALID"
}

state_text(name) := concat("", [": ", text]) if {
	text := {
		"UNKNOWN_KEY": "the key is not in the account, add it there",
		"NO_USER": "no account has the committer's e-mail",
		"UNVERIFIED_EMAIL": "the committer's e-mail is not verified in the account",
		"BAD_EMAIL": "the committer's e-mail is not one of the key",
		"EXPIRED_KEY": "the key had expired",
		"OCSP_REVOKED": "the certificate was revoked",
		"NOT_SIGNING_KEY": "the key is not for signing",
	}[name]
} else := ""

by_github(commit) if commit.verification.signed_by_github == true

signer_is_author(commit) if people.same(commit.verification.signer, commit.author.user)

# GitHub itself knows whose session made a web commit. A codespace signs with GitHub's key too, but what it
# pushes names any author.
signer_is_author(commit) if {
	by_github(commit)
	commit.committed_via_web == true
}

key_allowed(_) if is_null(settings.allowed_key_ids)

key_allowed(commit) if {
	is_array(settings.allowed_key_ids)
	is_string(commit.verification.key_id)
	key := key_form(commit.verification.key_id)
	some allowed in settings.allowed_key_ids
	key_form(allowed) == key
}

# GPG key ids are hexadecimal, in either case; SSH fingerprints are written with or without `SHA256:`.
key_form(id) := lower(id) if {
	regex.match(`^[0-9A-Fa-f]+$`, id)
} else := trim_prefix(id, "SHA256:")

# The number first, then every commit.
deny contains {
	"msg": sprintf("%s%d of %d commits are not verified", [batch.label, count(wrong), count(batch.commits)]),
	"who": people.list(sort({author(item.commit) | some item in wrong})),
	"fix": mending(batch, wrong),
} if {
	some i, batch in batches
	wrong := [item | some item in bad[i]; item.why != "not_yet"]
	count(wrong) > 1
}

deny contains {
	"msg": sprintf("%scommit %s by %s %s", [batch.label, people.short(item.commit.sha), author(item.commit), item.why]),
	"commit": item.commit.sha,
	"who": author(item.commit),
	"fix": concat("", [first_step(item.commit), mending(batch, wrong)]),
} if {
	some i, batch in batches
	wrong := [item | some item in bad[i]; item.why != "not_yet"]
	some item in wrong
}

pending contains {
	"msg": sprintf("%sGitHub has not finished verifying commit %s (%s)", [batch.label, people.short(item.commit.sha), state(item.commit)]),
	"commit": item.commit.sha,
	"who": "nobody: gatelog looks again by itself",
} if {
	some i, batch in batches
	some item in bad[i]
	item.why == "not_yet"
}

warn contains {
	"msg": sprintf("%scommit %s by %s needs no signature: exempt_accounts", [batch.label, people.short(commit.sha), author(commit)]),
	"commit": commit.sha,
} if {
	some batch in batches
	some commit in batch.commits
	fault(commit)
	exempt(batch, commit)
}

author(commit) := people.mention(commit.author.user) if {
	is_object(commit.author.user)
} else := "an author without account"

# Signing anew with the same key does not help where the account is what is wrong.
first_step(commit) := sprintf("%s and re-run this check; or sign with a key that your account has: ", [text]) if {
	text := {
		"UNKNOWN_KEY": "add the key to your account (Settings, SSH and GPG keys)",
		"NO_USER": "add the committer's e-mail to your account (Settings, Emails)",
		"UNVERIFIED_EMAIL": "verify the committer's e-mail in your account (Settings, Emails)",
	}[state(commit)]
} else := sprintf("git config user.email %s, then: ", ["<an e-mail of your key>"]) if {
	state(commit) == "BAD_EMAIL"
} else := ""

# One command that mends all. Only the newest commit has to change: amend it; else sign everything anew.
mending(batch, wrong) := "git commit --amend --no-edit -S && git push --force-with-lease" if {
	count([item | some item in wrong; item.commit.sha != batch.head]) == 0
} else := sprintf("git rebase --exec 'git commit --amend --no-edit -S' %s && git push --force-with-lease", [batch.base]) if {
	is_string(batch.base)
} else := "git rebase --root --exec 'git commit --amend --no-edit -S' && git push --force-with-lease"
