package controls.change_freeze_test

import data.controls.change_freeze
import data.lib.fixtures_test as fixtures

# The fixtures stand at 2026-11-24T15:00:00Z.
window(from, until) := {"from": from, "until": until, "why": "end of the year"}

around_now := window("2026-11-24T15:00:00Z", "2026-11-24T15:00:01+00:00")

params(windows) := fixtures.params("change_freeze", {"enabled": true, "windows": windows, "exception_label": "hotfix"})

labelled(names) := fixtures.pull({"pull_request": {"labels": [{"name": name} | some name in names]}})

test_outside_of_all_windows_passes if {
	given := params([window("2026-11-20T00:00:00Z", "2026-11-24T15:00:00Z"), window("2026-11-24T15:00:01Z", "2026-12-24T00:00:00Z")])
	change_freeze.applies with input as labelled([]) with data.params as given
	count(change_freeze.deny) == 0 with input as labelled([]) with data.params as given
	count(change_freeze.error) == 0 with input as labelled([]) with data.params as given
	change_freeze.valid_until == "2026-11-24T15:00:01Z" with input as labelled([]) with data.params as given
}

test_inside_a_window_denies if {
	found := change_freeze.deny with input as labelled(["bug"]) with data.params as params([around_now])
	fixtures.messages(found) == {"changes are frozen until 2026-11-24T15:00:01+00:00: end of the year"}
	change_freeze.valid_until == around_now.until with input as labelled([]) with data.params as params([around_now])
}

test_the_label_lets_it_through if {
	count(change_freeze.deny) == 0 with input as labelled(["hotfix"]) with data.params as params([around_now])
}

test_wrong_windows_are_an_error[name] if {
	some name, windows in {
		"not a list": "x",
		"no reason": [{"from": "2026-11-24T00:00:00Z", "until": "2026-11-25T00:00:00Z"}],
		"no time": [window("soon", "2026-11-25T00:00:00Z")],
		"backwards": [window("2026-11-25T00:00:00Z", "2026-11-24T00:00:00Z")],
		"no zone": [window("2026-11-24T00:00:00", "2026-11-25T00:00:00")],
		"no texts": [{"from": 1, "until": 2, "why": "x"}],
		"a text": ["x"],
	}
	count(change_freeze.error) > 0 with input as labelled([]) with data.params as params(windows)
	count(change_freeze.deny) == 0 with input as labelled([]) with data.params as params(windows)
}

test_it_is_off_until_switched_on if {
	off := fixtures.params("change_freeze", {"enabled": false, "windows": [around_now], "exception_label": "hotfix"})
	not change_freeze.applies with input as labelled([]) with data.params as off
	count(change_freeze.open_windows) == 0 with input as labelled([]) with data.params as off
	contains(change_freeze.skip_reason, "not switched on") with input as labelled([]) with data.params as off
	change_freeze.needs == {{"fact": "pull_request"}} with input as labelled([]) with data.params as params([])
}

deployment(environment) := {
	"about": "deployment",
	"event": {"name": "deployment_protection_rule", "action": "requested", "payload": {"environment": environment}},
	"time": "2026-11-24T15:00:00.000000Z",
	"repository": {"id": 7, "name": "octo-org/payments", "default_branch": "main"},
	"facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:00:00.000000Z"},
}

freezing(environments, windows) := object.union(params(windows), {"defaults": {"change_freeze": {"environments": environments}}})

test_deployments_are_frozen_where_it_is_said[environment] if {
	some environment in ["production", "Production", "prod/eu"]
	given := freezing(["prod*"], [around_now])
	change_freeze.applies with input as deployment(environment) with data.params as given
	found := change_freeze.deny with input as deployment(environment) with data.params as given
	fixtures.messages(found) == {sprintf("deployments to %s are frozen until 2026-11-24T15:00:01+00:00: end of the year", [environment])}
	count(change_freeze.error) == 0 with input as deployment(environment) with data.params as given
	count(change_freeze.needs) == 0 with input as deployment(environment) with data.params as given
}

test_outside_of_all_windows_deployments_pass if {
	given := freezing(["prod*"], [window("2026-11-24T15:00:01Z", "2026-12-24T00:00:00Z")])
	change_freeze.applies with input as deployment("production") with data.params as given
	count(change_freeze.deny) == 0 with input as deployment("production") with data.params as given
	change_freeze.valid_until == "2026-11-24T15:00:01Z" with input as deployment("production") with data.params as given
}

test_other_environments_do_not_freeze[name] if {
	some name, given in {
		"another": freezing(["prod*"], [around_now]),
		"none": freezing([], [around_now]),
		"not said": params([around_now]),
	}
	not change_freeze.applies with input as deployment("staging") with data.params as given
	count(change_freeze.deny) == 0 with input as deployment("staging") with data.params as given
	contains(change_freeze.skip_reason, "no freeze is for this environment") with input as deployment("staging") with data.params as given
}

test_a_frozen_environment_leaves_merges_as_they_are if {
	given := freezing(["prod*"], [around_now])
	count(change_freeze.deny) == 1 with input as labelled(["bug"]) with data.params as given
	count(change_freeze.deny) == 0 with input as labelled(["hotfix"]) with data.params as given
}

test_what_freezes_must_be_known[name] if {
	some name, case in {
		"no list": [deployment("staging"), freezing("prod", [around_now])],
		"no pattern": [deployment("staging"), freezing([""], [around_now])],
		"case": [deployment("staging"), freezing(["[A-_]"], [around_now])],
		"windows": [deployment("staging"), freezing(["prod*"], "x")],
		"no name": [deployment(null), freezing(["prod*"], [around_now])],
	}
	change_freeze.applies with input as case[0] with data.params as case[1]
	count(change_freeze.error) > 0 with input as case[0] with data.params as case[1]
	count(change_freeze.deny) == 0 with input as case[0] with data.params as case[1]
}
