package controls.app_authors_test

import data.controls.app_authors as control
import data.lib.fixtures_test as f

params(parts) := f.params("app_authors", object.union({"enabled": true, "apps": [{"app": "renovate", "paths": []}], "only_own_commits": true}, parts))

own := f.commit("c1", f.renovate, {"verification": {"verified": true, "state": "VALID", "signed_by_github": true, "signer": f.renovate}})

by_renovate(parts) := f.pull(object.union({"pull_request": {"user": f.renovate}, "commits": [own], "pushes": [f.push(f.renovate, null, "c1", ["c1"])]}, parts))

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_a_named_app_passes if denied(by_renovate({}), params({})) == set()

test_a_person_passes if denied(f.pull({}), params({"apps": []})) == set()

test_an_app_that_is_not_named if {
	denied(by_renovate({}), params({"apps": []})) == {"the app @renovate[bot] may not open pull requests here"}
	count(denied(by_renovate({}), params({"apps": [{"app": "renovate2", "paths": []}]}))) == 1
	as_graphql := by_renovate({"pull_request": {"user": {"id": 90, "login": "renovate", "type": "Bot"}}})
	count(denied(as_graphql, params({"apps": []}))) == 1
	denied(as_graphql, params({})) == set()
}

test_a_deleted_account if denied(f.pull({"pull_request": {"user": null}}), params({})) == {"whoever opened it has no account any more"}

test_paths_of_an_app if {
	given := params({"apps": [{"app": "renovate[bot]", "paths": ["**/*.lock"]}]})
	denied(by_renovate({"files": [f.file("a/Cargo.lock", {})]}), given) == set()
	denied(by_renovate({"files": [f.file("a/Cargo.lock", {}), f.file("src/main.rs", {})]}), given) == {"the app @renovate[bot] may not change src/main.rs"}
	moved := f.file("a/Cargo.lock", {"status": "renamed", "previous_filename": "src/main.rs"})
	count(denied(by_renovate({"files": [moved]}), given)) == 1
	several := params({"apps": [{"app": "renovate[bot]", "paths": ["x"]}, {"app": "renovate", "paths": []}]})
	denied(by_renovate({}), several) == set()
}

test_somebody_else_pushed_to_its_branch if {
	commits := [own, f.commit("c2", f.bob, {})]
	pushes := [f.push(f.bob, "c1", "c2", ["c2"]), f.push(f.renovate, null, "c1", ["c1"])]
	document := by_renovate({"commits": commits, "pushes": pushes})
	denied(document, params({})) == {"commit c2 is not provably by @renovate[bot]"}
	denied(document, params({"only_own_commits": false})) == set()
}

test_a_commit_in_its_name[name] if {
	false_one := f.commit("c1", f.renovate, {"verification": f.unsigned})
	some name, pushes in {"pushed by a person": [f.push(f.bob, null, "c1", ["c1"])], "pushed by nobody known": [f.push(null, null, "c1", ["c1"])], "not known": []}
	denied(f.pull({"commits": [false_one], "pushes": pushes}), params({})) == {"commit c1 says it is by @renovate[bot], and nothing proves it"}
	denied(by_renovate({"commits": [false_one], "pushes": pushes}), params({})) == {"commit c1 says it is by @renovate[bot], and nothing proves it", "commit c1 is not provably by @renovate[bot]"}
}

test_its_own_push_proves_it if denied(by_renovate({"commits": [f.commit("c1", f.renovate, {"verification": f.unsigned})]}), params({})) == set()

test_an_update_from_the_base_is_no_ones if {
	update := object.union(f.update_merge("c2", f.renovate), {"parents": ["c1", "b1"]})
	pushes := [f.push(f.bob, "c1", "c2", ["c2"]), f.push(f.renovate, null, "c1", ["c1"])]
	denied(by_renovate({"commits": [own, update], "pushes": pushes}), params({})) == set()
}

test_what_was_not_read_is_an_error[name] if {
	some name in ["commits", "files", "pushes", "pull_request"]
	count(control.error) > 0 with input as object.remove(by_renovate({}), [name]) with data.params as params({})
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"no paths": {"apps": [{"app": "x"}]}, "no login": {"apps": [{"app": "@x", "paths": []}]}, "a text": {"apps": ["x"]}, "unknown": {"app": []}}
	count(control.error) > 0 with input as by_renovate({}) with data.params as params(parts)
	count(control.deny) == 0 with input as by_renovate({}) with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false, "apps": []})
	not control.applies with input as by_renovate({}) with data.params as off
	count(control.deny) == 0 with input as by_renovate({}) with data.params as off
	count(control.needs) == 0 with input as by_renovate({}) with data.params as off
	contains(control.skip_reason, "not switched on") with input as by_renovate({}) with data.params as off
}
