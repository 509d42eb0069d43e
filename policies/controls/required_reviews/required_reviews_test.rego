package controls.required_reviews_test

import data.controls.required_reviews as control
import data.lib.fixtures_test as f

p(parts) := f.params("required_reviews", parts)

usual := p({})

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
	applied := control.applies with input as document with data.params as parameters
	applied == true
}

needed(document, parameters) := found if {
	wanted := control.needs with input as document with data.params as parameters
	found := {need.fact | some need in wanted}
}

reason_of(document, parameters, name) := reason if {
	some msg in warned(document, parameters)
	prefix := sprintf("approval of %s does not count: ", [name])
	startswith(msg, prefix)
	reason := trim_prefix(msg, prefix)
}

# --- Where it applies

test_applies_to_pull_requests if {
	control.applies with input as f.pull({}) with data.params as usual
}

test_applies_to_merge_groups if {
	control.applies with input as f.group([f.change({})]) with data.params as usual
}

test_not_about_a_push if {
	not control.applies with input as f.pushed("main", {}) with data.params as usual
	control.skip_reason == "it is about neither a pull request nor a merge group" with input as f.pushed("main", {}) with data.params as usual
	control.needs == set() with input as f.pushed("main", {}) with data.params as usual
	errors(f.pushed("main", {}), usual) == set()
}

test_never_undefined_on_odd_input if {
	control.applies == false with input as {} with data.params as usual
	is_string(control.skip_reason) with input as {} with data.params as usual
	control.applies == false with input as f.about_nothing with data.params as {}
}

# "`enabled: false` skips a control and the check run says so; absent means true"
test_switched_off if {
	off := p({"enabled": false})
	control.applies == false with input as f.pull({}) with data.params as off
	control.skip_reason == "switched off by the parameter required_reviews.enabled" with input as f.pull({}) with data.params as off
	denied(f.pull({}), off) == set()
	control.skip_reason == "it is about neither a pull request nor a merge group" with input as f.pushed("main", {}) with data.params as off
}

test_switched_on if control.applies with input as f.pull({}) with data.params as p({"enabled": true})

# "A parameter nobody defined, or of the wrong type, is an error of the control, never a default of 'not required'"
test_parameter_missing if {
	parameters := {"defaults": {"required_reviews": object.remove(f.defaults.required_reviews, ["required_approving_review_count"])}, "repositories": {}}
	errors(f.pull({}), parameters) == {"parameter required_reviews.required_approving_review_count is not set"}
	denied(f.pull({}), parameters) == set()
}

test_no_parameters_at_all if count(errors(f.pull({}), {})) > 0

test_every_parameter_is_required_and_checked if {
	unseen := [name |
		some name, _ in f.defaults.required_reviews
		count(errors(f.pull({}), p({name: {"odd": "type"}}))) == 0
	]
	unseen == []
	missed := [name |
		some name, _ in f.defaults.required_reviews
		left := {"defaults": {"required_reviews": object.remove(f.defaults.required_reviews, [name])}, "repositories": {}}
		count(errors(f.pull({}), left)) == 0
	]
	missed == []
}

test_unknown_parameter if errors(f.pull({}), p({"require_approvals": 2})) == {"parameter required_reviews.require_approvals is unknown"}

test_required_reviewers_are_checked if {
	errors(f.pull({}), p({"required_reviewers": [{"reviewers": ["mona"]}]})) == {"parameter required_reviews.required_reviewers[0].minimum_approvals is not set"}
	count(errors(f.pull({}), p({"required_reviewers": [{"reviewers": [], "minimum_approvals": 1}]}))) == 1
}

# "`!` is refused"
test_exceptions_in_file_patterns_are_refused if {
	entry := {"reviewers": ["mona"], "minimum_approvals": 1, "file_patterns": ["!docs/**"]}
	some msg in errors(f.pull({}), p({"required_reviewers": [entry]}))
	contains(msg, "required_reviews.required_reviewers[0].file_patterns")
}

test_repository_parameters_hold if {
	parameters := {"defaults": f.defaults, "repositories": {"OCTO-ORG/payments": {"required_reviews": {"required_approving_review_count": 2}}}}
	denied(f.reviewed([f.approval(f.bob)]), parameters) == {"1 of 2 approvals"}
}

# --- Facts that are not whole

test_pull_request_not_read if {
	document := object.remove(f.pull({}), ["pull_request"])
	errors(document, usual) == {"the pull request could not be read"}
	{"fact": "pull_request"} in control.needs with input as document with data.params as usual
}

test_pull_request_of_another_base if {
	document := object.union(f.reviewed([f.approval(f.bob)]), {"target": {"name": "dev"}})
	errors(document, usual) == {"the base branch is not the one the parameters are for"}
}

test_reviews_not_read if errors(object.remove(f.pull({}), ["reviews"]), usual) == {"the reviews were not read"}

# "Facts with reviews missing … are incomplete: error"; commits and files likewise.
test_commits_not_whole if {
	errors(f.pull({"commits": [f.commit("c1", f.alice, {})], "pull_request": {"commits": 2}}), usual) == {"1 of 2 commits were read"}
	"the list of commits is empty" in errors(object.union(f.pull({}), {"commits": []}), usual)
	"the list of commits lacks the head c9" in errors(object.union(f.pull({}), {"pull_request": {"head": {"sha": "c9"}}}), usual)
	"the list of commits is empty" in errors(object.remove(f.pull({}), ["commits"]), usual)
}

test_files_not_whole_matter_only_with_path_rules if {
	document := f.pull({"reviews": [f.approval(f.bob)], "pull_request": {"changed_files": 2}})
	allowed(document, usual)
	errors(document, p({"require_code_owner_review": true})) & {"1 of 2 changed files were read"} == {"1 of 2 changed files were read"}
}

test_pushes_not_read if {
	errors(object.remove(f.reviewed([f.approval(f.bob)]), ["pushes"]), usual) == {"who pushed could not be read"}
	without := p({"require_last_push_approval": false, "allow_contributor": true})
	allowed(object.remove(f.reviewed([f.approval(f.bob)]), ["pushes"]), without)
}

# --- needs

test_needs_of_the_defaults if needed(f.pull({}), usual) == {"pull_request", "reviews", "commits", "pushes"}

test_needs_nothing_where_switched_off if needed(f.pull({}), p({"enabled": false, "require_code_owner_review": true})) == set()

# With parameters that cannot be used nothing is fetched for them: the error stands anyway.
test_needs_with_bad_parameters if {
	bad := {
		"minimum_permission": "maintain", "require_code_owner_review": true, "odd": 1,
		"approvers": {"teams": ["octo-org/core"], "organizations": ["octo-org"]},
		"required_reviewers": [{"reviewers": ["octo-org/pay"], "minimum_approvals": 1, "file_patterns": ["a"]}],
	}
	needed(f.pull({}), p(bad)) == {"pull_request", "reviews", "commits"}
}

test_needs_of_a_merge_group if needed(f.group([f.change({})]), usual) == {"pull_request", "reviews", "commits", "pushes", "merge_group"}

test_needs_without_pushes if {
	needed(f.pull({}), p({"require_last_push_approval": false, "allow_contributor": true})) == {"pull_request", "reviews", "commits"}
	"pushes" in needed(f.pull({}), p({"require_last_push_approval": false, "allow_contributor": true, "ignore_commits_by": ["renovate[bot]"]}))
	"pushes" in needed(f.pull({}), p({"require_last_push_approval": false}))
}

test_needs_code_owners if needed(f.pull({}), p({"require_code_owner_review": true})) == {"pull_request", "reviews", "commits", "pushes", "files", "old_paths", "codeowners"}

test_needs_paths_and_teams if {
	entry := {"reviewers": ["Octo-Org/Pay", "mona"], "minimum_approvals": 1, "file_patterns": ["x/**"]}
	parameters := p({"required_reviewers": [entry], "approvers": {"teams": ["octo-org/Core"], "organizations": ["Octo-Org"]}})
	wanted := control.needs with input as f.pull({}) with data.params as parameters
	{"fact": "team_members", "id": "octo-org/pay"} in wanted
	{"fact": "team_members", "id": "octo-org/core"} in wanted
	{"fact": "organization_members", "id": "octo-org"} in wanted
	{"fact": "old_paths"} in wanted
	count({need | some need in wanted; need.fact == "team_members"}) == 2
}

test_needs_no_paths_without_patterns if {
	entry := {"reviewers": ["mona"], "minimum_approvals": 1, "file_patterns": []}
	not "old_paths" in needed(f.pull({}), p({"required_reviewers": [entry]}))
}

test_needs_permissions_above_write if {
	"permissions" in needed(f.pull({}), p({"minimum_permission": "maintain"}))
	not "permissions" in needed(f.pull({}), usual)
}

# --- The number

test_no_review if denied(f.pull({}), usual) == {"0 of 1 approvals"}

test_one_approval if allowed(f.reviewed([f.approval(f.bob)]), usual)

test_one_of_two if denied(f.reviewed([f.approval(f.bob)]), p({"required_approving_review_count": 2})) == {"1 of 2 approvals"}

test_two_of_two if allowed(f.reviewed([f.approval(f.bob), f.approval(f.carol)]), p({"required_approving_review_count": 2}))

test_twice_the_same_person_is_one if {
	denied(f.reviewed([f.approval(f.bob), f.approval(f.bob)]), p({"required_approving_review_count": 2})) == {"1 of 2 approvals"}
	renamed := object.union(f.bob, {"login": "Bob-New"})
	denied(f.reviewed([f.approval(f.bob), f.approval(renamed)]), p({"required_approving_review_count": 2})) == {"1 of 2 approvals"}
}

test_none_required if {
	allowed(f.pull({}), p({"required_approving_review_count": 0, "require_last_push_approval": false}))
	denied(f.pull({}), p({"required_approving_review_count": 0})) == {"the last push (c1 by @alice) is approved by nobody else"}
}

test_finding_says_who_and_how if {
	found := control.deny with input as f.reviewed([f.approval(f.bob)]) with data.params as p({"required_approving_review_count": 2})
	found == {{
		"msg": "1 of 2 approvals",
		"who": "anyone with write permission except @alice, @bob",
		"fix": "approve the pull request at c1",
	}}
}

test_who_where_nobody_is_known if {
	nobody := f.commit("c1", f.alice, {"author": f.person(null), "committer": f.person(null), "authors": []})
	document := f.pull({"pull_request": {"user": null}, "commits": [nobody], "pushes": [f.push(null, null, "c1", ["c1"])]})
	found := control.deny with input as document with data.params as usual
	some finding in found
	finding.who == "anyone with write permission"
}

# Contributors who may approve are not told that they cannot.
test_who_with_contributors_allowed if {
	document := f.pull(object.union(two_commits(by_bob[0]), {"reviews": []}))
	found := control.deny with input as document with data.params as p({"allow_contributor": true})
	some finding in found
	finding.who == "anyone with write permission except @alice"
}

# --- Opinions

# "the last one holds"
test_last_opinion_holds if {
	allowed(f.reviewed([f.review(f.bob, "CHANGES_REQUESTED", {}), f.approval(f.bob)]), usual)
	denied(f.reviewed([f.approval(f.bob), f.review(f.bob, "CHANGES_REQUESTED", {})]), usual) == {"0 of 1 approvals", "@bob requested changes"}
}

# "in list order (GitHub lists by submission; times only have seconds)"
test_list_order_not_time if {
	late := f.review(f.bob, "APPROVED", {"submitted_at": "2026-11-20T13:00:00.000000Z"})
	early := f.review(f.bob, "CHANGES_REQUESTED", {"submitted_at": "2026-11-20T12:00:00.000000Z"})
	"@bob requested changes" in denied(f.reviewed([late, early]), usual)
}

# "COMMENTED and PENDING never change it"
test_comment_changes_nothing if {
	allowed(f.reviewed([f.approval(f.bob), f.review(f.bob, "COMMENTED", {})]), usual)
	allowed(f.reviewed([f.approval(f.bob), f.review(f.bob, "PENDING", {})]), usual)
	denied(f.reviewed([f.review(f.bob, "COMMENTED", {})]), usual) == {"0 of 1 approvals"}
	"@bob requested changes" in denied(f.reviewed([f.review(f.bob, "CHANGES_REQUESTED", {}), f.review(f.bob, "COMMENTED", {})]), usual)
}

# "A dismissed opinion does not revive an older one"
test_dismissed_does_not_revive if {
	denied(f.reviewed([f.approval(f.bob), f.review(f.bob, "DISMISSED", {})]), usual) == {"0 of 1 approvals (1 ignored: @bob, review dismissed)"}
	denied(f.reviewed([f.review(f.bob, "CHANGES_REQUESTED", {}), f.review(f.bob, "DISMISSED", {})]), usual) == {"0 of 1 approvals (1 ignored: @bob, review dismissed)"}
}

test_approval_after_dismissal if allowed(f.reviewed([f.review(f.bob, "DISMISSED", {}), f.approval(f.bob)]), usual)

# "Review state is lower-case in webhooks, upper-case in REST and GraphQL"
test_state_in_lower_case if {
	allowed(f.reviewed([f.review(f.bob, "approved", {})]), usual)
	"@bob requested changes" in denied(f.reviewed([f.review(f.bob, "changes_requested", {})]), usual)
}

# "Changes requested by someone with `write` blocks …: another's approval does not lift it"
test_changes_requested_blocks if {
	document := f.reviewed([f.review(f.carol, "CHANGES_REQUESTED", {}), f.approval(f.bob)])
	found := control.deny with input as document with data.params as usual
	found == {{
		"msg": "@carol requested changes",
		"who": "@carol",
		"fix": "@carol approves, or someone with write permission dismisses the review",
	}}
}

# "a push does not either (only approvals go stale)"
test_changes_requested_outlives_a_push if {
	old := f.review(f.carol, "CHANGES_REQUESTED", {"commit_id": "gone", "commits_since": null})
	denied(f.reviewed([old, f.approval(f.bob)]), usual) == {"@carol requested changes"}
}

# "(whatever `minimum_permission` says)"
test_changes_requested_by_write_below_the_minimum if {
	parameters := p({"minimum_permission": "admin"})
	document := f.reviewed([
		f.review(f.carol, "CHANGES_REQUESTED", {"permission": "write"}),
		f.review(f.bob, "APPROVED", {"permission": "admin"}),
	])
	denied(document, parameters) == {"@carol requested changes"}
}

# "From someone without the permission it does not block."
test_changes_requested_without_permission if {
	document := f.reviewed([f.review(f.carol, "CHANGES_REQUESTED", {"can_push": false}), f.approval(f.bob)])
	allowed(document, usual)
	warned(document, usual) == {"@carol requested changes, which does not block: no write permission"}
}

test_changes_requested_by_a_ghost if allowed(f.reviewed([f.review(null, "CHANGES_REQUESTED", {}), f.approval(f.bob)]), usual)

test_changes_requested_need_not_block if {
	document := f.reviewed([f.review(f.carol, "CHANGES_REQUESTED", {}), f.approval(f.bob)])
	allowed(document, p({"request_changes_blocks": false}))
	warned(document, p({"request_changes_blocks": false})) == {"@carol requested changes, which does not block: request_changes_blocks is off"}
}

# --- Who may approve

test_author_is_ignored if {
	denied(f.reviewed([f.approval(f.bob), f.approval(f.alice)]), p({"required_approving_review_count": 2})) == {"1 of 2 approvals (1 ignored: @alice, author of the pull request)"}
	reason_of(f.reviewed([f.approval(f.alice)]), usual, "@alice") == "author of the pull request"
}

test_author_by_id_not_login if {
	renamed := object.union(f.alice, {"login": "Alice-Married"})
	"0 of 1 approvals (1 ignored: @Alice-Married, author of the pull request)" in denied(f.reviewed([f.approval(renamed)]), usual)
}

test_author_allowed if {
	parameters := p({"allow_author": true, "require_last_push_approval": false})
	allowed(f.reviewed([f.approval(f.alice)]), parameters)
}

# Contributors may approve, but `allow_author: false` still holds.
test_author_is_not_let_in_as_contributor if {
	ignored := {"0 of 1 approvals (1 ignored: @alice, author of the pull request)"}
	denied(f.reviewed([f.approval(f.alice)]), p({"allow_contributor": true})) == ignored
	denied(f.reviewed([f.approval(f.alice)]), p({"allow_non_author_contributor": true})) == ignored
}

two_commits(second) := {"commits": [f.commit("c1", f.alice, {}), second], "pushes": [f.push(f.alice, null, "c2", ["c1", "c2"])]}

by_bob := [
	f.commit("c2", f.bob, {}),
	f.commit("c2", f.alice, {"committer": f.person(f.bob)}),
	f.commit("c2", f.alice, {"authors": [f.person(f.alice), f.person(f.bob)]}),
]

# "contributor = author, committer or co-author of any commit of the pull request"
test_every_kind_of_contributor_is_ignored if {
	missed := [kind |
		some kind in [0, 1, 2]
		document := f.pull(object.union(two_commits(by_bob[kind]), {"reviews": [f.approval_of(f.bob, "c2", [])]}))
		denied(document, usual) != {"0 of 1 approvals (1 ignored: @bob, contributor (commit c2))"}
	]
	missed == []
}

test_contributor_allowed if {
	document := f.pull(object.union(two_commits(by_bob[0]), {"reviews": [f.approval_of(f.bob, "c2", [])]}))
	allowed(document, p({"allow_contributor": true}))
	allowed(document, p({"allow_non_author_contributor": true}))
}

# "including those that came in by merging another topic branch"
test_contributor_by_a_merged_topic_branch if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {}), f.commit("t1", f.bob, {}), f.commit("m1", f.alice, {"parents": ["c1", "t1"], "committed_via_web": true})],
		"pushes": [f.push(f.alice, null, "m1", ["c1", "t1", "m1"])],
		"reviews": [f.approval_of(f.bob, "m1", [])],
	})
	denied(document, usual) == {"0 of 1 approvals (1 ignored: @bob, contributor (commit t1))"}
}

# "committer (except GitHub's `web-flow`)"
test_web_flow_is_no_contributor if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {"committer": f.person(f.web_flow)})],
		"reviews": [f.approval(f.web_flow)],
	})
	allowed(document, usual)
}

# "and everyone recorded as pusher of a reviewable push"
test_pusher_is_a_contributor if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {})],
		"pushes": [f.push(f.alice, "c1", "c2", ["c2"]), f.push(f.bob, null, "c1", ["c1"])],
		"reviews": [f.approval_of(f.bob, "c2", [])],
	})
	denied(document, usual) == {"0 of 1 approvals (1 ignored: @bob, contributor (pushed c1))"}
}

# "the person who only pressed 'Update branch' is not one (with `ignore_update_merges`)"
updated_by_bob := f.pull({
	"commits": [f.commit("c1", f.alice, {}), f.update_merge("u1", f.bob)],
	"pushes": [f.push(f.bob, "c1", "u1", ["u1"]), f.push(f.alice, null, "c1", ["c1"])],
	"reviews": [f.approval_of(f.bob, "u1", [])],
})

test_update_branch_makes_no_contributor if allowed(updated_by_bob, usual)

test_update_branch_makes_one_where_not_ignored if {
	"0 of 1 approvals (1 ignored: @bob, last pusher (pushed u1))" in denied(updated_by_bob, p({"ignore_update_merges": false}))
}

# "An e-mail with no account makes nobody a contributor."
test_email_without_account if {
	nobody := {"email": "bob@example.com", "user": null}
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {"author": nobody, "committer": nobody, "authors": [nobody]})],
		"reviews": [f.approval(f.bob)],
	})
	allowed(document, usual)
}

# "`triage` and `read` are not enough"; "the one on the base repository, now"
test_no_permission if {
	denied(f.reviewed([f.review(f.bob, "APPROVED", {"can_push": false})]), usual) == {"0 of 1 approvals (1 ignored: @bob, no write permission)"}
}

permitted(level) := f.reviewed([f.review(f.bob, "APPROVED", {"permission": level, "can_push": level in {"admin", "maintain", "write"}})])

# "`admin` ≥ `maintain` ≥ `write`"
test_permission_levels if {
	allowed(permitted("admin"), p({"minimum_permission": "admin"}))
	denied(permitted("maintain"), p({"minimum_permission": "admin"})) == {"0 of 1 approvals (1 ignored: @bob, no admin permission)"}
	allowed(permitted("admin"), p({"minimum_permission": "maintain"}))
	allowed(permitted("maintain"), p({"minimum_permission": "maintain"}))
	denied(permitted("write"), p({"minimum_permission": "maintain"})) == {"0 of 1 approvals (1 ignored: @bob, no maintain permission)"}
	denied(permitted("triage"), p({"minimum_permission": "maintain"})) == {"0 of 1 approvals (1 ignored: @bob, no maintain permission)"}
	denied(permitted("read"), usual) == {"0 of 1 approvals (1 ignored: @bob, no write permission)"}
	allowed(permitted("admin"), usual)
}

# Both of GitHub's answers are needed: on an archived repository an admin cannot push.
test_permission_without_push if {
	cannot := f.reviewed([f.review(f.bob, "APPROVED", {"permission": "admin", "can_push": false})])
	denied(cannot, usual) == {"0 of 1 approvals (1 ignored: @bob, no write permission)"}
	denied(cannot, p({"minimum_permission": "maintain"})) == {"0 of 1 approvals (1 ignored: @bob, no maintain permission)"}
	denied(cannot, p({"minimum_permission": "admin"})) == {"0 of 1 approvals (1 ignored: @bob, no admin permission)"}
}

# "A team or permission that cannot be read … is `error`"
test_permission_not_read if {
	document := f.reviewed([f.approval(f.bob)])
	errors(document, p({"minimum_permission": "maintain"})) == {"the permission of @bob could not be read"}
	denied(document, p({"minimum_permission": "maintain"})) == set()
}

# "a ghost, has no permission, counts for nothing"
test_ghost_counts_for_nothing if {
	denied(f.reviewed([f.approval(null), f.approval(null)]), p({"required_approving_review_count": 2})) == {"0 of 2 approvals (1 ignored: a deleted account, no permission)"}
	allowed(f.reviewed([f.approval(null), f.approval(f.bob)]), usual)
}

test_ghost_who_did_not_approve_is_not_named if {
	denied(f.reviewed([f.review(null, "CHANGES_REQUESTED", {}), f.review(null, "DISMISSED", {})]), usual) == {"0 of 1 approvals"}
}

test_ghost_author if allowed(f.pull({"pull_request": {"user": null}, "reviews": [f.approval(f.bob)]}), usual)

test_mannequin if {
	old := {"id": 77, "login": "old", "type": "Mannequin"}
	denied(f.reviewed([f.approval(old)]), usual) == {"0 of 1 approvals (1 ignored: @old, not the account of a person)"}
}

# --- Apps

test_app_is_ignored if {
	denied(f.reviewed([f.approval(f.renovate)]), usual) == {"0 of 1 approvals (1 ignored: @renovate[bot], an app that count_apps does not name)"}
}

test_app_counts_by_slug if {
	allowed(f.reviewed([f.approval(f.renovate)]), p({"count_apps": ["renovate"]}))
	denied(f.reviewed([f.approval(f.renovate)]), p({"count_apps": ["renovate-approve"]})) == {"0 of 1 approvals (1 ignored: @renovate[bot], an app that count_apps does not name)"}
}

test_app_needs_the_permission_too if {
	document := f.reviewed([f.review(f.renovate, "APPROVED", {"can_push": false})])
	denied(document, p({"count_apps": ["renovate"]})) == {"0 of 1 approvals (1 ignored: @renovate[bot], no write permission)"}
	above := f.reviewed([f.approval(f.renovate)])
	denied(above, p({"count_apps": ["renovate"], "minimum_permission": "maintain"})) == {"0 of 1 approvals (1 ignored: @renovate[bot], no maintain permission)"}
}

# --- Approvers

teams := {"octo-org/core": {"id": 1, "members": [2], "can_write": false}}

# "all empty: anyone; named ones need minimum_permission too"
test_approvers_by_login if {
	parameters := p({"approvers": {"users": ["BOB"]}})
	allowed(f.reviewed([f.approval(f.bob)]), parameters)
	denied(f.reviewed([f.approval(f.carol)]), parameters) == {"0 of 1 approvals (1 ignored: @carol, not among the approvers)"}
	denied(f.reviewed([f.review(f.bob, "APPROVED", {"can_push": false})]), parameters) == {"0 of 1 approvals (1 ignored: @bob, no write permission)"}
}

test_approvers_by_team if {
	parameters := p({"approvers": {"teams": ["octo-org/Core"]}})
	allowed(object.union(f.reviewed([f.approval(f.bob)]), {"teams": teams}), parameters)
	denied(object.union(f.reviewed([f.approval(f.carol)]), {"teams": teams}), parameters) == {"0 of 1 approvals (1 ignored: @carol, not among the approvers)"}
}

test_approvers_by_organization if {
	parameters := p({"approvers": {"organizations": ["Octo-Org"]}})
	allowed(object.union(f.reviewed([f.approval(f.bob)]), {"organizations": {"octo-org": [2]}}), parameters)
	denied(object.union(f.reviewed([f.approval(f.carol)]), {"organizations": {"octo-org": [2]}}), parameters) == {"0 of 1 approvals (1 ignored: @carol, not among the approvers)"}
}

# "A team … that cannot be read … is `error` …, never 'not a member'"
test_team_not_read if {
	parameters := p({"approvers": {"teams": ["octo-org/core"]}})
	errors(f.reviewed([f.approval(f.bob)]), parameters) == {"team octo-org/core could not be read"}
	denied(f.reviewed([f.approval(f.bob)]), parameters) == set()
}

test_organization_not_read if {
	parameters := p({"approvers": {"organizations": ["octo-org"]}})
	errors(f.reviewed([f.approval(f.bob)]), parameters) == {"members of the organisation octo-org could not be read"}
}

test_who_names_the_approvers if {
	parameters := p({"approvers": {"users": ["carol"], "teams": ["octo-org/core"], "organizations": ["octo-org"]}})
	document := object.union(f.pull({}), {"teams": teams, "organizations": {"octo-org": []}})
	found := control.deny with input as document with data.params as parameters
	found == {{
		"msg": "0 of 1 approvals",
		"who": "@carol, @octo-org/core, members of octo-org, with write permission except @alice",
		"fix": "approve the pull request at c1",
	}}
}

# --- Stale approvals

pushed_after(reviews) := f.pull({
	"commits": [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {})],
	"pushes": [f.push(f.alice, "c1", "c2", ["c2"]), f.push(f.alice, null, "c1", ["c1"])],
	"reviews": reviews,
})

# "An approval holds for the head if its commit *is* the head, or … every commit … not reachable …"
test_stale_after_a_push if {
	document := pushed_after([f.approval_of(f.bob, "c1", ["c2"])])
	found := control.deny with input as document with data.params as usual
	found == {{
		"msg": "0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came c2)",
		"who": "anyone with write permission except @alice",
		"fix": "approve the pull request at c2 (again: @bob)",
	}}
}

test_fresh_after_a_push if allowed(pushed_after([f.approval_of(f.bob, "c2", [])]), usual)

# "decided by `review.commit.oid`, not by time (someone may approve the old page after a push)"
test_old_page_approved_late if {
	late := object.union(f.approval_of(f.bob, "c1", ["c2"]), {"submitted_at": "2026-11-24T14:59:59.000000Z"})
	denied(pushed_after([late]), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came c2)"}
}

# "A commit that vanished (force push, `commit: null`) cannot be shown to be approved: stale."
test_vanished_commit if {
	denied(f.reviewed([f.review(f.bob, "APPROVED", {"commit_id": null, "commits_since": null})]), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: the commit approved is not in the pull request any more)"}
	denied(f.reviewed([f.approval_of(f.bob, "c0", null)]), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c0, which is not in the pull request any more)"}
}

# Facts that contradict themselves never make an approval hold.
test_nothing_since_an_older_commit if {
	denied(pushed_after([f.approval_of(f.bob, "c1", [])]), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, which is not in the pull request any more)"}
	denied(f.reviewed([f.review(f.bob, "APPROVED", {"commit_id": null, "commits_since": []})]), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: the commit approved is not in the pull request any more)"}
}

# "With `dismiss_stale_reviews_on_push: false` old approvals stay, after a force push too."
test_stale_may_stay if {
	parameters := p({"dismiss_stale_reviews_on_push": false, "require_last_push_approval": false})
	allowed(pushed_after([f.approval_of(f.bob, "c1", ["c2"])]), parameters)
	allowed(f.reviewed([f.approval_of(f.bob, "c0", null)]), parameters)
}

updated := f.pull({
	"commits": [f.commit("c1", f.alice, {}), f.update_merge("u1", f.alice)],
	"pushes": [f.push(f.alice, "c1", "u1", ["u1"]), f.push(f.alice, null, "c1", ["c1"])],
	"reviews": [f.approval_of(f.bob, "c1", ["u1"])],
})

# "… unless all that came since are 'Update branch' merges of the base"
test_update_merge_keeps_approvals if allowed(updated, usual)

test_update_merge_not_ignored if {
	denied(updated, p({"ignore_update_merges": false})) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came u1)"}
}

# "Commits that such a merge hides below it still count as new."
test_commits_hidden_below_an_update_merge if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {}), f.update_merge("u1", f.alice)],
		"pushes": [f.push(f.alice, null, "u1", ["c1", "c2", "u1"])],
		"reviews": [f.approval_of(f.bob, "c1", ["u1", "c2"])],
	})
	denied(document, usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came c2)"}
}

test_several_new_commits_are_counted if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {}), f.commit("c3", f.alice, {})],
		"pushes": [f.push(f.alice, null, "c3", ["c1", "c2", "c3"])],
		"reviews": [f.approval_of(f.bob, "c1", ["c2", "c3"])],
	})
	denied(document, usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came c3 and 1 more)"}
}

# A commit since that is not in the list of commits is new, whatever it is.
test_unlisted_commit_is_new if {
	document := object.union(updated, {"reviews": [f.approval_of(f.bob, "c1", ["u1", "x9"])]})
	denied(document, usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came x9)"}
}

# "A local merge of main, a web merge of another topic branch, an octopus merge … are ordinary commits."
test_ordinary_merge_is_new if {
	merge := f.commit("m1", f.alice, {"parents": ["c1", "base2"], "committed_via_web": true, "update_merge": false})
	document := object.union(updated, {"commits": [f.commit("c1", f.alice, {}), merge], "reviews": [f.approval_of(f.bob, "c1", ["m1"])], "pull_request": {"head": {"sha": "m1"}}, "pushes": [f.push(f.alice, null, "m1", ["c1", "m1"])]})
	denied(document, usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came m1)"}
}

# "Retargeting the base … makes approvals submitted at or before it stale"
retargeted(at) := f.pull({
	"pull_request": {"retarget": {"at": at, "from": "dev", "to": "main", "actor": null}},
	"reviews": [f.approval(f.bob)],
})

test_retarget if {
	denied(retargeted("2026-11-20T12:00:01.000000Z"), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved before the base was changed from dev to main)"}
	denied(retargeted("2026-11-20T12:00:00.000000Z"), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved before the base was changed from dev to main)"}
	allowed(retargeted("2026-11-20T11:59:59.000000Z"), usual)
}

# Times are compared as times, however they are written.
test_retarget_in_another_zone if {
	denied(retargeted("2026-11-20T14:00:00+02:00"), usual) == {"0 of 1 approvals (1 ignored: @bob, stale: approved before the base was changed from dev to main)"}
	allowed(retargeted("2026-11-20T13:59:59+02:00"), usual)
}

test_review_without_a_time_is_before_the_retarget if {
	document := object.union(retargeted("2026-11-20T11:00:00Z"), {"reviews": [object.remove(f.approval(f.bob), ["submitted_at"])]})
	count(denied(document, usual)) == 1
}

# "with `dismiss_stale_reviews_on_push: true`"
test_retarget_where_stale_may_stay if {
	allowed(retargeted("2026-11-20T13:00:00.000000Z"), p({"dismiss_stale_reviews_on_push": false}))
}

# --- ignore_commits_by

bot_commit(parts) := f.commit("c2", f.renovate, object.union({"verification": f.unsigned}, parts))

after_bot(commit, pusher) := f.pull({
	"commits": [f.commit("c1", f.alice, {}), commit],
	"pushes": [f.push(pusher, "c1", "c2", ["c2"]), f.push(f.alice, null, "c1", ["c1"])],
	"reviews": [f.approval_of(f.bob, "c1", ["c2"])],
})

trusted := p({"ignore_commits_by": ["renovate[bot]"]})

stale := {"0 of 1 approvals (1 ignored: @bob, stale: approved c1, then came c2)"}

# "hold only where the verified signer or the recorded pusher is that account"
test_bot_commit_pushed_by_the_bot if allowed(after_bot(bot_commit({}), f.renovate), trusted)

test_bot_commit_signed_by_the_bot if {
	signed := bot_commit({"verification": {"verified": true, "state": "VALID", "signer": f.renovate}})
	allowed(after_bot(signed, f.carol), trusted)
}

# "whoever pushes chooses author and committer freely"
test_bot_name_borrowed if {
	denied(after_bot(bot_commit({}), f.carol), trusted) == stale
	denied(after_bot(bot_commit({}), null), trusted) == stale
	by_carol := bot_commit({"verification": {"verified": true, "state": "VALID", "signer": f.carol}})
	denied(after_bot(by_carol, f.carol), trusted) == stale
}

test_bot_signature_not_valid if {
	odd := bot_commit({"verification": {"verified": true, "state": "EXPIRED_KEY", "signer": f.renovate}})
	denied(after_bot(odd, f.carol), trusted) == stale
	unverified := bot_commit({"verification": {"verified": false, "state": "VALID", "signer": f.renovate}})
	denied(after_bot(unverified, f.carol), trusted) == stale
}

test_bot_commit_not_ignored_unless_named if denied(after_bot(bot_commit({}), f.renovate), usual) == stale

test_bot_commit_with_someone_else_in_it if {
	denied(after_bot(bot_commit({"author": f.person(f.carol)}), f.renovate), trusted) == stale
	denied(after_bot(bot_commit({"committer": f.person(f.carol)}), f.renovate), trusted) == stale
	denied(after_bot(bot_commit({"authors": [f.person(f.renovate), f.person(f.carol)]}), f.renovate), trusted) == stale
	denied(after_bot(bot_commit({"authors": [f.person(f.renovate), f.person(null)]}), f.renovate), trusted) == stale
}

# `web-flow` may be the committer.
test_bot_commit_through_the_web if allowed(after_bot(bot_commit({"committer": f.person(f.web_flow)}), f.renovate), trusted)

# Two pushes brought it: both must be the bot's.
test_bot_commit_pushed_twice if {
	document := object.union(after_bot(bot_commit({}), f.renovate), {"pushes": [f.push(f.renovate, "c1", "c2", ["c2"]), f.push(f.carol, "c1", "c2", ["c2"]), f.push(f.alice, null, "c1", ["c1"])]})
	denied(document, trusted) == stale
}

test_bot_commit_whose_push_is_not_recorded if {
	document := object.union(after_bot(bot_commit({}), f.renovate), {"pushes": [f.push(f.alice, null, "c1", ["c1"])]})
	denied(document, trusted) == stale
}

# "whose commits neither stale an approval nor make a contributor"
test_ignored_bot_is_no_contributor if {
	document := object.union(after_bot(bot_commit({}), f.renovate), {"reviews": [f.approval_of(f.renovate, "c2", [])]})
	parameters := p({"ignore_commits_by": ["renovate[bot]"], "count_apps": ["renovate"]})
	allowed(document, parameters)
	denied(document, p({"count_apps": ["renovate"]})) == {"0 of 1 approvals (1 ignored: @renovate[bot], last pusher (pushed c2))"}
}

# --- Last push

by_carol_last(reviews) := f.pull({
	"commits": [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {})],
	"pushes": [f.push(f.carol, "c1", "c2", ["c2"]), f.push(f.alice, null, "c1", ["c1"])],
	"reviews": reviews,
})

# "The pusher is who pushed …, which need not be the commit's author."
test_last_pusher_is_ignored if {
	denied(by_carol_last([f.approval_of(f.carol, "c2", [])]), usual) == {"0 of 1 approvals (1 ignored: @carol, last pusher (pushed c2))"}
	allowed(by_carol_last([f.approval_of(f.bob, "c2", [])]), usual)
}

lenient := p({"dismiss_stale_reviews_on_push": false, "allow_contributor": true, "required_approving_review_count": 2})

# "Older approvals still count towards the number; one approval by someone else must hold for that push."
test_last_push_needs_one_approval if {
	document := by_carol_last([f.approval_of(f.bob, "c1", ["c2"]), f.approval_of(f.carol, "c2", [])])
	found := control.deny with input as document with data.params as lenient
	found == {{
		"msg": "the last push (c2 by @carol) is approved by nobody else",
		"who": "anyone with write permission except @alice, @bob, @carol",
		"fix": "someone other than @carol approves the pull request at c2",
	}}
	allowed(by_carol_last([f.approval_of(f.dave, "c1", ["c2"]), f.approval_of(f.bob, "c2", [])]), lenient)
	allowed(document, object.union(lenient, {"defaults": {"required_reviews": {"require_last_push_approval": false}}}))
}

# "the newest push that brought a commit that is neither an update merge nor ignored"
test_update_branch_is_not_the_last_push if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {}), f.update_merge("u1", f.bob)],
		"pushes": [f.push(f.bob, "c1", "u1", ["u1"]), f.push(f.alice, null, "c1", ["c1"])],
		"reviews": [f.approval_of(f.bob, "c1", ["u1"])],
	})
	allowed(document, usual)
}

test_push_that_brought_nothing_is_not_the_last if {
	document := f.pull({"pushes": [f.push(f.bob, "c2", "c1", []), f.push(f.alice, null, "c1", ["c1"])], "reviews": [f.approval(f.bob)]})
	allowed(document, usual)
}

unknown_pusher(reviews) := f.pull({"pushes": [f.push(null, null, "c1", ["c1"])], "reviews": reviews})

# "Pusher unknown: two different people's approvals that hold are enough (one of them is not the pusher), else `error`."
test_pusher_unknown if {
	errors(unknown_pusher([f.approval(f.bob)]), usual) == {"who made the last push is not known: 1 of 2 people approved c1"}
	denied(unknown_pusher([f.approval(f.bob)]), usual) == set()
	allowed(unknown_pusher([f.approval(f.bob), f.approval(f.carol)]), usual)
	errors(unknown_pusher([f.approval(f.bob), f.approval(f.bob)]), usual) == {"who made the last push is not known: 1 of 2 people approved c1"}
	errors(unknown_pusher([f.approval(f.bob), f.approval(null)]), usual) == {"who made the last push is not known: 1 of 2 people approved c1"}
	errors(unknown_pusher([f.approval(f.bob), f.approval(f.alice)]), usual) == {"who made the last push is not known: 1 of 2 people approved c1"}
}

test_pusher_unknown_and_an_app if {
	parameters := p({"count_apps": ["renovate"]})
	count(errors(unknown_pusher([f.approval(f.bob), f.approval(f.renovate)]), parameters)) == 1
}

test_pusher_unknown_and_stale_approvals if {
	document := f.pull({
		"commits": [f.commit("c1", f.alice, {}), f.commit("c2", f.alice, {})],
		"pushes": [f.push(null, null, "c2", ["c1", "c2"])],
		"reviews": [f.approval_of(f.bob, "c1", ["c2"]), f.approval_of(f.carol, "c2", [])],
	})
	errors(document, object.union(lenient, {"defaults": {"required_reviews": {"required_approving_review_count": 1}}})) == {"who made the last push is not known: 1 of 2 people approved c2"}
}

test_push_without_a_head_is_unknown if {
	document := f.pull({"pushes": [object.remove(f.push(f.carol, null, "c1", ["c1"]), ["after"])], "reviews": [f.approval(f.bob)]})
	count(errors(document, usual)) == 1
}

test_pusher_unknown_does_not_matter if allowed(unknown_pusher([f.approval(f.bob)]), p({"require_last_push_approval": false}))

# A commit that no recorded push brought may have come with the last one.
test_commit_of_no_push if {
	document := f.pull({"pushes": [], "reviews": [f.approval(f.bob)]})
	errors(document, usual) == {"who made the last push is not known: 1 of 2 people approved c1"}
	gap := object.union(pushed_after([f.approval_of(f.bob, "c2", [])]), {"pushes": [f.push(f.alice, "c1", "c2", ["c2"])]})
	count(errors(gap, usual)) == 1
}

test_nothing_to_review_has_no_last_push if {
	document := f.pull({
		"commits": [f.commit("c1", f.renovate, {"verification": f.unsigned})],
		"pushes": [f.push(f.renovate, null, "c1", ["c1"])],
		"reviews": [f.approval(f.bob)],
	})
	allowed(document, trusted)
}

# --- Everything that is ignored is named

test_many_ignored if {
	no := {"can_push": false}
	document := f.reviewed([
		f.approval(f.alice), f.review(f.bob, "APPROVED", no), f.review(f.carol, "APPROVED", no), f.review(f.dave, "APPROVED", no),
	])
	denied(document, usual) == {"0 of 1 approvals (4 ignored: @alice, author of the pull request; @bob, no write permission; @carol, no write permission; …)"}
	count(warned(document, usual)) == 4
}

test_ignored_is_said_when_allowed_too if {
	document := f.reviewed([f.approval(f.bob), f.approval(f.alice)])
	allowed(document, usual)
	warned(document, usual) == {"approval of @alice does not count: author of the pull request"}
}

# "A draft is judged like any other and says it is a draft."
test_draft if {
	document := f.pull({"pull_request": {"draft": true}})
	denied(document, usual) == {"0 of 1 approvals"}
	warned(document, usual) == {"this is a draft; it is judged like any other pull request"}
}

# --- Merge groups

entry(number, reviews) := f.change({"pull_request": {"number": number}, "reviews": reviews})

# "its queue entry and all entries before it … are each judged at their own head"
test_every_entry_of_a_merge_group if {
	denied(f.group([entry(11, []), entry(12, [f.approval(f.bob)])]), usual) == {"#11: 0 of 1 approvals"}
	allowed(f.group([entry(11, [f.approval(f.bob)]), entry(12, [f.approval(f.bob)])]), usual)
}

# "An approval counts only for the pull request it was given on."
test_approval_of_another_entry if {
	denied(f.group([entry(11, [f.approval(f.bob)]), entry(12, [])]), usual) == {"#12: 0 of 1 approvals"}
}

# "one that cannot be found is `error`"
test_entries_missing if {
	errors(f.group([]), usual) == {"the pull requests of the merge group could not be found"}
	errors(object.remove(f.group([]), ["merge_group"]), usual) == {"the pull requests of the merge group could not be found"}
	errors(f.group([entry(11, [f.approval(f.bob)]), null]), usual) == {"the pull request could not be read"}
}

test_entry_of_another_base if {
	other := object.union(entry(11, [f.approval(f.bob)]), {"pull_request": {"base": {"ref": "dev"}}})
	errors(f.group([other]), usual) == {"#11: the base branch is not the one the parameters are for"}
}

# "with the base branch's parameters"
test_merge_group_takes_the_base_branch if {
	parameters := {"defaults": object.union(f.defaults, {"branches": [{"pattern": "main", "required_reviews": {"required_approving_review_count": 2}}]}), "repositories": {}}
	denied(f.group([entry(11, [f.approval(f.bob)])]), parameters) == {"#11: 1 of 2 approvals"}
}
