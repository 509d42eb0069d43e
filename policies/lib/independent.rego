# METADATA
# title: Approvals by people who have no part in a change
# description: |
#   Stricter than the parameters of required_reviews could make it, and without any: the last opinion of a
#   person with write access who neither wrote, committed nor pushed any of it, given for what the pull
#   request is now. For controls that want such approvals whatever required_reviews wants.
package lib.independent

import data.lib.commits
import data.lib.people

# What has to be read for it.
facts := {"pull_request", "reviews", "commits", "pushes"}

# approving(change, reviewers): ids of those who approve, of these reviewers (logins, org/team); none: of anyone.
approving(change, reviewers) := {id |
	some id, review in opinions(change)
	upper(review.state) == "APPROVED"
	review.can_push == true
	people.is_person(review.user)
	not id in involved(change)
	holds(change, review)
	is_reviewer(reviewers, review.user)
}

# needed(change, wanted): one more where somebody unknown pushed, because that may be one of those who approve.
needed(change, wanted) := wanted + 1 if {
	known := {sha | some push in change.pushes; is_object(push.user); some sha in push.commits}
	unknown := {sha | some push in change.pushes; not is_object(push.user); some sha in push.commits}
	count(work(change) & unknown) + count(work(change) - known) > 0
} else := wanted

# Commits that somebody wrote: all but clean updates from the base.
work(change) := {commit.sha |
	some commit in change.commits
	not commit.update_merge == true
}

# The last opinion of each person, in GitHub's order. A comment is none; a dismissed one revives no older one.
opinions(change) := {id: last |
	voiced := [review |
		some review in change.reviews
		is_object(review.user)
		upper(review.state) in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}
	]
	some id in {review.user.id | some review in voiced}
	theirs := [review | some review in voiced; review.user.id == id]
	last := theirs[count(theirs) - 1]
}

# Who opened the pull request, is named in a commit, or pushed one. Only pressing "Update branch" is no part.
involved(change) := {account.id |
	account := change.pull_request.user
	is_object(account)
} | ({account.id |
	some commit in change.commits
	commit.sha in work(change)
	some account in commits.accounts(commit)
} | {push.user.id |
	some push in change.pushes
	is_object(push.user)
	count({sha | some sha in push.commits} & work(change)) > 0
})

# Decided by the commit that was approved, never by time; only a change of the base is.
holds(change, review) if {
	not before_retarget(change, review)
	review.commit_id == change.pull_request.head.sha
}

holds(change, review) if {
	not before_retarget(change, review)
	since := {sha | is_array(review.commits_since); some sha in review.commits_since}
	change.pull_request.head.sha in since
	count(since & work(change)) == 0
}

before_retarget(change, review) if {
	retarget := object.get(change, ["pull_request", "retarget"], null)
	is_object(retarget)
	not after(object.get(review, "submitted_at", null), object.get(retarget, "at", null))
}

after(later, earlier) if {
	is_string(later)
	is_string(earlier)
	time.parse_rfc3339_ns(later) > time.parse_rfc3339_ns(earlier)
}

is_reviewer(reviewers, _) if count(reviewers) == 0

is_reviewer(reviewers, account) if people.named(reviewers, account)

is_reviewer(reviewers, account) if {
	some name in reviewers
	people.is_team(name)
	people.in_writing_team(name, account)
}

# teams(reviewers): those of them that are teams.
teams(reviewers) := {name |
	is_array(reviewers)
	some name in reviewers
	is_string(name)
	people.is_team(name)
}

# unread(reviewers): a team that could not be read is never a team without members.
unread(reviewers) := {{"msg": sprintf("team %s could not be read", [name]), "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check; if it stays, the log of gatelog says why"} |
	some name in people.unread_teams(teams(reviewers))
}

# whom(reviewers): who can help, for findings.
whom(reviewers) := "anyone with write permission who did not work on the change" if {
	count(reviewers) == 0
} else := sprintf("%s, who did not work on the change", [people.list(people.mentions(reviewers))])

# fix(change): what they do.
fix(change) := sprintf("approve the pull request at %s", [people.short(change.pull_request.head.sha)])

why_more(change) := " (one more, because it is not known who pushed)" if {
	needed(change, 0) > 0
} else := ""
