package controls.change_size_test

import data.controls.change_size
import data.lib.fixtures_test as fixtures

small := {"enabled": true, "max_lines": 10, "max_files": 2, "ignore": ["**/*.lock"]}

params(parts) := fixtures.params("change_size", object.union(small, parts))

files(list) := fixtures.pull({"files": list})

one := fixtures.file("a.rs", {"additions": 6, "deletions": 4})

test_a_small_change_passes if {
	change_size.applies with input as files([one]) with data.params as params({})
	count(change_size.deny) == 0 with input as files([one]) with data.params as params({})
	count(change_size.error) == 0 with input as files([one]) with data.params as params({})
}

test_a_line_too_many_denies if {
	found := change_size.deny with input as files([one, fixtures.file("b.rs", {"additions": 1})]) with data.params as params({})
	fixtures.messages(found) == {"11 lines are changed, at most 10 are allowed"}
}

test_a_file_too_many_denies if {
	list := [fixtures.file(name, {"additions": 0}) | some name in ["a", "b", "c"]]
	found := change_size.deny with input as files(list) with data.params as params({})
	fixtures.messages(found) == {"3 files are changed, at most 2 are allowed"}
}

test_generated_files_do_not_count if {
	lock := fixtures.file("x/Cargo.lock", {"additions": 9000})
	count(change_size.deny) == 0 with input as files([one, lock]) with data.params as params({})
}

test_every_pull_request_of_a_group_counts if {
	group := fixtures.group([fixtures.change({}), fixtures.change({"files": [one, fixtures.file("b", {"additions": 90})]})])
	found := change_size.deny with input as group with data.params as params({})
	fixtures.messages(found) == {"#12: 100 lines are changed, at most 10 are allowed"}
	{"fact": "merge_group"} in change_size.needs with input as group with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"no files": json.remove(files([one]), ["files"]),
		"a file too few": fixtures.pull({"files": [one], "pull_request": {"changed_files": 2}}),
		"no lines": json.remove(files([one]), ["files/0/additions"]),
		"no pull request": json.remove(files([one]), ["pull_request"]),
	}
	count(change_size.error) > 0 with input as document with data.params as params({})
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"a text": {"max_lines": "x"}, "unknown": {"max": 1}, "enabled": {"enabled": "yes"}}
	count(change_size.error) > 0 with input as files([one]) with data.params as params(parts)
	count(change_size.deny) == 0 with input as files([one]) with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not change_size.applies with input as files([one]) with data.params as off
	count(change_size.needs) == 0 with input as files([one]) with data.params as off
	count(change_size.error) == 0 with input as files([one]) with data.params as off
	reason := change_size.skip_reason with input as files([one]) with data.params as off
	reason == "not switched on (parameter change_size.enabled)"
	not change_size.applies with input as files([one]) with data.params as {"defaults": fixtures.defaults, "repositories": {}}
	elsewhere := change_size.skip_reason with input as fixtures.about_nothing with data.params as params({})
	elsewhere == "it is about neither a pull request nor a merge group"
}
