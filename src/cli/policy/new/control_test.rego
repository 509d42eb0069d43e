package controls.NAME_test

import data.controls.NAME
import data.lib.fixtures_test as fixtures

# Its own parameters, so that whoever edits data.yaml keeps this test.
params(parts) := {
	"defaults": object.union(fixtures.defaults, {"NAME": object.union({"labels": ["stop"]}, parts)}),
	"repositories": {},
}

labelled(names) := fixtures.pull({"pull_request": {"labels": [{"name": name} | some name in names]}})

test_no_label_passes if {
	NAME.applies with input as labelled([]) with data.params as params({})
	count(NAME.deny) == 0 with input as labelled(["bug"]) with data.params as params({})
	count(NAME.error) == 0 with input as labelled(["bug"]) with data.params as params({})
}

test_the_label_denies if {
	found := NAME.deny with input as labelled(["bug", "stop"]) with data.params as params({})
	fixtures.messages(found) == {"the label stop says that it must not be merged"}
}

test_a_wrong_parameter_is_an_error if {
	found := NAME.error with input as labelled([]) with data.params as params({"labels": "stop"})
	fixtures.messages(found) == {"parameter NAME.labels must be a list of texts"}
}

test_what_was_not_read_is_an_error if {
	unread := json.remove(labelled([]), ["/pull_request/head/sha"])
	count(NAME.error) > 0 with input as unread with data.params as params({})
}

test_it_can_be_switched_off if {
	not NAME.applies with input as labelled(["stop"]) with data.params as params({"enabled": false})
	reason := NAME.skip_reason with input as labelled([]) with data.params as params({"enabled": false})
	contains(reason, "NAME.enabled")
	not NAME.applies with input as fixtures.about_nothing with data.params as params({})
	contains(NAME.skip_reason, "neither") with input as fixtures.about_nothing with data.params as params({})
}
