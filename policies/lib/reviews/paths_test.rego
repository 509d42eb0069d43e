package lib.reviews.paths_test

import data.controls.required_reviews as control
import data.lib.fixtures_test as f

p(parts) := f.params("required_reviews", parts)

denied(document, parameters) := f.messages(found) if {
	found := control.deny with input as document with data.params as parameters
}

warned(document, parameters) := f.messages(found) if {
	found := control.warn with input as document with data.params as parameters
}

errors(document, parameters) := f.messages(found) if {
	found := control.error with input as document with data.params as parameters
}

allowed(document, parameters) if {
	denied(document, parameters) == set()
	errors(document, parameters) == set()
}

# --- Code owners

owners := p({"require_code_owner_review": true})

owned(path, line, users, teams) := {"path": path, "line": line, "users": users, "teams": teams, "error": null}

file(path, list) := f.file(path, {"owners": list})

teams := {
	"octo-org/pay": {"id": 1, "members": [3], "can_write": true},
	"octo-org/read": {"id": 2, "members": [3], "can_write": false},
}

change(files, reviews) := object.union(
	f.pull({"files": files, "reviews": reviews}),
	{"codeowners": {"path": ".github/CODEOWNERS", "sha": "base", "errors": []}, "teams": teams},
)

by_bob := [f.approval(f.bob)]

by_carol := [f.approval(f.carol)]

test_owner_approved if allowed(change([file("a.rs", [owned("a.rs", 3, ["Bob"], [])])], by_bob), owners)

test_owner_did_not_approve if {
	document := change([file("a.rs", [owned("a.rs", 3, ["carol"], ["octo-org/pay"])])], by_bob)
	found := control.deny with input as document with data.params as owners
	found == {{
		"msg": "no approval by a code owner of a.rs",
		"path": "a.rs",
		"who": "@carol, @octo-org/pay",
		"fix": "one of @carol, @octo-org/pay approves the pull request at c1 (line 3 of CODEOWNERS on the base branch)",
	}}
}

# A login is looked up exactly.
test_owner_by_whole_login if count(denied(change([file("a.rs", [owned("a.rs", 3, ["bob-admin", "bo"], [])])], by_bob), owners)) == 1

test_owner_not_asked_for if allowed(change([file("a.rs", [owned("a.rs", 3, ["carol"], [])])], by_bob), p({}))

# "any one owner of a path is enough, each path needs its own"
test_each_path_its_own if {
	files := [file("a.rs", [owned("a.rs", 3, ["bob", "carol"], [])]), file("b.rs", [owned("b.rs", 4, ["carol"], [])])]
	denied(change(files, by_bob), owners) == {"no approval by a code owner of b.rs"}
	allowed(change(files, by_carol), owners)
}

test_paths_of_one_line_are_one_finding if {
	files := [file("a.rs", [owned("a.rs", 3, ["carol"], [])]), file("b.rs", [owned("b.rs", 3, ["carol"], [])])]
	denied(change(files, by_bob), owners) == {"no approval by a code owner of a.rs and 1 more"}
}

# "a pattern without owners removes ownership"; a path that nobody owns has no item.
test_unowned_path if {
	allowed(change([file("a.rs", [])], by_bob), owners)
	allowed(change([file("a.rs", [owned("a.rs", 3, [], [])])], by_bob), owners)
}

test_owners_are_not_read_unless_asked_for if {
	unread := change([file("a.rs", [owned("a.rs", 3, [], ["octo-org/gone"])])], by_bob)
	allowed(unread, p({}))
	warned(unread, p({})) == set()
}

test_team_owns if {
	warned(change([file("a.rs", [owned("a.rs", 3, [], ["octo-org/pay"])])], by_carol), owners) == set()
	allowed(change([file("a.rs", [owned("a.rs", 3, [], ["octo-org/pay"])])], by_carol), owners)
	count(denied(change([file("a.rs", [owned("a.rs", 3, [], ["octo-org/pay"])])], by_bob), owners)) == 1
}

# "owners must have write"; "a team counts for … code owners only if it has write on the repository"
test_team_without_write if {
	document := change([file("a.rs", [owned("a.rs", 3, [], ["octo-org/read"])])], by_carol)
	denied(document, owners) == {"no approval by a code owner of a.rs (ignored: @carol, whose team has no write permission)"}
	warned(document, owners) == {"team octo-org/read, a code owner, has no write permission: its approvals do not count"}
}

test_owner_without_write if {
	reviews := [f.approval(f.bob), f.review(f.carol, "APPROVED", {"can_push": false})]
	denied(change([file("a.rs", [owned("a.rs", 3, ["carol"], [])])], reviews), owners) == {"no approval by a code owner of a.rs (ignored: @carol, no write permission)"}
}

test_author_is_the_only_owner if {
	document := change([file("a.rs", [owned("a.rs", 3, ["alice"], [])])], [f.approval(f.bob), f.approval(f.alice)])
	found := control.deny with input as document with data.params as owners
	some finding in found
	finding.msg == "no approval by a code owner of a.rs (ignored: @alice, author of the pull request)"
	finding.who == "whoever can name someone beside @alice"
	finding.fix == "name another owner in line 3 of CODEOWNERS on the base branch: @alice cannot approve this pull request"
}

test_stale_owner if {
	reviews := [f.approval(f.bob), f.approval_of(f.carol, "c0", null)]
	some msg in denied(change([file("a.rs", [owned("a.rs", 3, ["carol"], [])])], reviews), owners)
	startswith(msg, "no approval by a code owner of a.rs (ignored: @carol, stale: ")
}

# "A renamed or deleted file counts under its old path too."
test_renamed_file if {
	moved := f.file("free/a.rs", {
		"status": "renamed", "previous_filename": "pay/a.rs",
		"owners": [owned("free/a.rs", 3, ["bob"], []), owned("pay/a.rs", 4, ["carol"], [])],
	})
	denied(change([moved], by_bob), owners) == {"no approval by a code owner of pay/a.rs"}
	allowed(change([moved], [f.approval(f.bob), f.approval(f.carol)]), owners)
}

test_renamed_file_without_old_path if {
	moved := f.file("free/a.rs", {"status": "renamed", "previous_filename": null, "owners": []})
	errors(change([moved], by_bob), owners) == {"the old path of free/a.rs could not be read"}
	denied(change([moved], by_bob), owners) == set()
}

# "No file: nothing is owned."
test_no_file if {
	document := object.union(change([file("a.rs", [])], by_bob), {"codeowners": {"path": null}})
	allowed(document, owners)
	warned(document, owners) == {"no CODEOWNERS file on the base branch: nothing is owned"}
}

# "A file that cannot be read is `error`."
test_file_not_read if {
	errors(object.remove(change([file("a.rs", [])], by_bob), ["codeowners"]), owners) == {"CODEOWNERS could not be read"}
	errors(change([f.file("a.rs", {})], by_bob), owners) == {"CODEOWNERS could not be read"}
}

test_owning_team_not_read if {
	errors(change([file("a.rs", [owned("a.rs", 3, [], ["octo-org/gone"])])], by_bob), owners) == {"team octo-org/gone, a code owner, could not be read"}
}

# A team that does not exist is an error of its line, which says so.
test_owning_team_that_does_not_exist if {
	gone := object.union(owned("a.rs", 3, [], ["octo-org/gone"]), {"error": "there is no team octo-org/gone"})
	errors(change([file("a.rs", [gone])], by_bob), owners) == {"line 3 of CODEOWNERS, which owns a.rs, cannot be used: there is no team octo-org/gone"}
}

# "a path matched only by it is `error` when code-owner review is required"
test_bad_line if {
	bad := {"path": "a.rs", "line": 7, "users": [], "teams": [], "error": "unknown owner x@example.com"}
	errors(change([file("a.rs", [bad])], by_bob), owners) == {"line 7 of CODEOWNERS, which owns a.rs, cannot be used: unknown owner x@example.com"}
	allowed(change([file("a.rs", [bad])], by_bob), p({}))
}

# "that line owns nothing *and* is shown as a warning"
test_bad_line_is_a_warning if {
	document := object.union(change([file("a.rs", [])], by_bob), {"codeowners": {"errors": [{"line": 7, "message": "unknown owner"}]}})
	allowed(document, owners)
	warned(document, owners) == {"line 7 of CODEOWNERS owns nothing: unknown owner"}
}

# --- required_reviewers

rule(parts) := p({"required_reviewers": [object.union({"reviewers": ["carol"], "minimum_approvals": 1, "file_patterns": []}, parts)]})

# "empty = every pull request"
test_no_pattern_is_every_pull_request if {
	denied(change([file("a.rs", [])], by_bob), rule({})) == {"0 of 1 approvals by @carol (ignored: @bob, not in the required team)"}
	allowed(change([file("a.rs", [])], by_carol), rule({}))
	left_out := p({"required_reviewers": [{"reviewers": ["carol"], "minimum_approvals": 1}]})
	count(denied(change([file("a.rs", [])], by_bob), left_out)) == 1
}

test_pattern if {
	only_pay := rule({"file_patterns": ["docs/*", "services/pay/**"]})
	allowed(change([file("a.rs", [])], by_bob), only_pay)
	document := change([file("a.rs", []), file("services/pay/x/b.rs", [])], by_bob)
	found := control.deny with input as document with data.params as only_pay
	found == {{
		"msg": "0 of 1 approvals by @carol because services/pay/x/b.rs changed (ignored: @bob, not in the required team)",
		"who": "@carol",
		"fix": "@carol approves the pull request at c1",
	}}
}

# "a rename out of a protected folder shows only in REST (`previous_filename`)"
test_renamed_out_of_a_protected_folder if {
	moved := f.file("free/a.rs", {"status": "renamed", "previous_filename": "services/pay/a.rs"})
	denied(change([moved], by_bob), rule({"file_patterns": ["services/pay/**"]})) == {"0 of 1 approvals by @carol because services/pay/a.rs changed (ignored: @bob, not in the required team)"}
	unread := f.file("free/a.rs", {"status": "renamed"})
	errors(change([unread], by_bob), rule({"file_patterns": ["services/pay/**"]})) == {"the old path of free/a.rs could not be read"}
}

test_patterns_of_files_are_case_sensitive if allowed(change([file("Docs/a.md", [])], by_bob), rule({"file_patterns": ["docs/**"]}))

# "one approval may satisfy several entries"
test_one_approval_for_several_entries if {
	parameters := p({"required_reviewers": [
		{"reviewers": ["carol"], "minimum_approvals": 1, "file_patterns": []},
		{"reviewers": ["octo-org/pay"], "minimum_approvals": 1, "file_patterns": ["**/*.rs"]},
	]})
	allowed(change([file("a.rs", [])], by_carol), parameters)
	count(denied(change([file("a.rs", [])], by_bob), parameters)) == 2
}

# "each entry needs `minimum_approvals` different people"
test_different_people if {
	two := rule({"reviewers": ["carol", "octo-org/pay", "bob"], "minimum_approvals": 2})
	denied(change([file("a.rs", [])], by_carol), two) == {"1 of 2 approvals by @carol, @octo-org/pay, @bob"}
	allowed(change([file("a.rs", [])], [f.approval(f.bob), f.approval(f.carol)]), two)
}

# Logins compare without case where it is said who can help, too.
test_who_leaves_out_the_author if {
	found := control.deny with input as change([file("a.rs", [])], by_bob) with data.params as rule({"reviewers": ["ALICE", "carol"]})
	some finding in found
	finding.who == "@carol"
}

test_none_needed if allowed(change([file("a.rs", [])], by_bob), rule({"minimum_approvals": 0}))

# "a team counts for `required_reviewers` … only if it has write on the repository"
test_required_team_without_write if {
	document := change([file("a.rs", [])], by_carol)
	count(denied(document, rule({"reviewers": ["octo-org/read"]}))) == 1
	warned(document, rule({"reviewers": ["octo-org/read"]})) == {"team octo-org/read, a required reviewer, has no write permission: its approvals do not count"}
	allowed(document, rule({"reviewers": ["octo-org/pay"]}))
}

test_required_team_not_read if {
	errors(change([file("a.rs", [])], by_carol), rule({"reviewers": ["octo-org/gone"]})) == {"team octo-org/gone could not be read"}
}

test_required_reviewer_whose_approval_does_not_count if {
	reviews := [f.approval(f.bob), f.review(f.carol, "APPROVED", {"can_push": false})]
	count(denied(change([file("a.rs", [])], reviews), rule({}))) == 1
}

# Reviewers of paths need not be among `approvers`, which are for the number.
test_approvers_are_for_the_number if {
	parameters := p({"approvers": {"users": ["bob"]}, "required_reviewers": [{"reviewers": ["carol"], "minimum_approvals": 1, "file_patterns": []}]})
	allowed(change([file("a.rs", [])], [f.approval(f.bob), f.approval(f.carol)]), parameters)
	denied(change([file("a.rs", [])], by_carol), parameters) == {"0 of 1 approvals (1 ignored: @carol, not among the approvers)"}
}
