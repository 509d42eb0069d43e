package controls.signed_commits_test

import data.controls.signed_commits as control
import data.lib.fixtures_test as f

p(parts) := f.params("signed_commits", parts)

usual := p({})

denied(document, parameters) := f.messages(found) if {
	found := control.deny with input as document with data.params as parameters
}

pending(document, parameters) := f.messages(found) if {
	found := control.pending with input as document with data.params as parameters
}

warned(document, parameters) := f.messages(found) if {
	found := control.warn with input as document with data.params as parameters
}

errors(document, parameters) := f.messages(found) if {
	found := control.error with input as document with data.params as parameters
}

needed(document, parameters) := found if {
	wanted := control.needs with input as document with data.params as parameters
	found := {need.fact | some need in wanted}
}

applies(document, parameters) := found if {
	found := control.applies with input as document with data.params as parameters
}

allowed(document, parameters) if {
	applies(document, parameters) == true
	denied(document, parameters) == set()
	errors(document, parameters) == set()
	pending(document, parameters) == set()
}

one(verification) := f.pull({"commits": [f.commit("c1", f.alice, {"verification": verification})]})

state(name) := one({"verified": false, "state": name})

# --- Where it applies

test_pull_request if allowed(f.pull({}), usual)

test_merge_group if allowed(f.group([f.change({})]), usual)

# "and to pushes to the default branch"
test_push_to_the_default_branch if allowed(f.pushed("main", {}), usual)

# "and to branches that a `restricted_branches` rule … matches"
test_push_to_a_restricted_branch if {
	rule := {"type": "branch", "pattern": "release/*", "restrict": ["updates"], "allow": {"users": [], "teams": [], "apps": []}}
	parameters := f.params("restricted_branches", {"rules": [rule]})
	allowed(f.pushed("release/1", {}), parameters)
	not applies(f.pushed("topic", {}), parameters)
	not applies(f.tagged("release/1", {}), parameters)
}

# "or a `branches` entry matches"
test_push_to_a_branch_with_an_entry if {
	parameters := {"defaults": object.union(f.defaults, {"branches": [{"pattern": "dev"}]}), "repositories": {}}
	allowed(f.pushed("dev", {}), parameters)
	mine := {"defaults": f.defaults, "repositories": {"octo-org/payments": {"branches": [{"pattern": "dev"}]}}}
	allowed(f.pushed("dev", {}), mine)
	not applies(f.pushed("topic", {}), mine)
}

# "A push to any other branch: no control applies, nothing is fetched, nothing published."
test_push_to_any_other_branch if {
	document := f.pushed("topic", {"commits": [f.commit("p1", f.bob, {"verification": f.unsigned})]})
	applies(document, usual) == false
	needed(document, usual) == set()
	denied(document, usual) == set()
	errors(document, usual) == set()
	is_string(control.skip_reason) with input as document with data.params as usual
}

# A tag `main` is not the branch `main`.
test_tag_is_no_branch if applies(f.tagged("main", {}), usual) == false

test_default_branch_not_known if {
	document := object.union(object.remove(f.pushed("topic", {}), ["repository"]), {"repository": {"id": 7, "name": "octo-org/payments"}})
	applies(document, usual)
}

test_deletion_brings_nothing if {
	applies(f.pushed("main", {"deleted": true, "after": null}), usual) == false
	applies(object.union(f.pushed("main", {"created": true, "before": null, "after": null}), {"event": {"name": "create"}}), usual) == false
	applies(object.union(f.pushed("main", {"deleted": true, "after": null}), {"event": {"name": "delete"}}), usual) == false
}

test_odd_input if {
	applies({}, usual) == false
	applies(f.about_nothing, usual) == false
	is_string(control.skip_reason) with input as {} with data.params as usual
}

test_switched_off if {
	applies(f.pull({}), p({"enabled": false})) == false
	control.skip_reason == "switched off by the parameter signed_commits.enabled" with input as f.pull({}) with data.params as p({"enabled": false})
}

test_not_required if {
	applies(one(f.unsigned), p({"required": false})) == false
	control.skip_reason == "signatures are not required (parameter signed_commits.required)" with input as f.pull({}) with data.params as p({"required": false})
}

# "A parameter nobody defined, or of the wrong type, is an error of the control"
test_parameters_are_checked if {
	unseen := [name |
		some name, _ in f.defaults.signed_commits
		count(errors(f.pull({}), p({name: {"odd": "type"}}))) == 0
	]
	unseen == []
	missed := [name |
		some name, _ in f.defaults.signed_commits
		left := {"defaults": {"signed_commits": object.remove(f.defaults.signed_commits, [name])}, "repositories": {}}
		count(errors(f.pull({}), left)) == 0
	]
	missed == []
	errors(f.pull({}), p({"require": true})) == {"parameter signed_commits.require is unknown"}
	denied(one(f.unsigned), p({"require": true})) == set()
}

# Tags are not looked at, whatever rule is for them.
test_tag_with_a_rule if {
	rule := {"type": "tag", "pattern": "v*", "restrict": ["updates"], "allow": {"users": [], "teams": [], "apps": []}}
	applies(f.tagged("v1", {}), f.params("restricted_branches", {"rules": [rule]})) == false
}

test_switched_off_says_nothing if {
	off := p({"enabled": false, "exempt_accounts": ["renovate[bot]"]})
	errors(f.pull({"pull_request": {"commits": 2}}), off) == set()
	needed(f.pull({}), off) == set()
	needed(f.group([f.change({})]), off) == set()
	needed(f.pushed("main", {}), off) == set()
	needed(f.pull({}), p({"required": false})) == set()
	errors(f.pushed("main", {}), p({"required": false, "odd": 1})) == set()
}

test_bad_parameters_fetch_nothing_more if {
	needed(f.pull({}), p({"exempt_accounts": ["renovate[bot]"], "odd": 1})) == {"pull_request", "commits"}
	count(errors(f.pull({"pull_request": {"commits": 2}}), p({"odd": 1}))) == 1
}

test_pushes_matter_only_for_exempt_accounts if allowed(object.remove(f.pull({}), ["pushes"]), usual)

# --- needs

test_needs if {
	needed(f.pull({}), usual) == {"pull_request", "commits"}
	needed(f.group([f.change({})]), usual) == {"pull_request", "commits", "merge_group"}
	needed(f.pushed("main", {}), usual) == {"push_commits"}
	needed(f.pull({}), p({"exempt_accounts": ["renovate[bot]"]})) == {"pull_request", "commits", "pushes"}
	needed(f.pushed("main", {}), p({"exempt_accounts": ["renovate[bot]"]})) == {"push_commits"}
}

# --- Signatures

# "verified means `isValid` and state `VALID` together (a contradiction is a deny)"
test_contradictions if {
	denied(one({"verified": false, "state": "VALID"}), usual) == {"commit c1 by @alice is called both verified and not (VALID)"}
	denied(one({"verified": true, "state": "EXPIRED_KEY"}), usual) == {"commit c1 by @alice is called both verified and not (EXPIRED_KEY)"}
	denied(one({"verified": true, "state": "UNSIGNED"}), usual) == {"commit c1 by @alice is called both verified and not (UNSIGNED)"}
	denied(one({"verified": true, "state": "OCSP_PENDING"}), usual) == {"commit c1 by @alice is called both verified and not (OCSP_PENDING)"}
	pending(one({"verified": true, "state": "OCSP_PENDING"}), usual) == set()
}

# "deny with sha, state and the mending command"
test_unsigned if {
	found := control.deny with input as one(f.unsigned) with data.params as usual
	found == {{
		"msg": "commit c1 by @alice is not signed (UNSIGNED)",
		"commit": "c1",
		"who": "@alice",
		"fix": "git commit --amend --no-edit -S && git push --force-with-lease",
	}}
}

# "No signature, unknown key, bad or unverified e-mail, expired, revoked, malformed: deny"
test_every_other_state_is_a_deny if {
	states := {
		"UNSIGNED", "UNKNOWN_KEY", "UNKNOWN_SIG_TYPE", "BAD_EMAIL", "UNVERIFIED_EMAIL", "NO_USER", "EXPIRED_KEY", "NOT_SIGNING_KEY",
		"OCSP_REVOKED", "BAD_CERT", "MALFORMED_SIG", "INVALID", "SOMETHING_NEW", "",
	}
	missed := {name |
		some name in states
		count(denied(state(name), usual)) != 1
	}
	missed == set()
}

test_state_is_said if denied(state("UNKNOWN_KEY"), usual) == {"commit c1 by @alice has a signature that GitHub does not accept (UNKNOWN_KEY: the key is not in the account, add it there)"}

test_no_verification_at_all if {
	bare := object.remove(f.commit("c1", f.alice, {}), ["verification"])
	count(denied(f.pull({"commits": [bare]}), usual)) == 1
}

# "Transient states (…) are `pending` and judged again by itself."
test_transient if {
	missed := {name |
		some name in {"GPGVERIFY_UNAVAILABLE", "GPGVERIFY_ERROR", "OCSP_PENDING", "OCSP_ERROR"}
		pending(state(name), usual) != {sprintf("GitHub has not finished verifying commit c1 (%s)", [name])}
	}
	missed == set()
	denied(state("OCSP_PENDING"), usual) == set()
}

test_pending_names_who if {
	found := control.pending with input as state("OCSP_ERROR") with data.params as usual
	some finding in found
	finding.who == "nobody: gatelog looks again by itself"
	finding.commit == "c1"
}

# "Permission never replaces a signature": nothing about people is read.
test_author_without_account if {
	document := f.pull({"commits": [f.commit("c1", f.alice, {"author": f.person(null), "verification": f.unsigned})]})
	denied(document, usual) == {"commit c1 by an author without account is not signed (UNSIGNED)"}
}

two(first, second) := f.pull({
	"commits": [f.commit("c1", f.alice, {"verification": first}), f.commit("c2", f.bob, {"verification": second})],
	"pushes": [f.push(f.alice, null, "c2", ["c1", "c2"])],
})

# "Every commit of the pull request"
test_every_commit if {
	denied(two(f.unsigned, f.unsigned), usual) == {
		"2 of 2 commits are not verified",
		"commit c1 by @alice is not signed (UNSIGNED)",
		"commit c2 by @bob is not signed (UNSIGNED)",
	}
	denied(two(f.verified, f.unsigned), usual) == {"commit c2 by @bob is not signed (UNSIGNED)"}
}

# Signing anew with the same key would not help.
test_what_is_wrong_with_the_account_is_said_first if {
	some unknown in fixes(state("UNKNOWN_KEY"))
	startswith(unknown, "add the key to your account (Settings, SSH and GPG keys) and re-run this check; or sign with a key that your account has: git commit")
	some mail in fixes(state("BAD_EMAIL"))
	startswith(mail, "git config user.email <an e-mail of your key>, then: git commit")
}

fixes(document) := {finding.fix |
	some finding in found
} if {
	found := control.deny with input as document with data.params as usual
}

# Only the newest commit has to change: amend it. Else all are signed anew.
test_mending_command if {
	fixes(two(f.verified, f.unsigned)) == {"git commit --amend --no-edit -S && git push --force-with-lease"}
	fixes(two(f.unsigned, f.verified)) == {"git rebase --exec 'git commit --amend --no-edit -S' origin/main && git push --force-with-lease"}
	fixes(two(f.unsigned, f.unsigned)) == {"git rebase --exec 'git commit --amend --no-edit -S' origin/main && git push --force-with-lease"}
}

# A branch name must not carry shell commands into the command.
test_mending_command_with_an_odd_base if {
	base := "x;rm${IFS}-rf"
	odd := object.union(two(f.unsigned, f.unsigned), {"target": {"name": base}, "pull_request": {"base": {"ref": base}}})
	fixes(odd) == {"git rebase --exec 'git commit --amend --no-edit -S' base && git push --force-with-lease"}
	gone := object.union(odd, {"pull_request": {"base": {"sha": null}}})
	fixes(gone) == {"git rebase --root --exec 'git commit --amend --no-edit -S' && git push --force-with-lease"}
}

# "A commit list that lacks the head, is empty, or is shorter than `totalCount` is `error`."
test_list_not_whole if {
	errors(f.pull({"pull_request": {"commits": 2}}), usual) == {"1 of 2 commits were read"}
	"the list of commits lacks the head c9" in errors(f.pull({"pull_request": {"head": {"sha": "c9"}}}), usual)
	"the list of commits is empty" in errors(object.union(f.pull({}), {"commits": []}), usual)
	errors(object.remove(f.pull({}), ["pull_request"]), usual) == {"the pull request could not be read"}
	twice := f.pull({"commits": [f.commit("c1", f.alice, {}), f.commit("c1", f.alice, {})]})
	errors(twice, usual) == {"1 of 2 commits were read"}
}

many(n) := f.pull({
	"commits": [f.commit(sprintf("c%d", [i]), f.alice, {}) | some i in numbers.range(1, n)],
	"pushes": [],
})

# "Exactly 250 commits all read is fine"
test_250_commits if allowed(many(250), usual)

test_251_commits if errors(many(251), usual) == {"more than 250 commits: split the pull request"}

test_files_and_reviews_do_not_matter if allowed(object.remove(f.pull({"pull_request": {"changed_files": 9}}), ["reviews", "files"]), usual)

# --- GitHub's own signature

by_github := {"verified": true, "state": "VALID", "signed_by_github": true, "signer": f.web_flow}

web(parts) := f.pull({"commits": [f.commit("c1", f.alice, object.union({"committed_via_web": true, "verification": by_github}, parts))]})

# "`wasSignedByGitHub` is told apart from the author's own."
test_signed_by_github if {
	allowed(web({}), usual)
	denied(web({}), p({"allow_github_signed": false})) == {"commit c1 by @alice is signed by GitHub, not by its author"}
	allowed(one(f.verified), p({"allow_github_signed": false}))
}

test_signer_must_be_author if {
	strict := p({"signer_must_be_author": true})
	allowed(one(f.verified), strict)
	denied(one(object.union(f.verified, {"signer": f.bob})), strict) == {"commit c1 by @alice is signed by someone else than its author"}
	denied(one(object.union(f.verified, {"signer": null})), strict) == {"commit c1 by @alice is signed by someone else than its author"}
	allowed(one(object.union(f.verified, {"signer": f.bob})), usual)
	nobody := f.pull({"commits": [f.commit("c1", f.alice, {"author": f.person(null)})]})
	denied(nobody, strict) == {"commit c1 by an author without account is signed by someone else than its author"}
}

# Made in the web interface: GitHub knows whose session it was. A codespace pushes, with any author.
test_signer_must_be_author_on_the_web if {
	strict := p({"signer_must_be_author": true})
	allowed(web({}), strict)
	local := {"verification": {"signed_by_github": false, "signer": f.bob}}
	denied(web(local), strict) == {"commit c1 by @alice is signed by someone else than its author"}
	denied(web({"committed_via_web": false}), strict) == {"commit c1 by @alice is signed by someone else than its author"}
}

test_allowed_keys if {
	allowed(one(f.verified), p({"allowed_key_ids": ["aaaa1111bbbb2222"]}))
	denied(one(f.verified), p({"allowed_key_ids": ["CCCC"]})) == {"commit c1 by @alice is signed with a key that is not allowed (AAAA1111BBBB2222)"}
	denied(one(f.verified), p({"allowed_key_ids": []})) == {"commit c1 by @alice is signed with a key that is not allowed (AAAA1111BBBB2222)"}
	denied(one(object.union(f.verified, {"key_id": null})), p({"allowed_key_ids": ["CCCC"]})) == {"commit c1 by @alice is signed with a key that is not allowed (null)"}
}

test_ssh_fingerprints if {
	ssh := one(object.union(f.verified, {"key_id": "SHA256:Ab+c/1"}))
	allowed(ssh, p({"allowed_key_ids": ["Ab+c/1"]}))
	allowed(ssh, p({"allowed_key_ids": ["SHA256:Ab+c/1"]}))
	count(denied(ssh, p({"allowed_key_ids": ["SHA256:ab+c/1"]}))) == 1
}

# --- exempt_accounts

exempt := p({"exempt_accounts": ["renovate[bot]"]})

bot(pusher, parts) := f.pull({
	"commits": [f.commit("c1", f.renovate, object.union({"verification": f.unsigned}, parts))],
	"pushes": [f.push(pusher, null, "c1", ["c1"])],
})

# "hold only where the verified signer or the recorded pusher is that account"
test_exempt_where_it_pushed if {
	allowed(bot(f.renovate, {}), exempt)
	warned(bot(f.renovate, {}), exempt) == {"commit c1 by @renovate[bot] needs no signature: exempt_accounts"}
}

test_exemption_is_said_only_where_it_was_used if {
	signed := {"verification": {"verified": true, "state": "VALID", "signer": f.renovate}}
	warned(bot(f.renovate, signed), exempt) == set()
	warned(bot(f.bob, {}), exempt) == set()
}

test_exempt_name_borrowed if {
	denied(bot(f.bob, {}), exempt) == {"commit c1 by @renovate[bot] is not signed (UNSIGNED)"}
	denied(bot(null, {}), exempt) == {"commit c1 by @renovate[bot] is not signed (UNSIGNED)"}
}

test_exempt_pushed_someone_elses_commit if {
	count(denied(bot(f.renovate, {"author": f.person(f.bob)}), exempt)) == 1
	count(denied(bot(f.renovate, {"authors": [f.person(f.bob)]}), exempt)) == 1
}

test_exempt_where_it_signed if {
	signed := {"verification": {"verified": true, "state": "VALID", "signer": f.renovate, "key_id": "X"}}
	allowed(bot(f.bob, signed), p({"exempt_accounts": ["renovate[bot]"], "allowed_key_ids": []}))
}

test_exempt_only_if_named if count(denied(bot(f.renovate, {}), p({"exempt_accounts": ["renovate"]}))) == 1

test_exempt_without_pushes if {
	errors(object.remove(bot(f.renovate, {}), ["pushes"]), exempt) == {"who pushed could not be read"}
}

# --- Merge groups and pushes

test_merge_group_entry if {
	bad := f.change({"pull_request": {"number": 11}, "commits": [f.commit("c1", f.alice, {"verification": f.unsigned})]})
	denied(f.group([bad, f.change({})]), usual) == {"#11: commit c1 by @alice is not signed (UNSIGNED)"}
}

pushed_unsigned(parts) := f.pushed("main", object.union({"commits": [f.commit("p1", f.bob, {"verification": f.unsigned})]}, parts))

# "A rebase-merge lands commits without GitHub's signature: judged after the merge as they are."
test_push_unsigned if {
	landed := {"landed": {"kind": "rebase", "pull_requests": [{"number": 12, "head": "c1", "allowed": true, "verdict": 3}]}}
	denied(pushed_unsigned(landed), usual) == {"commit p1 by @bob is not signed (UNSIGNED)"}
}

older := {"commits": [f.commit("p1", f.bob, {"verification": f.verified}), f.commit("o1", f.bob, {"verification": f.unsigned})]}

test_push_mending_command if {
	fixes(f.pushed("main", older)) == {"git rebase --exec 'git commit --amend --no-edit -S' p0 && git push --force-with-lease"}
	fixes(f.pushed("main", object.union(older, {"before": null, "created": true}))) == {"git rebase --exec 'git commit --amend --no-edit -S' origin/main && git push --force-with-lease"}
}

test_push_by_the_exempt_account if {
	by_bot := {"commits": [f.commit("p1", f.renovate, {"verification": f.unsigned})], "pusher": f.renovate, "pusher_kind": "app"}
	allowed(f.pushed("main", by_bot), exempt)
	count(denied(f.pushed("main", object.union(by_bot, {"pusher": f.bob})), exempt)) == 1
	count(denied(f.pushed("main", object.union(by_bot, {"pusher": null})), exempt)) == 1
	count(denied(pushed_unsigned({"pusher": f.renovate}), exempt)) == 1
}

test_push_commits_not_read if {
	bare := f.pushed("main", {})
	errors(object.union(bare, {"push": {"commits": null}}), usual) == {"the commits of the push could not be read"}
	errors(f.pushed("main", {"commits": []}), usual) == {"the push names no commits: whether all are signed cannot be told"}
	errors(f.pushed("main", {"after": "p9"}), usual) == {"the list of commits lacks the head p9"}
}
