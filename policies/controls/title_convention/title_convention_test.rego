package controls.title_convention_test

import data.controls.title_convention
import data.lib.fixtures_test as fixtures

params(parts) := fixtures.params("title_convention", object.union({"enabled": true, "pattern": "^(fix|feat): .+", "example": "fix: x"}, parts))

titled(title) := fixtures.pull({"pull_request": {"title": title}})

test_a_title_that_matches_passes if {
	title_convention.applies with input as titled("fix: it") with data.params as params({})
	count(title_convention.deny) == 0 with input as titled("fix: it") with data.params as params({})
	count(title_convention.error) == 0 with input as titled("fix: it") with data.params as params({})
}

test_another_title_denies[title] if {
	some title in ["", "Fix: it", "fix:", "it (fix: no)", "WIP\nfix: it"]
	found := title_convention.deny with input as titled(title) with data.params as params({})
	fixtures.messages(found) == {"the title does not match ^(fix|feat): .+"}
}

test_no_title_denies if {
	count(title_convention.deny) == 1 with input as json.remove(titled("x"), ["pull_request/title"]) with data.params as params({})
	count(title_convention.deny) == 1 with input as titled(null) with data.params as params({})
}

test_wrong_parameters_are_an_error if {
	count(title_convention.error) == 1 with input as titled("x") with data.params as params({"pattern": ""})
}

test_it_is_off_until_switched_on if {
	not title_convention.applies with input as titled("x") with data.params as params({"enabled": false})
	contains(title_convention.skip_reason, "not switched on") with input as titled("x") with data.params as params({"enabled": false})
	title_convention.needs == {{"fact": "pull_request"}} with input as titled("x") with data.params as params({})
}
