package lib.independent_test

import data.lib.fixtures_test as f
import data.lib.independent

by(reviews, parts) := found if {
	change := f.change(object.union({"reviews": reviews}, parts))
	found := independent.approving(change, [])
}

test_who_had_no_part_counts if by([f.approval(f.bob)], {}) == {2}

test_who_had_a_part_does_not[name] if {
	some name, found in {
		"author": by([f.approval(f.alice)], {}),
		"committer": by([f.approval(f.bob)], {"commits": [f.commit("c1", f.alice, {"committer": f.person(f.bob)})]}),
		"co-author": by([f.approval(f.bob)], {"commits": [f.commit("c1", f.alice, {"authors": [f.person(f.alice), f.person(f.bob)]})]}),
		"pusher": by([f.approval(f.bob)], {"pushes": [f.push(f.bob, null, "c1", ["c1"])]}),
		"author of a pull request with others' commits": by([f.approval(f.alice)], {"commits": [f.commit("c1", f.carol, {})], "pushes": [f.push(f.carol, null, "c1", ["c1"])]}),
		"an app": by([f.approval(f.renovate)], {}),
		"nobody": by([f.approval(null)], {}),
		"who may only read": by([f.review(f.bob, "APPROVED", {"can_push": false})], {}),
		"who commented": by([f.review(f.bob, "COMMENTED", {})], {}),
		"who asks for changes since": by([f.approval(f.bob), f.review(f.bob, "CHANGES_REQUESTED", {})], {}),
		"whose approval was dismissed": by([f.approval(f.bob), f.review(f.bob, "DISMISSED", {})], {}),
	}
	found == set()
}

test_a_comment_is_no_opinion if by([f.approval(f.bob), f.review(f.bob, "COMMENTED", {})], {}) == {2}

test_who_pressed_update_had_no_part if {
	commits := [f.commit("c1", f.alice, {}), f.update_merge("c2", f.bob)]
	pushes := [f.push(f.bob, "c1", "c2", ["c2"]), f.push(f.alice, null, "c1", ["c1"])]
	by([f.approval_of(f.bob, "c1", ["c2"])], {"commits": commits, "pushes": pushes}) == {2}
	by([f.approval_of(f.bob, "c1", ["c2"])], object.union({"commits": commits, "pushes": pushes}, at("2026-11-21T12:00:00Z"))) == set()
}

two := [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {})]

test_an_older_approval_does_not_hold[name] if {
	some name, review in {
		"a commit came": f.approval_of(f.bob, "c1", ["c2"]),
		"the commit is gone": f.approval_of(f.bob, "c0", null),
		"nobody knows what it was for": f.review(f.bob, "APPROVED", {"commit_id": null, "commits_since": null}),
		"what came since lacks the head": f.approval_of(f.bob, "c1", []),
	}
	by([review], {"commits": two}) == set()
}

at(moment) := {"pull_request": {"retarget": {"at": moment, "from": "dev", "to": "main", "actor": null}}}

test_an_approval_from_before_the_base_was_changed if {
	by([f.approval(f.bob)], at("2026-11-20T11:59:59Z")) == {2}
	by([f.approval(f.bob)], at("2026-11-20T12:00:00Z")) == set()
	by([f.approval(f.bob)], at(null)) == set()
}

test_reviewers_are_named if {
	change := f.change({"reviews": [f.approval(f.bob), f.approval(f.carol)]})
	independent.approving(change, ["Carol"]) == {3}
	teams := {"octo-org/pay": {"id": 1, "members": [2], "can_write": true}}
	independent.approving(change, ["octo-org/pay"]) == {2} with input.teams as teams
	independent.approving(change, ["octo-org/pay"]) == set() with input.teams as {"octo-org/pay": {"id": 1, "members": [2], "can_write": false}}
	independent.teams(["carol", "octo-org/pay"]) == {"octo-org/pay"}
	count(independent.unread(["octo-org/pay"])) == 1 with input.teams as {}
	count(independent.unread(["octo-org/pay"])) == 0 with input.teams as teams
	independent.whom(["carol"]) == "@carol, who did not work on the change"
}

test_one_more_where_nobody_knows_who_pushed if {
	independent.needed(f.change({}), 2) == 2
	independent.needed(f.change({"pushes": []}), 2) == 3
	independent.needed(f.change({"pushes": [f.push(null, null, "c1", ["c1"])]}), 2) == 3
	independent.needed(f.change({"pushes": [f.push(f.alice, "x", "c1", ["c1"]), f.push(null, null, "x", [])]}), 2) == 2
	contains(independent.why_more(f.change({"pushes": []})), "not known who pushed")
	independent.fix(f.change({})) == "approve the pull request at c1"
}
