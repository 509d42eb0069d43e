package controls.deployments_test

import data.controls.deployments as control
import data.lib.fixtures_test as f

params(parts) := f.params("deployments", {"enabled": true, "environments": [object.union(
	{"environment": "prod*", "branches": ["main", "release/*"], "on_default_branch": true, "require_allowed": true, "separate_deployer": true, "deployers": []},
	parts,
)]})

# Bob deploys what alice wrote.
asked(parts) := object.union(
	{
		"about": "none",
		"event": {"name": "deployment_protection_rule", "action": "requested", "payload": {
			"environment": "production",
			"deployment": {"id": 5, "sha": "m1", "ref": "main", "creator": f.bob},
			"sender": f.bob,
		}},
		"time": "2026-11-24T15:00:00.000000Z",
		"repository": {"id": 7, "name": "octo-org/payments", "default_branch": "main"},
		"facts": {"complete": true, "missing": [], "fetched_at": "2026-11-24T15:00:00.000000Z"},
		"deployment": {
			"sha": "m1", "on_default_branch": true, "on_named_branch": true, "commit": f.commit("m1", f.alice, {}),
			"pull_requests": [pull({})], "landed": [landing({})], "pushers": [],
		},
	},
	parts,
)

pull(parts) := object.union(
	{
		"number": 12, "head": "c1", "user": f.alice, "merged_by": f.bob, "authors": [f.alice], "nameless": [],
		"pushers": [f.alice], "allowed": true,
	},
	parts,
)

landing(parts) := object.union({"branch": "main", "kind": "squash", "allowed": true, "verdict": 9, "reason": null}, parts)

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

payload(parts) := asked({"event": {"payload": parts}})

test_allowed_and_sent_by_another if denied(asked({}), params({})) == set()

test_another_branch[ref] if {
	some ref in ["topic", "release/1/2", "refs/heads/topic", "refs/tags/main", "refs/heads/refs/heads/main"]
	found := denied(payload({"deployment": {"ref": ref}}), params({}))
	count(found) == 1
	denied(payload({"deployment": {"ref": ref}}), params({"branches": []})) == set()
}

test_a_pull_request_is_no_branch[name] if {
	some name, parts in {"merged first": {"require_allowed": false}, "allowed": {"on_default_branch": false}}
	document := payload({"deployment": {"ref": "refs/pull/1/merge"}})
	denied(document, params({})) == {"refs/pull/1/merge may not be deployed to production"}
	denied(document, params(object.union({"branches": []}, parts))) == {"the pull request refs/pull/1/merge may not be deployed to production"}
	denied(document, params({"branches": [], "require_allowed": false, "on_default_branch": false})) == set()
}

test_a_name_is_not_the_branch_of_that_name[value] if {
	some value in [false, null]
	denied(asked({"deployment": {"on_named_branch": value}}), params({})) == {"m1, which is to be deployed to production, is not on a branch main"}
	denied(asked({"deployment": {"on_named_branch": value}}), params({"branches": []})) == set()
}

test_a_branch_named_whole if denied(payload({"deployment": {"ref": "refs/heads/release/1"}}), params({})) == set()

test_no_branch_named if denied(payload({"deployment": {"ref": null}}), params({})) == {"what is named nowhere may not be deployed to production"}

test_a_commit_from_elsewhere[value] if {
	some value in [false, null]
	denied(asked({"deployment": {"on_default_branch": value}}), params({})) == {"m1, which is to be deployed to production, is not on the default branch"}
	denied(asked({"deployment": {"on_default_branch": value}}), params({"on_default_branch": false})) == set()
}

test_not_by_an_allowed_pull_request[name] if {
	some name, landed in {
		"no landing": [],
		"by hand": [landing({"kind": "direct", "allowed": false})],
		"one not allowed": [landing({"kind": "bypass", "allowed": false})],
		"merged, and the push denied": [landing({"allowed": false})],
		"not known": [landing({"allowed": null})],
		"into another branch": [landing({"branch": "topic"})],
	}
	document := asked({"deployment": {"landed": landed}})
	denied(document, params({})) == {"m1, which is to be deployed to production, did not come by a pull request that was allowed"}
	denied(document, params({"require_allowed": false})) == set()
}

test_a_pull_request_alone_proves_nothing if {
	pulls := [pull({"allowed": true})]
	count(denied(asked({"deployment": {"pull_requests": pulls, "landed": []}}), params({}))) == 1
}

test_into_one_of_the_branches if {
	on_release := [landing({"branch": "release/1"})]
	denied(asked({"deployment": {"landed": on_release}}), params({})) == set()
	count(denied(asked({"deployment": {"landed": on_release}}), params({"branches": []}))) == 1
	count(denied(asked({"deployment": {"landed": on_release}}), params({"branches": ["main"]}))) == 1
}

from_release(landed) := asked({
	"event": {"payload": {"deployment": {"ref": "release/1"}}},
	"deployment": {"on_default_branch": true, "on_named_branch": true, "landed": landed},
})

# What was allowed on main was judged by what main asks for, and pushed to the release branch by hand.
test_a_landing_elsewhere_opens_no_environment[name] if {
	by_hand := landing({"branch": "release/1", "kind": "direct", "allowed": false, "reason": "nobody opened a pull request"})
	some name, landed in {
		"pushed by hand": [landing({}), by_hand],
		"nothing known of the branch": [landing({})],
	}
	only_release := params({"branches": ["release/*"], "on_default_branch": false})
	found := denied(from_release(landed), only_release)
	count(found) == 1
	some msg in found
	startswith(msg, "m1, which is to be deployed to production, did not come by a pull request that was allowed")
}

test_a_landing_on_a_branch_that_the_rule_asks_for[name] if {
	on_release := landing({"branch": "release/1"})
	some name, given in {
		"the branch itself": [[on_release], {"branches": ["release/*"], "on_default_branch": false}],
		"another that is named": [[landing({})], {"branches": ["main", "release/*"], "on_default_branch": false}],
		"cut from the default branch": [[landing({})], {"branches": ["release/*"], "on_default_branch": true}],
		"no branch is named": [[landing({})], {"branches": [], "on_default_branch": false}],
	}
	denied(from_release(given[0]), params(given[1])) == set()
}

# It is not decided what a branch that does not count brings.
test_what_does_not_count_is_not_waited_for if {
	document := from_release([landing({"kind": "unknown", "allowed": false})])
	given := params({"branches": ["release/*"], "on_default_branch": false})
	count(denied(document, given)) == 1
}

test_why_it_was_not_allowed_is_said if {
	landed := [landing({"kind": "direct", "allowed": false, "reason": "a force push is not a merge"})]
	denied(asked({"deployment": {"landed": landed}}), params({})) == {"m1, which is to be deployed to production, did not come by a pull request that was allowed: a force push is not a merge"}
}

test_not_decided_yet_is_an_error if {
	document := asked({"deployment": {"landed": [landing({"kind": "unknown", "allowed": false})]}})
	count(control.error) == 1 with input as document with data.params as params({})
	count(control.deny) == 0 with input as document with data.params as params({})
	elsewhere := asked({"deployment": {"landed": [landing({"branch": "topic", "kind": "unknown", "allowed": false})]}})
	count(control.error) == 0 with input as elsewhere with data.params as params({})
	count(control.deny) == 1 with input as elsewhere with data.params as params({})
}

test_who_wrote_it_may_not_send_it[name] if {
	by_alice := {"sender": f.alice, "deployment": {"creator": f.alice}}
	some name, document in {
		"author of the commit": payload(by_alice),
		"who only created the deployment": payload({"deployment": {"creator": f.alice}}),
		"who only started it": payload({"sender": f.alice}),
		"author of a commit of the pull request": asked({"deployment": {"pull_requests": [pull({"authors": [f.bob]})]}}),
		"who opened the pull request": asked({"deployment": {"pull_requests": [pull({"user": f.bob, "authors": [], "pushers": []})]}}),
		"who pushed to the pull request": asked({"deployment": {"pull_requests": [pull({"pushers": [f.alice, f.bob]})]}}),
		"who pushed it": asked({"deployment": {"pushers": [f.bob]}}),
	}
	found := denied(document, params({}))
	count(found) == 1
	some msg in found
	endswith(msg, " wrote what is to be deployed to production")
	denied(document, params({"separate_deployer": false})) == set()
}

test_somebody_unknown_may_be_who_sends_it[name] if {
	some name, parts in {
		"a commit of the pull request": {"pull_requests": [pull({"nameless": ["c1"]})]},
		"a push to the pull request": {"pull_requests": [pull({"pushers": [f.alice, null]})]},
		"a push of it": {"pushers": [null]},
		"its author": {"commit": object.union(f.commit("m1", f.alice, {}), {"author": {"user": null}})},
		"one of its authors": {"commit": object.union(f.commit("m1", f.alice, {}), {"authors": [f.person(f.alice), {"user": null}]})},
		"its committer": {"commit": object.union(f.commit("m1", f.alice, {}), {"committer": {"user": null}})},
	}
	found := denied(asked({"deployment": parts}), params({}))
	count(found) == 1
	some msg in found
	startswith(msg, "it is not known who ")
	denied(asked({"deployment": parts}), params({"separate_deployer": false})) == set()
}

test_the_committer_of_what_github_made_is_nobody if {
	squash := object.union(f.commit("m1", f.alice, {"committed_via_web": true}), {"committer": {"user": null}})
	denied(asked({"deployment": {"commit": squash}}), params({})) == set()
}

test_who_pressed_the_button_did_not_write_it if {
	merge := object.union(f.update_merge("m1", f.bob), {"parents": ["m0", "c1"]})
	denied(asked({"deployment": {"commit": merge}}), params({})) == set()
	parts := [{"parents": ["m0"]}, {"committed_via_web": false}, {"verification": {"signed_by_github": false}}, {"verification": {"verified": false}}]
	every part in parts {
		found := denied(asked({"deployment": {"commit": object.union(merge, part)}}), params({}))
		count(found) == 1
	}
	alone := asked({"deployment": {"commit": merge, "pull_requests": []}})
	count(denied(alone, params({"require_allowed": false}))) == 1
}

test_nobody_known_sends_it if {
	by_bot := payload({"sender": f.renovate, "deployment": {"creator": null}})
	denied(by_bot, params({})) == {"it is not known who deploys to production"}
	denied(by_bot, params({"separate_deployer": false})) == set()
}

test_who_may_deploy if {
	denied(asked({}), params({"deployers": ["Bob"]})) == set()
	denied(asked({}), params({"deployers": ["carol"]})) == {"@bob may not deploy to production"}
	denied(payload({"sender": null}), params({"deployers": ["carol"]})) == {"a deleted account may not deploy to production"}
}

allowing_others(value) := object.union(params({}), {"defaults": {"deployments": {"allow_other_environments": value}}})

test_an_environment_without_a_rule_is_closed if {
	staging := payload({"environment": "staging"})
	denied(staging, params({})) == {"no rule is for the environment staging"}
	denied(staging, allowing_others(false)) == {"no rule is for the environment staging"}
	count(control.needs) == 0 with input as staging with data.params as params({})
}

test_unless_it_is_said_to_be_open if {
	staging := object.remove(payload({"environment": "staging"}), ["deployment"])
	denied(staging, allowing_others(true)) == set()
	count(denied(payload({"deployment": {"ref": "topic"}}), allowing_others(true))) == 1
	count(control.error) > 0 with input as staging with data.params as allowing_others("yes")
}

test_case_and_slashes_of_an_environment[name] if {
	some name in ["Production", "PROD", "prod/eu", "Prod/EU/1"]
	found := denied(payload({"environment": name, "deployment": {"ref": "topic"}}), params({}))
	found == {sprintf("topic may not be deployed to %s", [name])}
}

test_other_events_are_not_meant if {
	not control.applies with input as f.pull({}) with data.params as params({})
	contains(control.skip_reason, "not the question") with input as f.pull({}) with data.params as params({})
}

test_what_was_not_read_is_an_error[name] if {
	some name, document in {
		"nothing": object.remove(asked({}), ["deployment"]),
		"of another commit": asked({"deployment": {"sha": "m0"}}),
		"no commit": asked({"deployment": {"commit": null}}),
		"a commit of nobody": asked({"deployment": {"commit": {"author": null}}}),
		"a commit that nobody made": asked({"deployment": {"commit": {"committer": null}}}),
		"a commit without its other authors": asked({"deployment": {"commit": {"authors": null}}}),
		"a commit without parents": asked({"deployment": {"commit": {"parents": null}}}),
		"no pull requests": asked({"deployment": {"pull_requests": null}}),
		"no landings": asked({"deployment": {"landed": null}}),
		"no pushers": asked({"deployment": {"pushers": null}}),
		"a pull request without pushers": asked({"deployment": {"pull_requests": [pull({"pushers": null})]}}),
		"a pull request without authors": asked({"deployment": {"pull_requests": [pull({"nameless": null})]}}),
		"no environment": payload({"environment": null}),
		"no sha": payload({"deployment": {"sha": null}}),
	}
	count(control.error) > 0 with input as document with data.params as params({})
}

test_wrong_parameters_are_an_error[name] if {
	some name, parts in {"pattern": {"environment": ""}, "case": {"environment": "[A-_]"}, "branches": {"branches": "main"}, "unknown": {"branch": []}}
	control.applies with input as payload({"environment": "staging"}) with data.params as params(parts)
	count(control.error) > 0 with input as payload({"environment": "staging"}) with data.params as params(parts)
	count(control.deny) == 0 with input as asked({}) with data.params as params(parts)
}

test_it_is_off_until_switched_on if {
	off := f.params("deployments", {"enabled": false, "environments": []})
	not control.applies with input as asked({}) with data.params as off
	count(control.needs) == 0 with input as asked({}) with data.params as off
	count(control.error) == 0 with input as asked({}) with data.params as off
	contains(control.skip_reason, "not switched on") with input as asked({}) with data.params as off
	{"fact": "deployment"} in control.needs with input as asked({}) with data.params as params({})
}
