package controls.sensitive_paths_test

import data.controls.sensitive_paths as control
import data.lib.fixtures_test as f

params(parts) := f.params("sensitive_paths", object.union({"enabled": true, "paths": ["pay/**", ".github/**"], "minimum_approvals": 2, "reviewers": []}, parts))

of(name, reviews) := f.pull({"files": [f.file(name, {})], "reviews": reviews})

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_two_people_approved if denied(of("pay/a", [f.approval(f.bob), f.approval(f.carol)]), params({})) == set()

test_one_is_not_enough if {
	denied(of("pay/a", [f.approval(f.bob)]), params({})) == {"1 of 2 approvals for the sensitive pay/a by people who had no part in the change"}
	denied(of(".github/workflows/x.yml", []), params({})) == {"0 of 2 approvals for the sensitive .github/workflows/x.yml by people who had no part in the change"}
}

test_the_author_is_not_one_of_them if count(denied(of("pay/a", [f.approval(f.bob), f.approval(f.alice)]), params({}))) == 1

test_other_paths_need_none if {
	denied(of("src/a", []), params({})) == set()
	denied(of("pay", []), params({})) == set()
}

test_a_file_moved_away_counts if {
	moved := f.pull({"files": [f.file("src/a", {"status": "renamed", "previous_filename": "pay/a"})]})
	count(denied(moved, params({}))) == 1
}

test_named_reviewers if {
	count(denied(of("pay/a", [f.approval(f.bob)]), params({"minimum_approvals": 1, "reviewers": ["carol"]}))) == 1
	denied(of("pay/a", [f.approval(f.carol)]), params({"minimum_approvals": 1, "reviewers": ["carol"]})) == set()
}

test_teams_are_read if {
	given := params({"reviewers": ["Octo-Org/Pay"]})
	{"fact": "team_members", "id": "octo-org/pay"} in control.needs with input as of("pay/a", []) with data.params as given
	errors := control.error with input as of("pay/a", []) with data.params as given
	f.messages(errors) == {"team Octo-Org/Pay could not be read"}
}

test_every_pull_request_of_a_group if {
	group := f.group([f.change({}), f.change({"files": [f.file("pay/a", {})]})])
	found := control.deny with input as group with data.params as params({})
	f.messages(found) == {"#12: 0 of 2 approvals for the sensitive pay/a by people who had no part in the change"}
}

test_nobody_knows_who_pushed if {
	document := object.union(of("pay/a", [f.approval(f.bob), f.approval(f.carol)]), {"pushes": []})
	denied(document, params({})) == {"2 of 3 approvals for the sensitive pay/a by people who had no part in the change (one more, because it is not known who pushed)"}
}

test_what_was_not_read_is_an_error[name] if {
	document := of("pay/a", [f.approval(f.bob), f.approval(f.carol)])
	some name, hollow in {
		"reviews": object.remove(document, ["reviews"]),
		"commits": object.remove(document, ["commits"]),
		"files": object.remove(document, ["files"]),
		"pushes": object.remove(document, ["pushes"]),
		"pull request": object.remove(document, ["pull_request"]),
		"an old path": f.pull({"files": [f.file("src/a", {"status": "renamed"})]}),
	}
	count(control.error) > 0 with input as hollow with data.params as params({})
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"paths": {"paths": ["/pay"]}, "number": {"minimum_approvals": "two"}, "people": {"reviewers": ["@carol"]}, "unknown": {"path": []}}
	count(control.error) > 0 with input as of("pay/a", []) with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as of("pay/a", []) with data.params as off
	count(control.deny) == 0 with input as of("pay/a", []) with data.params as off
	count(control.needs) == 0 with input as of("pay/a", []) with data.params as params({"enabled": false, "reviewers": ["octo-org/pay"]})
	contains(control.skip_reason, "not switched on") with input as of("pay/a", []) with data.params as off
}
