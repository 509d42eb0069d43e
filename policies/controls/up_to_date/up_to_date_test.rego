package controls.up_to_date_test

import data.controls.up_to_date as control
import data.lib.fixtures_test as f

params(parts) := f.params("up_to_date", object.union({"enabled": true, "require_up_to_date": true, "max_behind": 0, "max_age_days": 0}, parts))

behind(n) := f.pull({"comparison": {"base_sha": "base", "head_sha": "c1", "merge_base_sha": "b0", "ahead_by": 1, "behind_by": n}})

# The fixtures stand at 2026-11-24T15:00:00Z.
opened(at) := object.union(behind(0), {"pull_request": {"created_at": at}})

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_the_newest_base_passes if denied(behind(0), params({})) == set()

test_commits_that_are_missing if {
	denied(behind(1), params({})) == {"1 commits of main are missing, at most 0 may be"}
	denied(behind(5), params({"max_behind": 5})) == set()
	count(denied(behind(6), params({"max_behind": 5}))) == 1
	denied(behind(6), params({"require_up_to_date": false})) == set()
}

test_a_merge_group_stands_on_the_newest if {
	group := f.group([f.change({})])
	denied(group, params({})) == set()
	not {"fact": "comparison"} in control.needs with input as group with data.params as params({})
	{"fact": "merge_group"} in control.needs with input as group with data.params as params({})
}

test_age if {
	old := opened("2026-11-14T15:00:00Z")
	denied(old, params({"max_age_days": 10})) == {"it was opened more than 10 days ago"}
	denied(old, params({"max_age_days": 11})) == set()
	denied(old, params({})) == set()
	control.valid_until == "2026-11-25T15:00:00Z" with input as old with data.params as params({"max_age_days": 11})
	not control.valid_until with input as old with data.params as params({"max_age_days": 10})
	not control.valid_until with input as old with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	whole := behind(0)
	some name, document in {
		"no comparison": f.pull({}),
		"of another head": object.union(whole, {"comparison": {"head_sha": "c0"}}),
		"of another base": object.union(whole, {"comparison": {"base_sha": "b1"}}),
		"nothing in common": object.union(whole, {"comparison": {"merge_base_sha": null}}),
		"no number": object.union(whole, {"comparison": {"behind_by": null}}),
		"no pull request": object.remove(whole, ["pull_request"]),
	}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_nobody_knows_when_it_was_opened if {
	found := control.error with input as opened(null) with data.params as params({"max_age_days": 3})
	f.messages(found) == {"it is not known when it was opened"}
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"text": {"max_behind": "0"}, "unknown": {"behind": 0}, "boolean": {"require_up_to_date": 1}}
	count(control.error) > 0 with input as behind(9) with data.params as params(parts)
	count(control.deny) == 0 with input as behind(9) with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as behind(9) with data.params as off
	count(control.deny) == 0 with input as behind(9) with data.params as off
	count(control.error) == 0 with input as behind(9) with data.params as off
	count(control.needs) == 0 with input as behind(9) with data.params as off
	contains(control.skip_reason, "not switched on") with input as behind(9) with data.params as off
	control.needs == {{"fact": "comparison"}, {"fact": "pull_request"}} with input as behind(9) with data.params as params({})
}
