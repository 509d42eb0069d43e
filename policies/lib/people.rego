# METADATA
# title: People, apps and teams
# description: |
#   The id is the identity of an account; a login is compared whole and without case. A deleted account
#   (null) equals nobody, not even another deleted one. The account of an app ends in `[bot]`: `renovate`
#   and `renovate[bot]` are two accounts.
package lib.people

# login(account): in lower case, an app's with `[bot]`.
login(account) := concat("", [lower(account.login), "[bot]"]) if {
	account.type == "Bot"
	not endswith(account.login, "[bot]")
} else := lower(account.login)

# mention(account): how a person is named in a finding.
mention(account) := sprintf("@%s", [account.login]) if {
	is_object(account)
	is_string(account.login)
} else := "a deleted account"

same(a, b) if {
	is_object(a)
	is_object(b)
	a.id == b.id
}

# named(logins, account): the account is one of these logins.
named(logins, account) if {
	is_object(account)
	mine := login(account)
	some entry in logins
	lower(entry) == mine
}

# app_named(slugs, account): the account belongs to one of these apps. `x` and `x[bot]` both name the app x.
app_named(slugs, account) if {
	is_app(account)
	mine := login(account)
	some slug in slugs
	concat("", [trim_suffix(lower(slug), "[bot]"), "[bot]"]) == mine
}

is_app(account) if {
	is_object(account)
	endswith(login(account), "[bot]")
}

is_person(account) if {
	is_object(account)
	account.type == "User"
	not is_app(account)
}

# Commits that GitHub's web interface makes have this account as committer.
is_web_flow(account) if {
	is_object(account)
	lower(account.login) == "web-flow"
}

is_team(name) if contains(name, "/")

# team(name): its members and right; undefined if it was not read.
team(name) := found if {
	found := input.teams[lower(name)]
	is_array(found.members)
}

in_team(name, account) if {
	is_object(account)
	account.id in team(name).members
}

# in_writing_team(name, account): as in_team, and the team has write access to the repository.
in_writing_team(name, account) if {
	in_team(name, account)
	team_writes(name)
}

team_writes(name) if team(name).can_write == true

# organization(name): ids of the reviewers who are members; undefined if it was not read.
organization(name) := members if {
	members := input.organizations[lower(name)]
	is_array(members)
}

in_organization(name, account) if {
	is_object(account)
	account.id in organization(name)
}

unread_teams(names) := {name |
	some name in names
	not team(name)
}

unread_organizations(names) := {name |
	some name in names
	not organization(name)
}

# list(names): `@a, @b and 3 more`, in the order given.
list(names) := concat(", ", names) if {
	count(names) <= 8
} else := sprintf("%s and %d more", [concat(", ", array.slice(names, 0, 8)), count(names) - 8])

mentions(names) := [sprintf("@%s", [name]) | some name in names]

# short(sha): as people write it.
short(sha) := substring(sha, 0, 7) if {
	is_string(sha)
} else := "an unknown commit"
