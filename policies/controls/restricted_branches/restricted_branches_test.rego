package controls.restricted_branches_test

import data.controls.restricted_branches as control
import data.lib.fixtures_test as f

p(parts) := f.params("restricted_branches", parts)

usual := p({})

denied(document, parameters) := f.messages(found) if {
	found := control.deny with input as document with data.params as parameters
}

errors(document, parameters) := f.messages(found) if {
	found := control.error with input as document with data.params as parameters
}

needed(document, parameters) := found if {
	found := control.needs with input as document with data.params as parameters
}

applies(document, parameters) := found if {
	found := control.applies with input as document with data.params as parameters
}

findings(document, parameters) := found if {
	found := control.deny with input as document with data.params as parameters
}

allowed(document, parameters) if {
	applies(document, parameters) == true
	denied(document, parameters) == set()
	errors(document, parameters) == set()
}

nobody := {"users": [], "teams": [], "apps": []}

rule(parts) := object.union({"type": "branch", "pattern": "main", "restrict": ["updates"], "allow": nobody}, parts)

rules(parts) := p({"rules": [rule(parts)]})

# --- Where it applies

test_applies if {
	applies(f.pull({}), usual)
	applies(f.group([f.change({})]), usual)
	applies(f.pushed("main", {}), usual)
	applies(f.pushed("topic", {}), rules({"pattern": "topic"}))
	applies(f.tagged("v1", {}), rules({"type": "tag", "pattern": "v*"}))
}

# "A push to any other branch: no control applies, nothing is fetched, nothing published."
test_push_to_any_other_branch if {
	applies(f.pushed("topic", {}), rules({})) == false
	needed(f.pushed("topic", {}), rules({})) == set()
	denied(f.pushed("topic", {}), rules({})) == set()
	control.skip_reason == "no rule is for this branch or tag" with input as f.pushed("topic", {}) with data.params as rules({})
}

# "a tag `main` is not the branch `main`"
test_tag_main_is_not_branch_main if {
	applies(f.tagged("main", {}), rules({})) == false
	applies(f.tagged("main", {}), usual) == false
	denied(f.pushed("main", {}), rules({"type": "tag"})) == set()
}

# "`create` and `delete`"
test_create_and_delete_events if {
	create := object.union(f.pushed("main", {"created": true, "before": null, "after": null}), {"event": {"name": "create"}})
	denied(create, rules({"restrict": ["creations"]})) == {"@bob may not create branch main"}
	delete := object.union(f.pushed("main", {"deleted": true, "before": null, "after": null}), {"event": {"name": "delete"}})
	denied(delete, rules({"restrict": ["deletions"]})) == {"@bob may not delete branch main"}
	count(denied(create, rules({"restrict": ["deletions", "updates", "force_pushes"]}))) == 0
	count(denied(delete, rules({"restrict": ["creations", "updates", "force_pushes"]}))) == 0
}

test_odd_input if {
	applies({}, usual) == false
	applies(f.about_nothing, usual) == false
	control.skip_reason == "it is about neither a pull request, a merge group nor a push" with input as {} with data.params as usual
}

test_switched_off if {
	applies(f.pushed("main", {}), p({"enabled": false, "rules": [rule({})]})) == false
	control.skip_reason == "switched off by the parameter restricted_branches.enabled" with input as f.pull({}) with data.params as p({"enabled": false})
}

test_parameters_are_checked if {
	errors(f.pushed("main", {}), rules({"restrict": ["update"]})) == {"parameter restricted_branches.rules[0].restrict must be a list, not empty, of creations, updates, deletions, force_pushes"}
	errors(f.pushed("topic", {}), rules({"pattern": "!main"})) == {"parameter restricted_branches.rules[0].pattern starts with `!`: exceptions cannot be written, name what is meant"}
	errors(f.pushed("main", {}), p({"rules": [object.remove(rule({}), ["allow"])]})) == {"parameter restricted_branches.rules[0].allow is not set"}
	errors(f.pushed("main", {}), p({"rules": [object.union(object.remove(rule({}), ["allow"]), {"allow": {"users": []}})]})) == {"parameter restricted_branches.rules[0].allow.teams is not set", "parameter restricted_branches.rules[0].allow.apps is not set"}
	count(errors(f.pull({}), p({"rules": null}))) == 1
	count(errors(f.pull({}), p({"rules": ["main"]}))) == 1
	count(errors(f.pull({}), p({"merge_from": [{"base": "main"}]}))) == 1
	count(errors(f.pull({}), {"defaults": {"restricted_branches": {"rules": []}}})) == 1
}

test_rule_for_the_other_kind if {
	errors(f.pushed("main", {}), rules({"pattern": "refs/tags/main"})) == {"parameter restricted_branches.rules[0].pattern is for the other kind of ref"}
	errors(f.pushed("main", {}), rules({"type": "tag", "pattern": "refs/heads/main"})) == {"parameter restricted_branches.rules[0].pattern is for the other kind of ref"}
	denied(f.pushed("main", {}), rules({"pattern": "refs/heads/main"})) == {"@bob may not push directly to branch main"}
}

# --- needs

test_needs if {
	needed(f.pull({}), usual) == {{"fact": "pull_request"}}
	needed(f.group([f.change({})]), usual) == {{"fact": "pull_request"}, {"fact": "merge_group"}}
	needed(f.pushed("main", {}), usual) == set()
	needed(f.pushed("main", {}), rules({})) == {{"fact": "landed"}, {"fact": "push_commits"}}
	needed(f.pushed("main", {}), rules({"restrict": ["creations"]})) == set()
	needed(f.pushed("main", {"forced": true}), rules({})) == set()
	needed(f.tagged("v1", {}), rules({"type": "tag", "pattern": "v*"})) == set()
	needed(f.pushed("main", {}), rules({"restrict": ["force_pushes"], "allow": {"teams": ["octo-org/a"]}})) == set()
	needed(f.pushed("main", {}), rules({"allow": {"teams": ["Octo-Org/Release"]}})) == {{"fact": "landed"}, {"fact": "push_commits"}, {"fact": "team_members", "id": "octo-org/release"}}
}

# --- The four things

created := {"created": true, "before": null}

deleted := {"deleted": true, "after": null}

forced := {"forced": true}

done(kind) := f.pushed("main", {"creations": created, "deletions": deleted, "force_pushes": forced, "updates": {}}[kind])

blocked := {[kind, restriction] |
	some kind in ["creations", "updates", "deletions", "force_pushes"]
	some restriction in ["creations", "updates", "deletions", "force_pushes"]
	count(denied(done(kind), rules({"restrict": [restriction]}))) > 0
}

# "Creation, update, deletion, force push are four things (a force push … [is] *also* [an update])"
test_four_things if {
	blocked == {
		["creations", "creations"], ["updates", "updates"], ["deletions", "deletions"],
		["force_pushes", "force_pushes"], ["force_pushes", "updates"],
	}
}

test_what_is_said if {
	denied(f.pushed("main", created), rules({"restrict": ["creations"]})) == {"@bob may not create branch main"}
	denied(f.pushed("main", deleted), rules({"restrict": ["deletions"]})) == {"@bob may not delete branch main"}
	denied(f.pushed("main", forced), rules({"restrict": ["force_pushes"]})) == {"@bob may not force-push branch main"}
	denied(f.pushed("main", forced), rules({})) == {"@bob may not change branch main by a force push"}
	denied(f.pushed("main", {}), rules({})) == {"@bob may not push directly to branch main"}
}

# "(… a moved tag [is] *also* [an update]: either restriction blocks …)"
test_moved_tag if {
	denied(f.tagged("v1", {}), rules({"type": "tag", "pattern": "v*", "restrict": ["force_pushes"]})) == {"@bob may not move tag v1"}
	denied(f.tagged("v1", {}), rules({"type": "tag", "pattern": "v*", "restrict": ["updates"]})) == {"@bob may not move tag v1"}
	denied(f.tagged("v1", {"forced": true}), rules({"type": "tag", "pattern": "v*", "restrict": ["updates"]})) == {"@bob may not move tag v1"}
	allowed(f.tagged("v1", {}), rules({"type": "tag", "pattern": "v*", "restrict": ["creations", "deletions"]}))
}

test_new_tag if {
	denied(f.tagged("v1", created), rules({"type": "tag", "pattern": "v*", "restrict": ["creations"]})) == {"@bob may not create tag v1"}
	allowed(f.tagged("v1", created), rules({"type": "tag", "pattern": "v*", "restrict": ["updates", "force_pushes"]}))
}

# "read from `push` (`created`, `deleted`, `forced`, zero shas)"
test_zero_shas if {
	zero := "0000000000000000000000000000000000000000"
	denied(f.pushed("main", {"before": zero}), rules({"restrict": ["creations"]})) == {"@bob may not create branch main"}
	denied(f.pushed("main", {"after": zero}), rules({"restrict": ["deletions"]})) == {"@bob may not delete branch main"}
	denied(f.pushed("main", {"before": null}), rules({"restrict": ["creations"]})) == {"@bob may not create branch main"}
	denied(f.pushed("main", {"after": null}), rules({"restrict": ["deletions"]})) == {"@bob may not delete branch main"}
}

# --- Who may

# "An empty `allow` means nobody"
test_nobody if denied(f.pushed("main", {}), rules({})) == {"@bob may not push directly to branch main"}

test_person if {
	allowed(f.pushed("main", {}), rules({"allow": {"users": ["BOB"]}}))
	denied(f.pushed("main", {}), rules({"allow": {"users": ["bobby", "bo"]}})) == {"@bob may not push directly to branch main"}
	denied(f.pushed("main", {}), rules({"allow": {"apps": ["bob"]}})) == {"@bob may not push directly to branch main"}
}

teams := {"teams": {"octo-org/release": {"id": 1, "members": [2], "can_write": false}}}

test_team if {
	parameters := rules({"allow": {"teams": ["octo-org/Release"]}})
	allowed(object.union(f.pushed("main", {}), teams), parameters)
	denied(object.union(f.pushed("main", {"pusher": f.carol}), teams), parameters) == {"@carol may not push directly to branch main"}
	errors(f.pushed("main", {}), parameters) == {"team octo-org/Release could not be read"}
}

test_app if {
	by_app := {"pusher": f.renovate, "pusher_kind": "app"}
	allowed(f.pushed("main", by_app), rules({"allow": {"apps": ["renovate"]}}))
	denied(f.pushed("main", by_app), rules({"allow": {"users": ["renovate"]}})) == {"@renovate[bot] may not push directly to branch main"}
	denied(f.pushed("main", by_app), rules({"allow": {"apps": ["other"]}})) == {"@renovate[bot] may not push directly to branch main"}
}

# "a deploy key … is nobody on a list of people"
test_deploy_key if {
	denied(f.pushed("main", {"pusher": null, "pusher_kind": "deploy_key"}), rules({"allow": {"users": ["bob"]}})) == {"a deploy key may not push directly to branch main"}
	denied(f.pushed("main", {"pusher": f.bob, "pusher_kind": "deploy_key"}), rules({"allow": {"users": ["bob"]}})) == {"a deploy key may not push directly to branch main"}
}

test_pusher_unknown if {
	unknown := f.pushed("main", {"pusher": null, "pusher_kind": "unknown"})
	errors(unknown, rules({"allow": {"users": ["bob"]}})) == {"branch main: who pushed is not known"}
	denied(unknown, rules({})) == {"somebody unknown may not push directly to branch main"}
	count(denied(f.pushed("main", {"pusher_kind": "unknown"}), rules({"allow": {"users": ["bob"]}}))) == 1
}

# "where several rules match, all must allow"
test_all_rules_must_allow if {
	two := p({"rules": [rule({"allow": {"users": ["bob"]}}), rule({"pattern": "**"})]})
	denied(f.pushed("main", {}), two) == {"@bob may not push directly to branch main"}
	both := p({"rules": [rule({"allow": {"users": ["bob"]}}), rule({"pattern": "*", "allow": {"users": ["bob"]}})]})
	allowed(f.pushed("main", {}), both)
}

test_rule_that_does_not_match if allowed(f.pushed("main", {}), rules({"pattern": "release/*"}))

test_finding_says_who_and_how if {
	found := findings(f.pushed("main", {}), rules({"allow": {"users": ["mona"], "teams": [], "apps": ["helper"]}}))
	found == {{
		"msg": "@bob may not push directly to branch main",
		"who": "@mona, the app helper",
		"fix": "git revert --no-edit p0..p1 on a branch of its own, and open a pull request",
	}}
}

fix(document, kind) := {finding.fix | some finding in findings(document, rules({"restrict": [kind], "pattern": "**"}))}

test_ways_back if {
	fix(f.pushed("main", created), "creations") == {"git push origin --delete refs/heads/main"}
	fix(f.pushed("main", deleted), "deletions") == {"git push origin p0:refs/heads/main"}
	fix(f.pushed("main", {"deleted": true, "after": null, "before": null}), "deletions") == {"create branch main again where it was"}
	fix(f.pushed("main", forced), "force_pushes") == {"git push --force-with-lease=refs/heads/main:p1 origin p0:refs/heads/main"}
	fix(f.pushed("x;rm -rf", created), "creations") == {"git push origin --delete refs/heads/NAME"}
}

test_nobody_is_never_an_empty_phrase if {
	some finding in findings(f.pushed("main", {}), rules({}))
	finding.who == "nobody: a repository administrator puts it back"
}

# --- Merges

landed(kind, pulls) := f.pushed("main", {"landed": {"kind": kind, "pull_requests": pulls, "reason": null}})

pull(number, ok) := {"number": number, "head": "c1", "allowed": ok, "verdict": 3}

# "A push whose commits are exactly the merge, squash, rebase or merge group … of pull requests that our
# ledger allowed at those heads is not a direct push"
test_merges_are_no_direct_push if {
	missed := {kind |
		some kind in {"merge", "squash", "rebase", "merge_group"}
		not allowed(landed(kind, [pull(12, true)]), rules({}))
	}
	missed == set()
}

# "of one that was not allowed, it is a bypass"
test_bypass if {
	denied(landed("bypass", [pull(12, false)]), rules({})) == {"#12 merged into main without being allowed (bypass)"}
	denied(landed("merge", [pull(12, true), pull(13, false)]), rules({})) == {"#13 merged into main without being allowed (bypass)"}
	denied(landed("merge", []), rules({})) == {"a pull request merged into main without being allowed (bypass)"}
	denied(landed("something new", [pull(12, true)]), rules({})) == {"a pull request merged into main without being allowed (bypass)"}
}

# A permission to push is none to merge what was refused.
test_bypass_by_someone_on_the_list if count(denied(landed("bypass", [pull(12, false)]), rules({"allow": {"users": ["bob"]}}))) == 1

# "a hand-made merge is a direct push"
test_direct_push_with_the_reason if {
	document := f.pushed("main", {"landed": {"kind": "direct", "pull_requests": [], "reason": "the merge commit is not GitHub's"}})
	denied(document, rules({})) == {"@bob may not push directly to branch main: the merge commit is not GitHub's"}
	allowed(document, rules({"allow": {"users": ["bob"]}}))
}

# A force push is never GitHub merging a pull request.
test_force_push_is_no_merge if {
	document := object.union(landed("merge", [pull(12, true)]), {"push": {"forced": true}})
	denied(document, rules({})) == {"@bob may not change branch main by a force push"}
}

test_creation_is_no_merge if {
	document := object.union(landed("merge", [pull(12, true)]), {"push": created})
	denied(document, rules({"restrict": ["creations"]})) == {"@bob may not create branch main"}
}

test_landed_not_read if {
	document := object.union(f.pushed("main", {}), {"push": {"landed": null}})
	errors(document, rules({})) == {"how the push came about could not be read"}
	denied(document, rules({})) == set()
}

# --- merge_from

from(list) := p({"merge_from": [{"base": "main", "head": list}]})

head(parts) := f.pull({"pull_request": {"head": parts}})

# "for every entry whose `base` matches the base ref, the head ref must match one of `head`"
test_merge_from if {
	allowed(head({"ref": "release/1/2"}), from(["release/**/*"]))
	denied(head({"ref": "topic"}), from(["release/**/*", "hotfix/*"])) == {"only release/**/*, hotfix/* may be merged into main, not topic"}
	denied(head({"ref": "topic"}), from([])) == {"only nothing may be merged into main, not topic"}
}

# "and the head repository must be the base repository"
test_merge_from_a_fork if {
	fork := {"ref": "release/1", "repo": {"id": 8, "full_name": "mallory/payments"}}
	denied(head(fork), from(["release/**/*"])) == {"only release/**/* may be merged into main, not release/1 of mallory/payments"}
	denied(head({"ref": "release/1", "repo": null}), from(["release/**/*"])) == {"only release/**/* may be merged into main, not release/1 of a deleted fork"}
}

# Whatever is missing, the finding stays.
test_merge_from_with_facts_missing if {
	anonymous := object.union(object.remove(head({"ref": "topic"}), ["repository"]), {"repository": {"default_branch": "main"}})
	count(denied(anonymous, from(["topic"]))) == 1
	headless := object.union(object.remove(f.pull({}), ["pull_request"]), {"pull_request": {"head": {"sha": "c1"}, "base": {"ref": "main"}}})
	denied(headless, from(["topic"])) == {"only topic may be merged into main, not an unknown branch of a deleted fork"}
}

# "no matching entry: anything"
test_merge_from_another_base if {
	allowed(head({"ref": "topic"}), p({"merge_from": [{"base": "prod", "head": ["main"]}]}))
}

test_merge_from_every_entry_must_know_it if {
	two := p({"merge_from": [{"base": "main", "head": ["topic"]}, {"base": "*", "head": ["release/*"]}]})
	denied(head({"ref": "topic"}), two) == {"only release/* may be merged into main, not topic"}
}

# "merge groups: per entry"
test_merge_from_in_a_merge_group if {
	entry := f.change({"pull_request": {"number": 11, "head": {"ref": "topic"}}})
	good := f.change({"pull_request": {"head": {"ref": "release/1"}}})
	denied(f.group([entry, good]), from(["release/*"])) == {"#11: only release/* may be merged into main, not topic"}
}

test_pull_request_not_read if {
	errors(object.remove(f.pull({}), ["pull_request"]), usual) == {"the pull request could not be read"}
	errors(f.group([]), usual) == {"the pull requests of the merge group could not be found"}
	errors(object.union(f.pull({}), {"target": {"name": "dev"}}), usual) == {"the base branch is not the one the parameters are for"}
}
