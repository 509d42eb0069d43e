package lib.changes_test

import data.lib.changes
import data.lib.fixtures_test as f

test_pull_request_is_the_only_change if {
	changes.about == "pull_request" with input as f.pull({})
	count(changes.listed) == 1 with input as f.pull({})
	changes.usable({"pull_request", "reviews", "commits", "files"})[0].pull_request.number == 12 with input as f.pull({})
}

test_entries_of_a_merge_group if {
	count(changes.listed) == 2 with input as f.group([f.change({}), f.change({})])
}

test_nothing_else if {
	changes.listed == [] with input as f.pushed("main", {})
	changes.listed == [] with input as {}
	changes.about == "none" with input as {}
}

test_label_only_in_a_merge_group if {
	change := f.change({})
	changes.label(change) == "" with input as f.pull({})
	changes.label(change) == "#12: " with input as f.group([change])
}

test_without_a_target_nothing_is_usable if {
	document := object.remove(f.pull({}), ["target"])
	changes.trouble({"pull_request"}) == {"the base branch is not the one the parameters are for"} with input as document
	nameless := object.union(document, {"pull_request": {"base": {"ref": ""}}, "target": {"name": null}})
	changes.trouble({"reviews"}) == set() with input as nameless
}

test_head_not_known if {
	changes.trouble({"pull_request"}) == {"the head of the pull request is not known"} with input as object.union(f.pull({}), {"pull_request": {"head": {"sha": null}}})
}

test_only_what_is_asked_for if {
	document := object.remove(f.pull({}), ["files", "reviews"])
	changes.trouble({"pull_request", "commits"}) == set() with input as document
	changes.trouble({"files"}) == {"the changed files were not read", "0 of 1 changed files were read"} with input as document
	changes.trouble({"reviews"}) == {"the reviews were not read"} with input as document
}
