# METADATA
# title: Who made a commit, and what came since
# description: |
#   Author, committer and co-authors are claims of whoever pushed. A verified signature and the recorded
#   pusher are not; an exception for somebody's commits rests on one of these.
package lib.commits

import data.lib.people

# accounts(commit): who is named in it, GitHub's own web interface left out.
accounts(commit) := [account |
	some account in named(commit)
	is_object(account)
]

# Null stands for somebody without an account.
named(commit) := array.concat(
	array.concat([account_of(commit.author)], [account_of(person) | some person in commit.authors]),
	[account | account := account_of(commit.committer); not people.is_web_flow(account)],
)

account_of(person) := object.get(person, "user", null)

# made_by(commit, logins, pushers): everybody named in the commit is one of these accounts, and one of
# those named verifiably signed or pushed it. `pushers`: who pushed it, null for each one unknown.
made_by(commit, logins, pushers) if {
	everybody := named(commit)
	others := [account | some account in everybody; not people.named(logins, account)]
	count(others) == 0
	proved(commit, {account.id | some account in everybody}, pushers)
}

proved(commit, ids, _) if {
	verified(commit)
	commit.verification.signer.id in ids
}

proved(_, ids, pushers) if {
	count(pushers) > 0
	others := [pusher | some pusher in pushers; not known_as(ids, pusher)]
	count(others) == 0
}

known_as(ids, account) if {
	is_object(account)
	account.id in ids
}

# verified(commit): GitHub says so in both of its ways.
verified(commit) if {
	commit.verification.verified == true
	commit.verification.state == "VALID"
}

# pushers(change, sha): who pushed this commit to the pull request, once for every push that brought it.
pushers(change, sha) := [push.user |
	some push in object.get(change, "pushes", [])
	sha in push.commits
]

# ignorable(change, commit, settings): it neither makes an approval stale nor makes a contributor.
ignorable(_, commit, settings) if {
	settings.ignore_update_merges == true
	commit.update_merge == true
}

ignorable(change, commit, settings) if {
	count(settings.ignore_commits_by) > 0
	made_by(commit, settings.ignore_commits_by, pushers(change, commit.sha))
}
