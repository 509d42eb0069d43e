# METADATA
# title: Sign-off
# description: Every commit carries the Signed-off-by line of its author, who thereby certifies the Developer Certificate of Origin.
# custom:
#   id: CHG-04
#   severity: low
#   owner: legal
#   solution: Commit with --signoff; git rebase --signoff mends what is there.
#   frameworks:
#     soc2: [CC8.1]
#     iso27001: [A.8.32, A.5.32]
#     pci: ["6.5.1"]
#     nist: [CM-3, AU-10]
#   facts: [pull_request, commits, commit_messages, pushes, merge_group]
package controls.sign_off

import data.lib.changes
import data.lib.commits
import data.lib.optional
import data.lib.people

facts := {"pull_request", "commits", "commit_messages"} | pushes

# Who pushed matters only for exceptions.
pushes := {"pushes"} if {
	exempt := object.get(settings, "exempt_accounts", [])
	is_array(exempt)
	count(exempt) > 0
} else := set()

shape := {"allow_merges": "boolean", "exempt_accounts": "logins"}

settings := optional.settings("sign_off")

judged := optional.judged("sign_off", shape, facts)

default applies := false

applies if optional.on("sign_off")

skip_reason := optional.why_not("sign_off")

needs := optional.needs("sign_off", facts)

error := optional.errors("sign_off", shape, facts)

deny contains {
	"msg": sprintf("%scommit %s is not signed off by its author%s", [changes.label(change), people.short(commit.sha), others(commit)]),
	"commit": commit.sha,
	"who": "the author of the commit",
	"fix": sprintf("git rebase --signoff HEAD~%d, and push with --force-with-lease", [count(change.commits)]),
} if {
	some change in judged
	some commit in change.commits
	not signed_off(commit)
	not let_through(change, commit)
}

# Lines as `git commit --signoff` writes them: [all, e-mail].
lines(commit) := regex.find_all_string_submatch_n(`(?im)^Signed-off-by: [^<\n]+<([^<>\n]+)>[ \t\r]*$`, commit.full_message, -1)

signed_off(commit) if {
	is_string(commit.author.email)
	some line in lines(commit)
	lower(line[1]) == lower(commit.author.email)
}

others(commit) := sprintf(" (%s)", [commit.author.email]) if {
	is_string(commit.author.email)
	count(lines(commit)) > 0
} else := ""

# A merge brings no work of its own, if it is GitHub's clean update from the base.
let_through(_, commit) if {
	settings.allow_merges
	commit.update_merge == true
}

let_through(change, commit) if {
	count(settings.exempt_accounts) > 0
	pushers := commits.pushers(change, commit.sha)
	commits.made_by(commit, settings.exempt_accounts, pushers)
}
