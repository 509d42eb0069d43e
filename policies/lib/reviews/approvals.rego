# METADATA
# title: Which approvals hold
# description: |
#   The opinion of each person, which approvals count and why the others do not, who worked on the change,
#   and whether the last push is approved by someone else. All by pull request, by its place in scope.judged.
package lib.reviews.approvals

import data.lib.commits
import data.lib.people
import data.lib.reviews.scope

settings := scope.settings

judged := scope.judged

opinion_states := {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}

# The opinion of each person: the last one, in GitHub's order, which is the order of submission. A comment
# is no opinion; a dismissed opinion does not revive an older one. Ghosts have none.
opinions[i] := held if {
	some i, change in judged
	voiced := [review |
		some review in change.reviews
		is_object(review.user)
		upper(review.state) in opinion_states
	]
	held := {id: last |
		some id in {review.user.id | some review in voiced}
		theirs := [review | some review in voiced; review.user.id == id]
		last := theirs[count(theirs) - 1]
	}
}

requested_changes[i] := [review | some review in held; upper(review.state) == "CHANGES_REQUESTED"] if {
	some i, held in opinions
}

# Approvals by account id that nothing speaks against. Whether the person is among `approvers` matters for
# the number only; the reviewers of a path and code owners are named elsewhere.
valid[i] := {id: review |
	some id, review in held
	upper(review.state) == "APPROVED"
	not ignored[i][id]
} if {
	some i, held in opinions
}

counting[i] := {id: review |
	some id, review in approvals
	is_approver(review.user)
} if {
	some i, approvals in valid
}

ignored[i] := {id: reason |
	some id, review in held
	upper(review.state) in {"APPROVED", "DISMISSED"}
	reason := ignored_because(i, review)
} if {
	some i, held in opinions
}

# [name, reason] of every approval that does not count towards the number.
ignored_names[i] := ({[people.mention(held[id].user), reason] | some id, reason in ignored[i]} | {[people.mention(review.user), "not among the approvers"] | some review in valid[i]; not is_approver(review.user)}) | {["a deleted account", "no permission"] |
	some review in judged[i].reviews
	is_null(review.user)
	upper(review.state) == "APPROVED"
} if {
	some i, held in opinions
}

ignored_text(i) := sprintf(" (%d ignored: %s%s)", [count(pairs), concat("; ", shown), more]) if {
	pairs := sort(ignored_names[i])
	count(pairs) > 0
	shown := [sprintf("%s, %s", [pair[0], pair[1]]) | some pair in array.slice(pairs, 0, 3)]
	more := more_text(pairs, 3)
} else := ""

more_text(items, most) := "; …" if {
	count(items) > most
} else := ""

# Whoever approved an earlier head only has to approve again.
again_text(i) := sprintf(" (again: %s)", [people.list(names)]) if {
	names := sort([people.mention(opinions[i][id].user) | some id, reason in ignored[i]; startswith(reason, "stale")])
	count(names) > 0
} else := ""

ignored_because(i, review) := "review dismissed" if {
	upper(review.state) == "DISMISSED"
} else := "an app that count_apps does not name" if {
	people.is_app(review.user)
	not people.app_named(settings.count_apps, review.user)
} else := "not the account of a person" if {
	not people.is_app(review.user)
	not people.is_person(review.user)
} else := "author of the pull request" if {
	barred_author(i, review.user)
} else := sprintf("last pusher (pushed %s)", [people.short(last_push[i].after)]) if {
	barred_contributor(i, review.user)
	people.same(last_push[i].user, review.user)
} else := sprintf("contributor (commit %s)", [people.short(shas[0])]) if {
	barred_contributor(i, review.user)
	shas := [work.sha | some work in works[i]; work.account.id == review.user.id]
	count(shas) > 0
} else := sprintf("contributor (pushed %s)", [people.short(shas[0])]) if {
	barred_contributor(i, review.user)
	shas := [push.after |
		some push in reviewable_pushes[i]
		people.same(push.user, review.user)
	]
	count(shas) > 0
} else := sprintf("no %s permission", [settings.minimum_permission]) if {
	not may_approve(review)
} else := stale_because(i, review)

is_author(i, account) if people.same(judged[i].pull_request.user, account)

barred_author(i, account) if {
	not settings.allow_author == true
	is_author(i, account)
}

# The author's approval is for allow_author to say, whatever commits are theirs.
barred_contributor(i, account) if {
	not scope.contributors_allowed
	not is_author(i, account)
}

# The permission on the base repository, as it is now.
may_approve(review) if {
	review.can_push == true
	settings.minimum_permission == "write"
}

may_approve(review) if {
	review.can_push == true
	settings.minimum_permission == "maintain"
	object.get(review, "permission", "none") in {"maintain", "admin"}
}

may_approve(review) if {
	review.can_push == true
	object.get(review, "permission", "none") == "admin"
}

approvers_named if {
	some kind in ["users", "teams", "organizations"]
	count(settings.approvers[kind]) > 0
}

is_approver(account) if {
	is_object(account)
	not approvers_named
}

is_approver(account) if people.named(settings.approvers.users, account)

is_approver(account) if {
	some team in settings.approvers.teams
	people.in_team(team, account)
}

is_approver(account) if {
	some organization in settings.approvers.organizations
	people.in_organization(organization, account)
}

# Commits that need a review: all but update merges and those of ignore_commits_by, where these are ignored.
reviewable[i] := {commit.sha |
	some commit in change.commits
	not commits.ignorable(change, commit, settings)
} if {
	some i, change in judged
}

reviewable_pushes[i] := [push |
	some push in object.get(change, "pushes", [])
	brought := {sha | some sha in push.commits} & reviewable[i]
	count(brought) > 0
] if {
	some i, change in judged
}

# Who is named in which commit that needs a review.
works[i] := [{"sha": commit.sha, "account": account} |
	some commit in change.commits
	commit.sha in reviewable[i]
	some account in commits.accounts(commit)
] if {
	some i, change in judged
}

# Accounts of all who worked on the commits that need a review, or pushed them.
contributors[i] := {work.account | some work in worked} | {push.user |
	some push in reviewable_pushes[i]
	is_object(push.user)
} if {
	some i, worked in works
}

stale_because(i, review) := sprintf("stale: approved before the base was changed from %s to %s", [object.get(retarget, "from", "another"), object.get(retarget, "to", "this one")]) if {
	settings.dismiss_stale_reviews_on_push
	retarget := judged[i].pull_request.retarget
	is_object(retarget)
	not after(object.get(review, "submitted_at", null), object.get(retarget, "at", null))
} else := outdated(i, review) if {
	settings.dismiss_stale_reviews_on_push
}

after(later, earlier) if {
	is_string(later)
	is_string(earlier)
	time.parse_rfc3339_ns(later) > time.parse_rfc3339_ns(earlier)
}

# outdated(i, review): why it does not hold for the head; undefined if it does. Decided by the commit
# approved, never by time: someone may approve the page of an older head after a push.
outdated(i, review) := "stale: the commit approved is not in the pull request any more" if {
	not is_string(object.get(review, "commit_id", null))
} else := sprintf("stale: approved %s, which is not in the pull request any more", [people.short(review.commit_id)]) if {
	review.commit_id != judged[i].pull_request.head.sha
	since := {sha | is_array(review.commits_since); some sha in review.commits_since}
	not judged[i].pull_request.head.sha in since
} else := sprintf("stale: approved %s, then came %s", [people.short(review.commit_id), new_text(new)]) if {
	review.commit_id != judged[i].pull_request.head.sha
	passed := {commit.sha | some commit in judged[i].commits} - reviewable[i]
	new := [sha | some sha in review.commits_since; not sha in passed]
	count(new) > 0
}

new_text(new) := people.short(new[0]) if {
	count(new) == 1
} else := sprintf("%s and %d more", [people.short(new[count(new) - 1]), count(new) - 1])

holds_for_head(i, review) if not outdated(i, review)

# The newest push that brought something to review: `known` with its `user` and `after`, `unknown` who, or
# `none`, where nothing needs a review.
last_push[i] := newest(i) if some i, _ in judged

newest(i) := {"kind": "none"} if {
	count(reviewable[i]) == 0
} else := {"kind": "unknown"} if {
	brought := {sha | some push in reviewable_pushes[i]; some sha in push.commits}
	count(reviewable[i] - brought) > 0
} else := {"kind": "known", "user": push.user, "after": push.after} if {
	push := reviewable_pushes[i][0]
	is_object(push.user)
	is_string(push.after)
} else := {"kind": "unknown"}

# Approvals that count and hold for the head, also where older ones may stay.
current[i] := [review | some review in counting[i]; holds_for_head(i, review)] if some i, _ in judged

# unapproved_push[i]: the last push, where it needs the approval of someone else than its pusher.
unapproved_push[i] := push if {
	settings.require_last_push_approval
	some i, push in last_push
	push.kind == "known"
	others := [review | some review in current[i]; not people.same(review.user, push.user)]
	count(others) == 0
}

# unknown_push[i]: how many people approved the head, where nobody knows who made the last push. Two people
# cannot both have made it.
unknown_push[i] := count(persons) if {
	settings.require_last_push_approval
	some i, push in last_push
	push.kind == "unknown"
	persons := {review.user.id | some review in current[i]; people.is_person(review.user)}
	count(persons) < 2
}

# Who can help, for findings.
anyone(i) := sprintf("%s%s", [candidates, except_text(excluded[i])])

anyone_but(i, account) := sprintf("%s%s", [candidates, except_text(excluded[i] | {people.mention(account)})])

candidates := sprintf("anyone with %s permission", [settings.minimum_permission]) if {
	not approvers_named
} else := sprintf("%s, with %s permission", [
	people.list(array.concat(
		people.mentions(array.concat(settings.approvers.users, settings.approvers.teams)),
		[sprintf("members of %s", [name]) | some name in settings.approvers.organizations],
	)),
	settings.minimum_permission,
])

except_text(names) := sprintf(" except %s", [people.list(sort(names))]) if {
	count(names) > 0
} else := ""

# Those whose approval cannot count, or counts already.
excluded[i] := {people.mention(account) |
	some account in (contributors[i] | {change.pull_request.user})
	people.is_person(account)
	cannot_approve(i, account)
} | {people.mention(review.user) | some review in counting[i]} if {
	some i, change in judged
}

cannot_approve(i, account) if barred_author(i, account)

cannot_approve(i, account) if barred_contributor(i, account)

# able(i, names): those of `names` who can help.
able(i, names) := [name | some name in names; not lower(name) in out] if {
	out := {lower(mention) | some mention in excluded[i]}
}

among(i, names) := people.list(left) if {
	left := able(i, names)
	count(left) > 0
} else := sprintf("whoever can name someone beside %s", [people.list(names)])

head(i) := people.short(judged[i].pull_request.head.sha)
