package controls.linear_history_test

import data.controls.linear_history
import data.lib.fixtures_test as fixtures

params(parts) := fixtures.params("linear_history", object.union({"enabled": true, "allow_update_merges": true}, parts))

commits(list) := fixtures.pull({"commits": list})

plain := fixtures.commit("c1", fixtures.alice, {})

merge := fixtures.commit("c2", fixtures.alice, {"parents": ["c1", "b9"]})

update := object.union(fixtures.update_merge("c2", fixtures.alice), {"parents": ["c1", "b9"]})

test_a_line_of_commits_passes if {
	linear_history.applies with input as commits([plain]) with data.params as params({})
	count(linear_history.deny) == 0 with input as commits([plain]) with data.params as params({})
	count(linear_history.error) == 0 with input as commits([plain]) with data.params as params({})
}

test_a_merge_denies if {
	found := linear_history.deny with input as commits([plain, merge]) with data.params as params({})
	fixtures.messages(found) == {"commit c2 is a merge"}
}

test_an_update_from_the_base_may_stay if {
	count(linear_history.deny) == 0 with input as commits([plain, update]) with data.params as params({})
	count(linear_history.deny) == 1 with input as commits([plain, update]) with data.params as params({"allow_update_merges": false})
}

test_a_commit_without_parents_denies if {
	root := fixtures.commit("c2", fixtures.alice, {"parents": []})
	count(linear_history.deny) == 1 with input as commits([plain, root]) with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"no commits": fixtures.pull({"commits": [plain], "pull_request": {"commits": 2}}),
		"not a list": json.remove(commits([plain]), ["commits"]),
	}
	count(linear_history.error) > 0 with input as document with data.params as params({})
}

test_it_is_off_until_switched_on if {
	not linear_history.applies with input as commits([merge]) with data.params as params({"enabled": false})
	count(linear_history.needs) == 0 with input as commits([merge]) with data.params as params({"enabled": false})
	reason := linear_history.skip_reason with input as commits([merge]) with data.params as params({"enabled": false})
	contains(reason, "not switched on")
	{"fact": "commits"} in linear_history.needs with input as commits([merge]) with data.params as params({})
}
