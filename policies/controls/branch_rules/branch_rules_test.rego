package controls.branch_rules_test

import data.controls.branch_rules as control
import data.lib.fixtures_test as f

params(parts) := f.params("branch_rules", object.union(
	{"enabled": true, "require_check": true, "bound_to_app": true, "block_force_pushes": true, "block_deletions": true, "require_pull_request": true},
	parts,
))

rules(required, types) := {"base_rules": {"branch": "main", "rules": [{"type": type} | some type in types], "protection": null, "required": required}}

all_types := ["non_fast_forward", "deletion", "pull_request", "required_status_checks"]

good := object.union(f.pull({}), rules("bound", all_types))

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_all_that_is_wanted if denied(good, params({})) == set()

test_the_check_is_not_demanded[name] if {
	some name, required in {"missing": "missing", "not said": null, "another word": "yes"}
	document := object.union(good, rules(required, all_types))
	denied(document, params({})) == {"GitHub does not demand this check on main: what it says can be merged past"}
	denied(document, params({"require_check": false})) == set()
}

test_the_check_may_come_from_anyone if {
	document := object.union(good, rules("unbound", all_types))
	denied(document, params({})) == {"the check that GitHub demands on main may come from anyone: everybody with write access can make it green"}
	denied(document, params({"bound_to_app": false})) == set()
}

test_a_rule_is_gone[parameter] if {
	some parameter, missing in {"block_force_pushes": "non_fast_forward", "block_deletions": "deletion", "require_pull_request": "pull_request"}
	document := object.union(good, rules("bound", [type | some type in all_types; type != missing]))
	found := denied(document, params({}))
	count(found) == 1
	denied(document, params({parameter: false})) == set()
}

test_a_push_to_a_watched_branch if {
	pushed := object.union(f.pushed("main", {}), rules("missing", all_types))
	count(denied(pushed, params({}))) == 1
	not control.applies with input as f.pushed("topic", {}) with data.params as params({})
	contains(control.skip_reason, "watched branch") with input as f.pushed("topic", {}) with data.params as params({})
	not control.applies with input as f.pushed("main", {"deleted": true, "after": null}) with data.params as params({})
}

test_a_merge_group if {
	group := object.union(f.group([f.change({})]), rules("missing", all_types))
	count(denied(group, params({}))) == 1
	{"fact": "merge_group"} in control.needs with input as group with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"no rules": object.remove(good, ["base_rules"]),
		"no list": object.union(good, {"base_rules": {"rules": null}}),
		"of another branch": object.union(good, {"base_rules": {"branch": "dev"}}),
		"no pull request": object.remove(good, ["pull_request"]),
	}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_wrong_parameters_are_an_error if {
	count(control.error) == 1 with input as good with data.params as params({"require_check": "yes"})
	count(control.deny) == 0 with input as object.union(good, rules("missing", [])) with data.params as params({"require_check": "yes"})
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	bad := object.union(good, rules("missing", []))
	not control.applies with input as bad with data.params as off
	count(control.deny) == 0 with input as bad with data.params as off
	count(control.needs) == 0 with input as bad with data.params as off
	count(control.error) == 0 with input as bad with data.params as off
	contains(control.skip_reason, "not switched on") with input as bad with data.params as off
	control.needs == {{"fact": "base_rules"}, {"fact": "pull_request"}} with input as good with data.params as params({})
}
