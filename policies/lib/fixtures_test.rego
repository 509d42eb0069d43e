# Small pull requests and pushes for the tests of all controls, and parameters that do not depend on
# data.yaml: whoever edits that file keeps these tests.
package lib.fixtures_test

alice := {"id": 1, "login": "alice", "type": "User"}

bob := {"id": 2, "login": "bob", "type": "User"}

carol := {"id": 3, "login": "carol", "type": "User"}

dave := {"id": 4, "login": "dave", "type": "User"}

renovate := {"id": 90, "login": "renovate[bot]", "type": "Bot"}

web_flow := {"id": 19864447, "login": "web-flow", "type": "User"}

verified := {"verified": true, "state": "VALID", "signed_by_github": false, "signer": alice, "key_id": "AAAA1111BBBB2222"}

unsigned := {"verified": false, "state": "UNSIGNED", "signed_by_github": false, "signer": null, "key_id": null}

person(account) := {"email": "x@example.com", "user": account}

# commit(sha, account, parts): by this account, signed by alice.
commit(sha, account, parts) := object.union(
	{
		"sha": sha,
		"message": "Change",
		"parents": ["base"],
		"author": person(account),
		"committer": person(account),
		"authors": [person(account)],
		"committed_via_web": false,
		"update_merge": false,
		"verification": verified,
	},
	parts,
)

# An "Update branch" that this account pressed.
update_merge(sha, account) := commit(sha, account, {
	"update_merge": true, "committed_via_web": true, "committer": person(web_flow),
	"verification": {"signed_by_github": true, "signer": web_flow},
})

review(account, state, parts) := object.union(
	{
		"id": 1,
		"state": state,
		"user": account,
		"commit_id": "c1",
		"submitted_at": "2026-11-20T12:00:00.000000Z",
		"can_push": true,
		"commits_since": [],
	},
	parts,
)

approval(account) := review(account, "APPROVED", {})

# An approval of `sha`, since when these commits came.
approval_of(account, sha, since) := review(account, "APPROVED", {"commit_id": sha, "commits_since": since})

push(account, before, after, shas) := {
	"before": before, "after": after, "user": account, "forced": false,
	"commits": shas, "source": "ledger",
}

file(name, parts) := object.union({"filename": name, "status": "modified", "additions": 1, "deletions": 0}, parts)

# change(parts): alice's pull request with one commit, c1. Numbers and head follow the lists.
change(parts) := object.union(whole, {"pull_request": {
	"head": {"sha": object.get(parts, ["pull_request", "head", "sha"], whole.commits[count(whole.commits) - 1].sha)},
	"commits": object.get(parts, ["pull_request", "commits"], count(whole.commits)),
	"changed_files": object.get(parts, ["pull_request", "changed_files"], count(whole.files)),
}}) if {
	whole := object.union(
		{
			"pull_request": {
				"number": 12,
				"title": "Pay twice",
				"state": "open",
				"draft": false,
				"merged": false,
				"user": alice,
				"head": {"ref": "alice/pay", "repo": {"id": 7, "full_name": "octo-org/payments"}},
				"base": {"ref": "main", "sha": "base", "repo": {"id": 7, "full_name": "octo-org/payments"}},
				"labels": [],
				"retarget": null,
			},
			"reviews": [],
			"commits": [commit("c1", alice, {})],
			"files": [file("src/main.rs", {})],
			"pushes": [push(alice, null, "c1", ["c1"])],
		},
		parts,
	)
}

around := {
	"event": {"name": "pull_request", "action": "synchronize", "source": "github"},
	"time": "2026-11-24T15:00:00.000000Z",
	"repository": {"id": 7, "name": "octo-org/payments", "default_branch": "main"},
	"target": {"ref_kind": "branch", "name": "main"},
	"facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:00:00.000000Z"},
}

pull(parts) := object.union_n([around, {"about": "pull_request"}, change(parts)])

reviewed(reviews) := pull({"reviews": reviews})

group(entries) := object.union(around, {
	"about": "merge_group",
	"event": {"name": "merge_group", "action": "checks_requested"},
	"merge_group": {"head_sha": "g1", "head_ref": "gh-readonly-queue/main/pr-12-base", "base_sha": "base", "base_ref": "main", "entries": entries},
})

# pushed(name, parts): bob updates this branch from p0 to p1.
pushed(name, parts) := object.union(around, {
	"about": "ref",
	"event": {"name": "push", "action": null},
	"target": {"ref_kind": "branch", "name": name},
	"push": object.union(
		{
			"ref": concat("", ["refs/heads/", name]),
			"ref_kind": "branch",
			"ref_name": name,
			"before": "p0",
			"after": "p1",
			"created": false,
			"deleted": false,
			"forced": false,
			"pusher_kind": "user",
			"pusher": bob,
			"commits": [commit("p1", bob, {})],
			"landed": {"kind": "direct", "pull_requests": [], "reason": null},
		},
		parts,
	),
})

tagged(name, parts) := object.union(pushed(name, parts), {
	"target": {"ref_kind": "tag", "name": name},
	"push": {"ref": concat("", ["refs/tags/", name]), "ref_kind": "tag"},
})

about_nothing := object.union(around, {"about": "workflow_run", "event": {"name": "workflow_run", "action": "completed"}})

defaults := {
	"required_reviews": {
		"required_approving_review_count": 1,
		"dismiss_stale_reviews_on_push": true,
		"ignore_update_merges": true,
		"ignore_commits_by": [],
		"require_last_push_approval": true,
		"require_code_owner_review": false,
		"required_reviewers": [],
		"approvers": {"users": [], "teams": [], "organizations": []},
		"minimum_permission": "write",
		"allow_author": false,
		"allow_contributor": false,
		"allow_non_author_contributor": false,
		"count_apps": [],
		"request_changes_blocks": true,
	},
	"signed_commits": {
		"required": true,
		"allow_github_signed": true,
		"signer_must_be_author": false,
		"allowed_key_ids": null,
		"exempt_accounts": [],
	},
	"restricted_branches": {"rules": [], "merge_from": []},
}

# params(control, parts): the defaults with these parameters of one control changed.
params(control, parts) := {"defaults": object.union(defaults, {control: parts}), "repositories": {}}

messages(findings) := {msg |
	some finding in findings
	msg := message(finding)
}

message(finding) := finding if {
	is_string(finding)
} else := finding.msg
