package controls.secret_alerts_test

import data.controls.secret_alerts as control
import data.lib.fixtures_test as f

params(parts) := f.params("secret_alerts", object.union({"enabled": true, "rotate_within_days": 7, "accepted_resolutions": ["revoked", "false_positive"]}, parts))

# The fixtures stand at 2026-11-24T15:00:00Z.
alert(number, at) := {"number": number, "secret_type": "aws_key", "state": "open", "created_at": at}

with_alerts(list) := object.union(f.pull({}), {"secret_alerts": list})

event(action, parts) := object.union(
	object.remove(f.about_nothing, ["target"]),
	{"about": "none", "event": {"name": "secret_scanning_alert", "action": action, "payload": {"alert": object.union({"number": 5}, parts)}}},
)

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_no_alert_passes if denied(with_alerts([]), params({})) == set()

test_rotated_too_late if {
	document := with_alerts([alert(3, "2026-11-17T15:00:00Z")])
	denied(document, params({})) == {"the leaked secret of alert 3 (aws_key) should have been rotated by 2026-11-24T15:00:00Z"}
	count(denied(with_alerts([alert(3, "2026-11-24T14:59:00Z")]), params({"rotate_within_days": 0}))) == 1
	not control.valid_until with input as document with data.params as params({})
}

test_there_is_still_time if {
	document := with_alerts([alert(3, "2026-11-17T15:00:01Z"), alert(4, "2026-11-20T15:00:00Z")])
	denied(document, params({})) == set()
	warnings := control.warn with input as document with data.params as params({})
	count(warnings) == 2
	control.valid_until == "2026-11-24T15:00:01Z" with input as document with data.params as params({})
}

test_a_closed_alert_is_none if {
	closed := object.union(alert(3, "2026-11-01T15:00:00Z"), {"state": "resolved"})
	denied(with_alerts([closed]), params({})) == set()
}

test_a_merge_group_waits_too if {
	group := object.union(f.group([f.change({})]), {"secret_alerts": [alert(3, "2026-11-01T15:00:00Z")]})
	count(denied(group, params({}))) == 1
	{"fact": "secret_alerts"} in control.needs with input as group with data.params as params({})
}

test_closed_without_rotating[resolution] if {
	some resolution in ["wont_fix", "used_in_tests", null]
	denied(event("resolved", {"resolution": resolution}), params({})) == {sprintf("alert 5 was closed as %v: the secret is as leaked as before", [resolution])}
	denied(event("resolved", {"resolution": "revoked"}), params({})) == set()
}

test_pushed_past_the_protection if {
	denied(event("created", {"push_protection_bypassed": true}), params({})) == {"the secret of alert 5 was pushed past the push protection"}
	denied(event("created", {"push_protection_bypassed": false}), params({})) == set()
	denied(event("created", {}), params({})) == set()
	count(control.needs) == 0 with input as event("created", {}) with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {"no alerts": f.pull({}), "not a list": with_alerts(null), "no pull request": object.remove(with_alerts([]), ["pull_request"])}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_wrong_parameters_are_an_error if {
	count(control.error) == 1 with input as with_alerts([]) with data.params as params({"rotate_within_days": "7"})
	count(control.deny) == 0 with input as with_alerts([alert(3, "2026-11-01T15:00:00Z")]) with data.params as params({"rotate_within_days": "7"})
	count(control.error) == 1 with input as event("resolved", {}) with data.params as params({"accepted_resolutions": "revoked"})
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	document := with_alerts([alert(3, "2026-11-01T15:00:00Z")])
	not control.applies with input as document with data.params as off
	count(control.deny) == 0 with input as document with data.params as off
	count(control.needs) == 0 with input as document with data.params as off
	count(control.error) == 0 with input as f.pull({}) with data.params as off
	contains(control.skip_reason, "not switched on") with input as document with data.params as off
	contains(control.skip_reason, "neither a pull request") with input as f.about_nothing with data.params as params({})
}
