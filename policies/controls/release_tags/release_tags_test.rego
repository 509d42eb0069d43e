package controls.release_tags_test

import data.controls.release_tags as control
import data.lib.fixtures_test as f

params(parts) := f.params("release_tags", object.union(
	{"enabled": true, "tags": ["v*"], "name_format": `^v[0-9]+\.[0-9]+\.[0-9]+$`, "immutable": true, "on_default_branch": true, "publishers": []},
	parts,
))

made(name, parts) := f.tagged(name, object.union({"before": null, "created": true, "on_default_branch": true}, parts))

release(action, tag, sender) := object.union(
	object.remove(f.about_nothing, ["target"]),
	{"about": "none", "event": {"name": "release", "action": action, "payload": {"release": {"tag_name": tag}, "sender": sender}}},
)

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

# The fixtures' pushes bring the tag fields under a merged `push`.
test_a_version_of_the_default_branch_passes if {
	denied(made("v1.2.3", {}), params({})) == set()
	{"fact": "on_default_branch"} in control.needs with input as made("v1.2.3", {}) with data.params as params({})
	denied(release("published", "v1.2.3", f.bob), params({})) == set()
}

test_another_form if {
	denied(made("v1", {}), params({})) == {`v1 does not have the form of a release (^v[0-9]+\.[0-9]+\.[0-9]+$)`}
	count(denied(release("created", "v1", f.bob), params({}))) == 1
}

test_a_commit_from_elsewhere if {
	denied(made("v1.2.3", {"on_default_branch": false}), params({})) == {"the release tag v1.2.3 names p1, which is not on the default branch"}
	denied(made("v1.2.3", {"on_default_branch": false}), params({"on_default_branch": false})) == set()
}

test_moved_or_deleted if {
	moved := f.tagged("v1.2.3", {"forced": true, "on_default_branch": true})
	denied(moved, params({})) == {"the release tag v1.2.3 was moved"}
	denied(moved, params({"immutable": false})) == set()
	deleted := f.tagged("v1.2.3", {"deleted": true, "after": null})
	denied(deleted, params({})) == {"the release tag v1.2.3 was deleted"}
	denied(deleted, params({"immutable": false})) == set()
}

test_the_create_event_names_no_commit if {
	created := object.union(made("v1.2.3", {"after": null}), {"event": {"name": "create"}})
	document := json.remove(created, ["push/on_default_branch"])
	denied(document, params({})) == set()
	count(control.needs) == 0 with input as document with data.params as params({})
}

test_who_publishes if {
	given := params({"publishers": ["carol"]})
	denied(release("published", "v1.2.3", f.carol), given) == set()
	denied(release("published", "v1.2.3", f.bob), given) == {"@bob may not publish the release v1.2.3"}
	denied(release("published", "v1.2.3", null), given) == {"a deleted account may not publish the release v1.2.3"}
}

test_a_release_taken_away if {
	denied(release("deleted", "v1.2.3", f.bob), params({})) == {"the release v1.2.3 was taken away (deleted)"}
	denied(release("deleted", "v1.2.3", f.bob), params({"immutable": false})) == set()
}

test_other_tags_and_events_are_not_meant if {
	not control.applies with input as made("nightly", {}) with data.params as params({})
	not control.applies with input as f.pushed("main", {}) with data.params as params({})
	not control.applies with input as f.pull({}) with data.params as params({})
	contains(control.skip_reason, "neither a release nor a tag") with input as made("nightly", {}) with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"not read": json.remove(made("v1.2.3", {}), ["push/on_default_branch"]),
		"null": made("v1.2.3", {"on_default_branch": null}),
	}
	found := control.error with input as document with data.params as params({})
	f.messages(found) == {"whether the commit is on the default branch was not read"}
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"tags": {"tags": "v*"}, "format": {"name_format": ""}, "unknown": {"tag": []}}
	control.applies with input as made("nightly", {}) with data.params as params(parts)
	count(control.error) > 0 with input as made("nightly", {}) with data.params as params(parts)
	count(control.deny) == 0 with input as made("nightly", {}) with data.params as params(parts)
}

test_a_release_without_a_tag_is_looked_at if {
	nameless := object.union(release("published", "x", f.bob), {"event": {"payload": {"release": {"tag_name": null}}}})
	found := denied(nameless, params({}))
	count(found) == 1
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as made("v1", {}) with data.params as off
	count(control.deny) == 0 with input as made("v1", {}) with data.params as off
	count(control.needs) == 0 with input as made("v1", {}) with data.params as off
	count(control.error) == 0 with input as made("v1", {}) with data.params as off
	contains(control.skip_reason, "not switched on") with input as made("v1", {}) with data.params as off
}
