# The last push is approved by someone else than whoever pushed it.
package controls.required_reviews

import data.lib.changes
import data.lib.people

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
} else := {"kind": "unknown"}

# Approvals that count and hold for the head, also where older ones may stay.
current[i] := [review | some review in counting[i]; holds_for_head(i, review)] if some i, _ in judged

deny contains {
	"msg": sprintf("%sthe last push (%s by %s) is approved by nobody else", [changes.label(change), people.short(push.after), people.mention(push.user)]),
	"who": concat("", [candidates, sprintf(" except %s", [people.list(sort(excluded[i] | {people.mention(push.user)}))])]),
	"fix": sprintf("someone other than %s approves the pull request at %s", [people.mention(push.user), head(i)]),
} if {
	settings.require_last_push_approval
	some i, change in judged
	enough_to_tell(i)
	push := last_push[i]
	push.kind == "known"
	others := [review | some review in current[i]; not people.same(review.user, push.user)]
	count(others) == 0
}

# While no approval counts at all, "0 of 1 approvals" says it already.
enough_to_tell(i) if count(counting[i]) > 0

enough_to_tell(_) if settings.required_approving_review_count == 0

# Two people cannot both be the unknown pusher.
error contains {
	"msg": sprintf("%swho made the last push is not known: %d of 2 people approved %s", [changes.label(change), count(persons), head(i)]),
	"who": anyone(i),
	"fix": sprintf("two people approve the pull request at %s, so that one of them did not push it", [head(i)]),
} if {
	settings.require_last_push_approval
	some i, change in judged
	last_push[i].kind == "unknown"
	persons := {review.user.id | some review in current[i]; people.is_person(review.user)}
	count(persons) < 2
}
