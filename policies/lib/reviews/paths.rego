# METADATA
# title: Approvals that changed paths need
# description: By their code owners, and by the reviewers that parameters name. Findings for required_reviews.
package lib.reviews.paths

import data.lib.changes
import data.lib.patterns
import data.lib.people
import data.lib.reviews.approvals
import data.lib.reviews.scope

settings := scope.settings

judged := scope.judged

valid := approvals.valid

# A renamed file counts under its old path too.
paths[i] := {path |
	some file in change.files
	some path in [file.filename, object.get(file, "previous_filename", null)]
	is_string(path)
} if {
	scope.paths_matter
	some i, change in judged
}

# CODEOWNERS lines that decide about changed paths, with these paths. A path that no line gives to anyone
# needs no owner.
owned_lines[i] := {line: found |
	some line in {owned.line | some owned in lines}
	found := [owned | some owned in lines; owned.line == line]
} if {
	settings.require_code_owner_review
	some i, change in judged
	lines := [owned | some file in change.files; some owned in file.owners]
}

deny contains {
	"msg": sprintf("%sno approval by a code owner of %s%s", [changes.label(judged[i]), paths_text(found), ignored_owners_text(i, found[0])]),
	"path": found[0].path,
	"who": approvals.among(i, owners),
	"fix": owners_fix(i, line, owners),
} if {
	some i, lines in owned_lines
	some line, found in lines
	owners := people.mentions(array.concat(found[0].users, found[0].teams))
	count(owners) > 0
	not bad_line(found[0])
	owners_approving := [review | some review in valid[i]; is_owner(found[0], review.user)]
	count(owners_approving) == 0
}

# What helps: an owner who may approve, or else another owner.
owners_fix(i, line, owners) := sprintf("one of %s approves the pull request at %s (line %d of CODEOWNERS on the base branch)", [people.list(owners), approvals.head(i), line]) if {
	count(approvals.able(i, owners)) > 0
} else := sprintf("name another owner in line %d of CODEOWNERS on the base branch: %s cannot approve this pull request", [line, people.list(owners)])

# Owners who approved, and why that does not count.
ignored_owners_text(i, owned) := sprintf(" (ignored: %s)", [concat("; ", names)]) if {
	names := sort([text | some text in ignored_owners(i, owned)])
	count(names) > 0
} else := ""

ignored_owners(i, owned) := {sprintf("%s, %s", [people.mention(account), reason]) |
	some id, reason in approvals.ignored[i]
	account := approvals.opinions[i][id].user
	owns(owned, account)
} | {sprintf("%s, whose team has no write permission", [people.mention(review.user)]) |
	some review in valid[i]
	not is_owner(owned, review.user)
	owns(owned, review.user)
}

owns(owned, account) if people.named(owned.users, account)

owns(owned, account) if {
	some team in owned.teams
	people.in_team(team, account)
}

is_owner(owned, account) if people.named(owned.users, account)

is_owner(owned, account) if {
	some team in owned.teams
	people.in_writing_team(team, account)
}

error contains {
	"msg": sprintf("%sline %d of CODEOWNERS, which owns %s, cannot be used: %s", [changes.label(judged[i]), line, paths_text(found), found[0].error]),
	"path": found[0].path,
	"who": "whoever maintains CODEOWNERS",
	"fix": sprintf("correct line %d of CODEOWNERS on the base branch", [line]),
} if {
	some i, lines in owned_lines
	some line, found in lines
	bad_line(found[0])
}

bad_line(owned) if is_string(object.get(owned, "error", null))

paths_text(found) := found[0].path if {
	count(found) == 1
} else := sprintf("%s and %d more", [found[0].path, count(found) - 1])

warn contains {
	"msg": sprintf("%sno CODEOWNERS file on the base branch: nothing is owned", [changes.label(change)]),
	"who": "whoever maintains the repository",
} if {
	settings.require_code_owner_review
	some change in judged
	not is_string(object.get(change.codeowners, "path", null))
}

warn contains {
	"msg": sprintf("%sline %d of CODEOWNERS owns nothing: %s", [changes.label(change), bad.line, bad.message]),
	"path": change.codeowners.path,
	"line": bad.line,
	"who": "whoever maintains CODEOWNERS",
} if {
	settings.require_code_owner_review
	some change in judged
	some bad in object.get(change.codeowners, "errors", [])
}

warn contains {"msg": sprintf("team %s, a code owner, has no write permission: its approvals do not count", [name]), "who": "whoever maintains the repository"} if {
	some lines in owned_lines
	some found in lines
	some name in found[0].teams
	not people.team_writes(name)
}

# Entries of required_reviewers that are for this pull request. No pattern: for every one. One approval may
# satisfy several entries; each entry needs its number of different people.
deny contains {
	"msg": sprintf("%s%d of %d approvals by %s%s%s", [changes.label(change), have, entry.minimum_approvals, people.list(names), why_text(hits), others_text(i, entry)]),
	"who": approvals.among(i, names),
	"fix": reviewers_fix(i, names),
} if {
	some i, change in judged
	some k, entry in settings.required_reviewers
	hits := object.get(matched[k], i, [])
	wanted(entry, hits)
	have := count([review | some review in valid[i]; is_reviewer(entry, review.user)])
	have < entry.minimum_approvals
	names := people.mentions(entry.reviewers)
}

reviewers_fix(i, names) := sprintf("%s approves the pull request at %s", [approvals.among(i, names), approvals.head(i)]) if {
	count(approvals.able(i, names)) > 0
} else := sprintf("name someone beside %s in the parameter required_reviewers", [people.list(names)])

wanted(entry, _) if count(object.get(entry, "file_patterns", [])) == 0

wanted(_, hits) if count(hits) > 0

# matched[k][i]: paths of a pull request that entry k of required_reviewers is for.
matched[k] := {i: hits |
	some i, changed in paths
	hits := [path |
		some path in changed
		some expression in expressions
		regex.match(expression, path)
	]
} if {
	some k, entry in settings.required_reviewers
	expressions := patterns.compiled(object.get(entry, "file_patterns", []))
}

is_reviewer(entry, account) if people.named(entry.reviewers, account)

is_reviewer(entry, account) if {
	some name in entry.reviewers
	people.is_team(name)
	people.in_writing_team(name, account)
}

why_text(hits) := "" if {
	count(hits) == 0
} else := sprintf(" because %s changed", [hits[0]])

others_text(i, entry) := sprintf(" (ignored: %s)", [concat("; ", texts)]) if {
	others := [review.user | some review in valid[i]; not is_reviewer(entry, review.user)]
	powerless := sort([people.mention(account) | some account in others; in_named_team(entry, account)])
	strangers := sort([people.mention(account) | some account in others; not in_named_team(entry, account)])
	texts := array.concat(
		[sprintf("%s, whose team has no write permission", [people.list(powerless)]) | count(powerless) > 0],
		[sprintf("%s, not in the required team", [people.list(strangers)]) | count(strangers) > 0],
	)
	count(texts) > 0
} else := ""

in_named_team(entry, account) if {
	some name in entry.reviewers
	people.is_team(name)
	people.in_team(name, account)
}

warn contains {"msg": sprintf("team %s, a required reviewer, has no write permission: its approvals do not count", [name]), "who": "whoever maintains the repository"} if {
	count(judged) > 0
	some entry in settings.required_reviewers
	some name in entry.reviewers
	people.is_team(name)
	not people.team_writes(name)
}
