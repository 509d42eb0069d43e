package lib.commits_test

import data.lib.commits
import data.lib.fixtures_test as f

bots := ["renovate[bot]"]

by_bot := f.commit("c1", f.renovate, {"verification": f.unsigned})

test_accounts_leave_out_the_web if {
	commits.accounts(f.commit("c1", f.alice, {"committer": f.person(f.web_flow), "authors": [f.person(f.bob), f.person(null)]})) == [f.alice, f.bob]
}

# An e-mail without account is nobody, and nobody is not on the list.
test_made_by_needs_accounts if {
	not commits.made_by(f.commit("c1", f.renovate, {"authors": [f.person(null)]}), bots, [f.renovate])
	not commits.made_by(f.commit("c1", f.renovate, {"author": f.person(null)}), bots, [f.renovate])
	not commits.made_by(f.commit("c1", f.renovate, {"committer": f.person(null)}), bots, [f.renovate])
}

test_made_by_needs_a_proof if {
	commits.made_by(by_bot, bots, [f.renovate])
	commits.made_by(by_bot, bots, [f.renovate, f.renovate])
	not commits.made_by(by_bot, bots, [])
	not commits.made_by(by_bot, bots, [null])
	not commits.made_by(by_bot, bots, [f.renovate, null])
	not commits.made_by(by_bot, bots, [f.alice])
	not commits.made_by(by_bot, [], [f.renovate])
}

# Another account on the list is no proof for this one.
test_proof_is_of_the_account_itself if {
	other := {"id": 91, "login": "dependabot[bot]", "type": "Bot"}
	not commits.made_by(by_bot, ["renovate[bot]", "dependabot[bot]"], [other])
}

test_verified_in_both_ways if {
	commits.verified(f.commit("c1", f.alice, {}))
	not commits.verified(f.commit("c1", f.alice, {"verification": {"state": "UNKNOWN_KEY"}}))
	not commits.verified(f.commit("c1", f.alice, {"verification": {"verified": false}}))
	not commits.verified({})
}

test_pushers if {
	change := {"pushes": [f.push(f.alice, "c1", "c2", ["c2"]), f.push(null, null, "c1", ["c1", "c2"])]}
	commits.pushers(change, "c2") == [f.alice, null]
	commits.pushers(change, "c9") == []
	commits.pushers({}, "c1") == []
}
