package controls.workflow_files_test

import data.controls.workflow_files as control
import data.lib.fixtures_test as f

params(parts) := f.params("workflow_files", object.union(
	{"enabled": true, "pin_actions": true, "trusted_owners": [], "no_checkout_on": ["pull_request_target"], "forbid_write_all": true},
	parts,
))

path := ".github/workflows/ci.yml"

sha := "0123456789012345678901234567890123456789"

of(document) := f.pull({"files": [f.file(path, {})], "workflows": [{"path": path, "document": document, "error": null}]})

steps(triggers, list) := of({"on": triggers, "jobs": {"build": {"runs-on": "x", "steps": list}}})

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

uses(value) := steps("push", [{"uses": value}])

test_pinned[value] if {
	some value in [
		concat("@", ["actions/checkout", sha]),
		concat("@", ["o/r/deep/path", sha]),
		"./.github/actions/x",
		"docker://alpine@sha256:0123456789012345678901234567890123456789012345678901234567890123",
	]
	denied(uses(value), params({})) == set()
}

test_not_pinned[value] if {
	some value in ["actions/checkout@v5", "actions/checkout", "o/r@main", "o/r@0123456", concat("", ["o/r@", sha, "0"]), "docker://alpine:3", "docker://alpine", concat("@", ["docker://alpine", sha]), "../x@v1", 5, ["o/r@v1"]]
	denied(uses(value), params({})) == {sprintf(".github/workflows/ci.yml uses %v, which is not pinned to a commit", [value])}
	denied(uses(value), params({"pin_actions": false})) == set()
}

test_who_is_trusted_may_be_named_by_tag if {
	denied(uses("Actions/checkout@v5"), params({"trusted_owners": ["actions"]})) == set()
	count(denied(uses("actions-evil/checkout@v5"), params({"trusted_owners": ["actions"]}))) == 1
}

test_jobs_and_actions_are_looked_into if {
	count(denied(of({"on": "push", "jobs": {"a": {"uses": "o/r/.github/workflows/x.yml@main"}}}), params({}))) == 1
	count(denied(of({"runs": {"using": "composite", "steps": [{"uses": "o/r@v1"}]}}), params({}))) == 1
}

test_a_checkout_on_a_pull_request_of_anyone[name] if {
	checkout := [{"uses": concat("@", ["actions/checkout", sha])}]
	some name, document in {
		"named": steps("pull_request_target", checkout),
		"in a list": steps(["push", "pull_request_target"], checkout),
		"in a mapping": steps({"pull_request_target": {"types": ["opened"]}, "push": null}, checkout),
		"as old YAML reads it": of({"true": "pull_request_target", "jobs": {"b": {"steps": checkout}}}),
	}
	denied(document, params({})) == {".github/workflows/ci.yml runs on pull_request_target and checks out code"}
	denied(document, params({"no_checkout_on": []})) == set()
}

test_other_ways_to_fetch_code[command] if {
	some command in ["gh pr checkout 5", "cd x && git fetch origin pull/5/head", "git -C x  checkout FETCH_HEAD", "echo\ngit clone https://x"]
	denied(steps("pull_request_target", [{"run": command}]), params({})) == {".github/workflows/ci.yml runs on pull_request_target and fetches code in a command"}
}

test_what_is_called_is_not_looked_into[value] if {
	some value in ["./.github/actions/x", concat("@", ["o/r/.github/workflows/x.yml", sha])]
	denied(steps("pull_request_target", [{"uses": value}]), params({})) == {".github/workflows/ci.yml runs on pull_request_target and calls another workflow or an action of the repository, which may fetch code"}
}

test_harmless_on_a_pull_request_of_anyone if {
	denied(steps("pull_request_target", [{"run": "echo label"}, {"uses": concat("@", ["actions/labeler", sha])}]), params({})) == set()
	denied(steps("pull_request", [{"uses": concat("@", ["actions/checkout", sha])}]), params({})) == set()
	denied(of({"on": 5, "jobs": {}}), params({})) == set()
}

test_all_rights if {
	denied(of({"on": "push", "permissions": "write-all", "jobs": {}}), params({})) == {".github/workflows/ci.yml asks for the right to write everything"}
	count(denied(of({"on": "push", "jobs": {"a": {"permissions": "write-all"}}}), params({}))) == 1
	denied(of({"on": "push", "permissions": "write-all", "jobs": {}}), params({"forbid_write_all": false})) == set()
	denied(of({"on": "push", "permissions": {"contents": "write"}, "jobs": {}}), params({})) == set()
}

test_what_is_no_workflow_denies if {
	broken := f.pull({"files": [f.file(path, {})], "workflows": [{"path": path, "document": null, "error": "line 3: no colon"}]})
	denied(broken, params({})) == {".github/workflows/ci.yml is not a workflow that can be read: line 3: no colon"}
	denied(of(["a"]), params({})) == {".github/workflows/ci.yml is not a workflow that can be read: it is not a mapping"}
}

test_other_files_are_not_looked_at if {
	document := f.pull({"files": [f.file("src/main.rs", {}), f.file(path, {"status": "removed"}), f.file("docs/.github/workflows.md", {})], "workflows": []})
	denied(document, params({})) == set()
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"no list": f.pull({"files": [f.file(path, {})]}),
		"a workflow too few": f.pull({"files": [f.file(path, {})], "workflows": []}),
		"an action too few": f.pull({"files": [f.file("a/action.yaml", {})], "workflows": []}),
		"the action of the root": f.pull({"files": [f.file("action.yml", {"status": "renamed"})], "workflows": []}),
		"no files": object.remove(of({}), ["files"]),
	}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"owner": {"trusted_owners": ["@x"]}, "trigger": {"no_checkout_on": "x"}, "unknown": {"pin": true}}
	count(control.error) > 0 with input as uses("o/r@v1") with data.params as params(parts)
	count(control.deny) == 0 with input as uses("o/r@v1") with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as uses("o/r@v1") with data.params as off
	count(control.deny) == 0 with input as uses("o/r@v1") with data.params as off
	count(control.needs) == 0 with input as uses("o/r@v1") with data.params as off
	contains(control.skip_reason, "not switched on") with input as uses("o/r@v1") with data.params as off
}
