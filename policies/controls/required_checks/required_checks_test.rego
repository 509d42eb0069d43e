package controls.required_checks_test

import data.controls.required_checks as control
import data.lib.fixtures_test as f

params(parts) := f.params("required_checks", object.union({"enabled": true, "checks": [{"name": "build", "app": "ci"}], "accept": ["success"]}, parts))

run(name, slug, conclusion) := {
	"kind": "check_run", "id": 1, "name": name, "app": {"id": 5, "slug": slug}, "creator": null,
	"status": "completed", "conclusion": conclusion,
}

status(name, creator, state) := {"kind": "status", "id": 1, "name": name, "app": null, "creator": creator, "status": "completed", "conclusion": state}

ci := {"id": 70, "login": "ci[bot]", "type": "Bot"}

of(checks) := f.pull({"checks": checks})

found(document, given) := {"deny": f.messages(denials), "pending": f.messages(waits)} if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	waits := control.pending with input as document with data.params as given
}

nothing := {"deny": set(), "pending": set()}

test_passed[name] if {
	some name, checks in {
		"run": [run("build", "ci", "success")],
		"run, in capitals": [run("build", "CI", "success")],
		"status": [status("build", ci, "success")],
		"others fail": [run("build", "ci", "success"), run("build", "evil", "failure"), run("lint", "ci", "failure")],
	}
	found(of(checks), params({})) == nothing
}

test_failed[conclusion] if {
	some conclusion in ["failure", "neutral", "skipped", "cancelled", "timed_out", "action_required", "stale", null]
	found(of([run("build", "ci", conclusion)]), params({})) == {"deny": {sprintf("the check build of ci says %v", [conclusion])}, "pending": set()}
	found(of([run("build", "ci", conclusion)]), params({"accept": ["success", "neutral", "skipped", "failure", "cancelled", "timed_out", "action_required", "stale"]})).pending == set()
}

test_what_else_is_accepted if {
	found(of([run("build", "ci", "skipped")]), params({"accept": ["success", "skipped"]})) == nothing
	count(found(of([run("build", "ci", null)]), params({"accept": ["success", "skipped"]})).deny) == 1
	count(found(of([run("build", "ci", "success")]), params({"accept": []})).deny) == 1
}

test_not_there_yet if {
	found(of([]), params({})) == {"deny": set(), "pending": {"the check build of ci has not reported on c1"}}
	running := object.union(run("build", "ci", null), {"status": "in_progress"})
	found(of([running]), params({})) == {"deny": set(), "pending": {"the check build of ci is in_progress"}}
}

test_the_name_alone_is_nothing[name] if {
	some name, check in {
		"another app": run("build", "evil", "success"),
		"a person's status": status("build", f.alice, "success"),
		"a person of the app's name": status("build", {"id": 71, "login": "ci", "type": "User"}, "success"),
		"nobody's status": status("build", null, "success"),
		"no app": object.union(run("build", "ci", "success"), {"app": null}),
	}
	waits := found(of([check]), params({})).pending
	some msg in waits
	startswith(msg, "the check build of ci has not reported on c1 (by ")
}

test_one_of_several_failed if {
	found(of([run("build", "ci", "success"), object.union(run("build", "ci", "failure"), {"id": 2})]), params({})).deny == {"the check build of ci says failure"}
}

test_every_pull_request_of_a_group if {
	group := f.group([f.change({"checks": [run("build", "ci", "success")]}), f.change({"checks": []})])
	found(group, params({})).pending == {"#12: the check build of ci has not reported on c1"}
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {"no checks": f.pull({}), "not a list": of("none"), "no pull request": object.remove(of([]), ["pull_request"])}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"no app": {"checks": [{"name": "x"}]}, "no name": {"checks": [{"app": "x", "name": ""}]}, "a text": {"checks": ["build"]}, "accept": {"accept": "success"}}
	count(control.error) > 0 with input as of([]) with data.params as params(parts)
	count(control.pending) == 0 with input as of([]) with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as of([]) with data.params as off
	count(control.pending) == 0 with input as of([]) with data.params as off
	count(control.needs) == 0 with input as of([]) with data.params as off
	contains(control.skip_reason, "not switched on") with input as of([]) with data.params as off
	control.needs == {{"fact": "checks"}, {"fact": "pull_request"}} with input as of([]) with data.params as params({})
}
