package controls.sign_off_test

import data.controls.sign_off as control
import data.lib.fixtures_test as f

params(parts) := f.params("sign_off", object.union({"enabled": true, "allow_merges": true, "exempt_accounts": []}, parts))

# The author's e-mail is x@example.com.
said(message) := f.commit("c1", f.alice, {"full_message": message})

of(commits) := f.pull({"commits": commits})

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_signed_off[message] if {
	some message in [
		"Fix\n\nSigned-off-by: Alice <x@example.com>",
		"Fix\n\nSigned-off-by: Bob <b@example.com>\nSigned-off-by: Alice A. <X@Example.com>\nCo-authored-by: C <c@example.com>\n",
		"Fix\r\n\r\nsigned-off-by: Alice <x@example.com>\r\n",
	]
	denied(of([said(message)]), params({})) == set()
}

test_not_signed_off[message] if {
	some message in ["", "Fix", "Fix\n\nSigned-off-by: <x@example.com>", "Fix (Signed-off-by: Alice <x@example.com>)", "Fix\n\nSigned-off-by: Alice x@example.com", "Fix\n\n Signed-off-by: Alice <x@example.com>"]
	denied(of([said(message)]), params({})) == {"commit c1 is not signed off by its author"}
}

test_signed_off_by_somebody_else if {
	denied(of([said("Fix\n\nSigned-off-by: Bob <b@example.com>")]), params({})) == {"commit c1 is not signed off by its author (x@example.com)"}
}

test_an_author_without_an_address if {
	commit := object.union(said("Fix\n\nSigned-off-by: Alice <x@example.com>"), {"author": {"email": null}})
	denied(of([commit]), params({})) == {"commit c1 is not signed off by its author"}
}

test_every_commit_needs_it if {
	good := said("Fix\n\nSigned-off-by: Alice <x@example.com>")
	count(denied(of([good, f.commit("c2", f.alice, {"full_message": "More"})]), params({}))) == 1
}

test_an_update_from_the_base_needs_none if {
	good := said("Fix\n\nSigned-off-by: Alice <x@example.com>")
	update := object.union(f.update_merge("c2", f.alice), {"full_message": "Merge main"})
	denied(of([good, update]), params({})) == set()
	count(denied(of([good, update]), params({"allow_merges": false}))) == 1
	hand_made := object.union(update, {"update_merge": false})
	count(denied(of([good, hand_made]), params({}))) == 1
}

test_a_bot_that_need_not if {
	own := f.commit("c1", f.renovate, {"full_message": "Update", "verification": f.unsigned})
	document := f.pull({"commits": [own], "pushes": [f.push(f.renovate, null, "c1", ["c1"])]})
	given := params({"exempt_accounts": ["renovate[bot]"]})
	denied(document, given) == set()
	count(denied(document, params({}))) == 1
	borrowed := f.pull({"commits": [own], "pushes": [f.push(f.alice, null, "c1", ["c1"])]})
	count(denied(borrowed, given)) == 1
	{"fact": "pushes"} in control.needs with input as document with data.params as given
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"no message": of([f.commit("c1", f.alice, {})]),
		"no commits": object.remove(of([said("x")]), ["commits"]),
		"a commit too few": f.pull({"commits": [said("x")], "pull_request": {"commits": 2}}),
	}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as of([said("x")]) with data.params as off
	count(control.deny) == 0 with input as of([said("x")]) with data.params as off
	count(control.needs) == 0 with input as of([said("x")]) with data.params as off
	contains(control.skip_reason, "not switched on") with input as of([said("x")]) with data.params as off
	count(control.error) > 0 with input as of([said("x")]) with data.params as params({"exempt_accounts": "renovate"})
}
