package lib.people_test

import data.lib.fixtures_test as f
import data.lib.people

# "Identity is the account id"
test_same_by_id if people.same({"id": 1, "login": "alice", "type": "User"}, {"id": 1, "login": "Alice-New", "type": "User"})

test_other_id_is_another_account if not people.same({"id": 1, "login": "a", "type": "User"}, {"id": 2, "login": "a", "type": "User"})

# "equals nobody (two ghosts are not two people)"
test_ghost_equals_nobody if {
	not people.same(null, null)
	not people.same(null, f.alice)
	not people.named(["alice"], null)
	not people.is_person(null)
}

# "logins compare without case; a login is looked up exactly (`ivan` is not `ivan-admin`)"
test_login_whole_without_case if {
	ivan := {"id": 9, "login": "Ivan", "type": "User"}
	people.named(["iVAN"], ivan)
	not people.named(["ivan-admin"], ivan)
	not people.named(["iva"], ivan)
}

# "A Bot and a User of the same plain login are two accounts"
test_bot_and_user_differ if {
	people.named(["renovate[bot]"], f.renovate)
	graphql_bot := {"id": 90, "login": "renovate", "type": "Bot"}
	people.named(["renovate[bot]"], graphql_bot)
	not people.named(["renovate"], f.renovate)
	not people.named(["renovate"], graphql_bot)
	user := {"id": 5, "login": "renovate", "type": "User"}
	not people.named(["renovate[bot]"], user)
}

test_app_by_slug if {
	people.app_named(["renovate"], f.renovate)
	people.app_named(["Renovate[bot]"], f.renovate)
	not people.app_named(["renov"], f.renovate)
	not people.app_named(["renovate"], {"id": 5, "login": "renovate", "type": "User"})
}

test_person_is_a_user if {
	people.is_person(f.alice)
	not people.is_person(f.renovate)
	not people.is_person({"id": 5, "login": "old", "type": "Mannequin"})
	not people.is_person({"id": 90, "login": "renovate[bot]", "type": "User"})
}

test_team_membership if {
	teams := {"octo-org/pay": {"id": 1, "members": [2], "can_write": true}, "octo-org/read": {"id": 2, "members": [2], "can_write": false}}
	people.in_team("Octo-Org/Pay", f.bob) with input.teams as teams
	not people.in_team("octo-org/pay", f.carol) with input.teams as teams
	people.in_writing_team("octo-org/pay", f.bob) with input.teams as teams
	people.in_team("octo-org/read", f.bob) with input.teams as teams
	not people.in_writing_team("octo-org/read", f.bob) with input.teams as teams
	people.unread_teams(["octo-org/pay", "octo-org/gone"]) == {"octo-org/gone"} with input.teams as teams
	not people.in_team("octo-org/pay", null) with input.teams as teams
}

test_organization_membership if {
	people.in_organization("Octo-Org", f.bob) with input.organizations as {"octo-org": [2]}
	not people.in_organization("octo-org", f.carol) with input.organizations as {"octo-org": [2]}
	people.unread_organizations(["octo-org", "other"]) == {"other"} with input.organizations as {"octo-org": [2]}
}

test_words if {
	people.mention(f.alice) == "@alice"
	people.mention(null) == "a deleted account"
	people.short("0123456789abcdef") == "0123456"
	people.short(null) == "an unknown commit"
	people.list(["a", "b"]) == "a, b"
	people.list(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]) == "a, b, c, d, e, f, g, h and 2 more"
}
