# METADATA
# title: Bots and apps as authors
# description: Only named apps open pull requests, for the paths that are theirs and with nothing but their own commits; nobody's commit passes for an app's.
# custom:
#   id: CHG-13
#   severity: medium
#   owner: security
#   solution: Open the pull request as a person, or have the app named in the parameters.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.4]
#     pci: ["6.5.1", "6.5.4"]
#     nist: [CM-5, AU-10, IA-9]
#     slsa: [ORG_SOURCE_AUTHENTICATED_ACTORS]
#   facts: [pull_request, commits, files, old_paths, pushes, merge_group]
package controls.app_authors

import data.lib.changes
import data.lib.commits
import data.lib.optional
import data.lib.patterns
import data.lib.people

facts := {"pull_request", "commits", "files", "old_paths", "pushes"}

# apps: which, and for which paths; no paths: for all.
shape := {
	"": {"apps": "mappings", "only_own_commits": "boolean"},
	"apps": {"app": "login", "paths": "patterns"},
}

settings := optional.settings("app_authors")

judged := optional.judged("app_authors", shape, facts)

default applies := false

applies if optional.on("app_authors")

skip_reason := optional.why_not("app_authors")

needs := optional.needs("app_authors", facts)

error := optional.errors("app_authors", shape, facts)

named(app) := [item | some item in settings.apps; people.app_named([item.app], app)]

# A deleted account may have been an app's.
deny contains {
	"msg": sprintf("%swhoever opened it has no account any more", [changes.label(change)]),
	"who": "anyone with write permission",
	"fix": "open the pull request anew",
} if {
	some change in judged
	not is_object(object.get(change, ["pull_request", "user"], null))
}

deny contains {
	"msg": sprintf("%sthe app %s may not open pull requests here", [changes.label(change), people.mention(app)]),
	"who": "whoever maintains the policies",
	"fix": "name the app in the parameter app_authors.apps, or open the pull request as a person",
} if {
	some change in judged
	app := change.pull_request.user
	not_a_person(app)
	count(named(app)) == 0
}

not_a_person(account) if {
	is_object(account)
	not people.is_person(account)
}

deny contains {
	"msg": sprintf("%sthe app %s may not change %s", [changes.label(change), people.mention(app), people.list(found)]),
	"path": found[0],
	"who": "the author",
	"fix": "a person opens a pull request for it",
} if {
	some change in judged
	app := change.pull_request.user
	not_a_person(app)
	entries := named(app)
	count(entries) > 0
	found := sort({path | some path in changes.paths(change); not its_own(entries, path)})
	count(found) > 0
}

its_own(entries, _) if {
	some item in entries
	count(item.paths) == 0
}

its_own(entries, path) if {
	some item in entries
	patterns.any_matches(item.paths, path)
}

# Whoever can push to the branch of an app could hide a change behind its name.
deny contains {
	"msg": sprintf("%scommit %s is not provably by %s", [changes.label(change), people.short(commit.sha), people.mention(app)]),
	"commit": commit.sha,
	"who": "the author of the commit",
	"fix": "open a pull request of your own for it",
} if {
	settings.only_own_commits == true
	some change in judged
	app := change.pull_request.user
	not_a_person(app)
	some commit in change.commits
	not commit.update_merge == true
	pushers := commits.pushers(change, commit.sha)
	not commits.made_by(commit, [people.login(app)], pushers)
}

# Author and co-authors are claims of whoever pushed.
deny contains {
	"msg": sprintf("%scommit %s says it is by %s, and nothing proves it", [changes.label(change), people.short(commit.sha), people.mention(app)]),
	"commit": commit.sha,
	"who": "the author of the commit",
	"fix": "commit under your own name: git commit --amend --reset-author --no-edit",
} if {
	some change in judged
	some commit in change.commits
	app := commits.account_of(commit.author)
	people.is_app(app)
	pushers := commits.pushers(change, commit.sha)
	not commits.proved(commit, {app.id}, pushers)
	not commit.update_merge == true
}
