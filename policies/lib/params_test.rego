package lib.params_test

import data.controls.restricted_branches
import data.controls.signed_commits
import data.lib.fixtures_test as f
import data.lib.params
import data.lib.reviews.scope

shape := {"": {"enabled": "boolean?", "n": "count", "list": "logins", "deep": "mapping"}, "deep": {"a": "count", "b": "boolean"}}

good := {"n": 1, "list": ["a", "b"], "deep": {"a": 1, "b": true}}

on(branch) := object.union(f.around, {"target": {"ref_kind": "branch", "name": branch}})

overlay := {
	"defaults": {"x": good, "branches": [{"pattern": "release/**/*", "x": {"n": 2}}, {"pattern": "release/1", "x": {"n": 3}}]},
	"repositories": {"Octo-Org/Payments": {
		"x": {"list": ["c"], "deep": {"a": 9}},
		"branches": [{"pattern": "release/9", "x": {"n": 5}}, {"pattern": "release/9", "x": {"deep": {"b": false}}}],
	}},
}

# "Order of the overlay: defaults, its matching branches, the repository, its matching branches"
test_defaults_and_repository if {
	params.effective("x") == {"n": 1, "list": ["c"], "deep": {"a": 9, "b": true}} with input as on("main") with data.params as overlay
}

test_matching_branches_of_defaults_in_order if {
	params.effective("x").n == 2 with input as on("release/2/x") with data.params as overlay
	params.effective("x").n == 3 with input as on("release/1") with data.params as overlay
}

test_matching_branches_of_the_repository_come_last if {
	params.effective("x") == {"n": 5, "list": ["c"], "deep": {"a": 9, "b": false}} with input as on("release/9") with data.params as overlay
}

test_repository_over_branches_of_defaults if {
	p := object.union(overlay, {"repositories": {"Octo-Org/Payments": {"x": {"n": 7}}}})
	params.effective("x").n == 7 with input as on("release/1") with data.params as p
}

# "deep merge over the defaults; lists are replaced; names compare without case"
test_lists_are_replaced if {
	params.effective("x").list == ["c"] with input as on("main") with data.params as overlay
}

test_other_repository if {
	there := object.union(on("main"), {"repository": {"name": "octo-org/payments2"}})
	params.effective("x").list == ["a", "b"] with input as there with data.params as overlay
}

test_no_repository if {
	params.effective("x").list == ["a", "b"] with input as object.remove(on("main"), ["repository"]) with data.params as overlay
}

# "tags get no branch overlay"
test_tag_gets_no_branches if {
	tag := object.union(f.around, {"target": {"ref_kind": "tag", "name": "release/1"}})
	params.effective("x").n == 1 with input as tag with data.params as overlay
}

# "`branches` itself is never merged"
test_branches_not_merged if {
	params.has_branch_entry("release/1") with input as on("main") with data.params as overlay
	params.has_branch_entry("release/9") with input as on("main") with data.params as overlay
	not params.has_branch_entry("main") with input as on("main") with data.params as overlay
}

faults(settings) := found if {
	found := params.problems("x", settings, shape) with input as on("main") with data.params as overlay
}

test_good if count(faults(good)) == 0

test_enabled_may_be_left_out if count(faults(object.union(good, {"enabled": false}))) == 0

# "A parameter nobody defined, or of the wrong type, is an error of the control"
test_missing_is_named if faults(object.remove(good, ["n"])) == {"parameter x.n is not set"}

test_missing_inside if faults(object.union(good, {"deep": {"a": 1, "b": "yes"}})) == {"parameter x.deep.b must be true or false"}

test_unknown_is_named if faults(object.union(good, {"m": 1, "deep": {"c": 1}})) == {"parameter x.m is unknown", "parameter x.deep.c is unknown"}

test_nothing_at_all if count(faults({})) == 3

test_null_is_a_wrong_type if faults(object.union(good, {"n": null})) == {"parameter x.n must be a whole number, 0 or more"}

test_enabled_of_wrong_type if faults(object.union(good, {"enabled": "no"})) == {"parameter x.enabled must be true or false"}

refused(case) if is_string(params.wrong(case[0], case[1]))

test_types if {
	cases := [
		["boolean", 1], ["boolean", "true"], ["count", "1"], ["count", 1.5], ["count", -1], ["count", true],
		["mapping", []], ["mapping", null], ["mappings", {}], ["mappings", [1]],
		["logins", "alice"], ["logins", ["@alice"]], ["logins", ["org/team"]], ["logins", [1]], ["logins", [""]], ["logins", null],
		["teams", ["team"]], ["teams", ["@org/team"]], ["teams", ["a/b/c"]], ["teams", {}],
		["reviewers", []], ["reviewers", ["@a"]], ["reviewers", "a"],
		["keys", "AAAA"], ["keys", [1]], ["keys", [""]],
		["permission", "read"], ["permission", "triage"], ["permission", "Write"], ["permission", null],
		["ref_type", "branches"], ["ref_type", null],
		["restrictions", []], ["restrictions", ["update"]], ["restrictions", "updates"],
		["pattern", "!x"], ["pattern", null], ["patterns", "x"], ["patterns", ["x", "!y"]], ["patterns", [1]],
	]
	let_through := [case | some case in cases; not refused(case)]
	let_through == []
}

test_types_accepted if {
	cases := [
		["boolean", false], ["count", 0], ["count", 6], ["mapping", {}], ["mappings", []], ["mappings", [{}]],
		["logins", []], ["logins", ["a", "renovate[bot]", "octo_corp"]], ["teams", ["org/team"]], ["reviewers", ["a", "org/t"]],
		["keys", null], ["keys", []], ["keys", ["AA"]], ["permission", "maintain"], ["ref_type", "tag"],
		["restrictions", ["updates", "force_pushes"]], ["pattern", "a/**"], ["patterns", []], ["patterns", ["a"]],
	]
	turned_down := [case | some case in cases; refused(case)]
	turned_down == []
}

structure(p) := found if {
	found := params.structure with input as on("main") with data.params as p
}

test_structure_good if count(structure(overlay)) == 0

test_no_params if count(structure({})) > 0

test_params_of_wrong_type if {
	count(structure("x")) > 0
	count(structure([])) > 0
	count(structure(null)) > 0
}

test_misspelt_top if structure(object.union(overlay, {"default": {}})) == {"params.default is unknown: there are `defaults` and `repositories`"}

test_repositories_of_wrong_type if count(structure({"defaults": {"x": good}, "repositories": []})) == 1

test_repositories_may_be_left_out if count(structure({"defaults": {"x": good}})) == 0

test_repository_name_without_owner if count(structure(object.union(overlay, {"repositories": {"payments": {}}}))) == 1

test_repository_twice if count(structure(object.union(overlay, {"repositories": {"octo-org/PAYMENTS": {}}}))) == 1

test_repository_of_wrong_type if count(structure({"defaults": {"x": good}, "repositories": {"octo-org/payments": null}})) == 1

# A misspelt section would silently not hold.
test_misspelt_control if {
	count(structure(object.union(overlay, {"repositories": {"octo-org/payments": {"xx": {}}}}))) > 0
	count(structure({"defaults": {"x": good, "branches": [{"pattern": "main", "xx": {}}]}})) == 1
	count(structure({"defaults": {"x": good}, "repositories": {"octo-org/payments": {"y": {}}}})) == 1
}

test_section_of_wrong_type if {
	count(structure({"defaults": {"x": good}, "repositories": {"octo-org/payments": {"x": true}}})) == 1
	count(structure({"defaults": {"x": good, "branches": [{"pattern": "main", "x": 3}]}})) == 1
}

test_bad_branches if {
	count(structure({"defaults": {"x": good, "branches": {"main": {}}}})) == 1
	count(structure({"defaults": {"x": good, "branches": ["main"]}})) > 0
	count(structure({"defaults": {"x": good, "branches": [{"x": {}}]}})) == 1
	count(structure({"defaults": {"x": good, "branches": [{"pattern": "!main", "x": {}}]}})) == 1
}

test_branch_not_known if {
	count(params.structure) == 1 with input as object.remove(f.around, ["target"]) with data.params as overlay
}

# The shipped file, or yours: every repository it names has usable parameters.
test_data_yaml_can_be_used if {
	every name in object.keys(params.repositories) | {"any/other"} {
		faults_of(name) == set()
	}
}

faults_of(name) := found if {
	there := object.union(on("main"), {"repository": {"name": name}})
	reviews := scope.faults with input as there
	signed := signed_commits.faults with input as there
	restricted := restricted_branches.faults with input as there
	found := (reviews | signed) | restricted
}

test_texts_are_checked if {
	params.wrong("texts", ["a", ""]) == "must be a list of texts"
	params.wrong("text", 3) == "must be a text, not empty"
	not params.wrong("texts", ["a"])
}
