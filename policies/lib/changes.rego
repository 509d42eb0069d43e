# METADATA
# title: The pull requests to judge
# description: |
#   The pull request this is about, or every pull request of a merge group, each at its own head with the
#   parameters of the base branch; and whether what was read of it can be relied on.
package lib.changes

import data.lib.people

default about := "none"

about := input.about if is_string(input.about)

relevant if about in {"pull_request", "merge_group"}

# Each item is a pull request with its reviews, commits and files.
default listed := []

listed := [input] if {
	about == "pull_request"
	is_object(input.pull_request)
}

listed := input.merge_group.entries if {
	about == "merge_group"
	is_array(input.merge_group.entries)
}

# usable(facts): those of which these facts can be relied on, by their place in `listed`.
usable(facts) := {i: change |
	some i, change in listed
	count(problems(change, facts)) == 0
}

# trouble(facts): findings for a control's `error`.
trouble(facts) := absent | {msg |
	some change in listed
	some why in problems(change, facts)
	msg := concat("", [label(change), why])
}

absent contains "the pull request could not be read" if {
	about == "pull_request"
	count(listed) == 0
}

absent contains "the pull requests of the merge group could not be found" if {
	about == "merge_group"
	count(listed) == 0
}

# label(change): how findings begin, where several pull requests are judged.
label(change) := sprintf("#%d: ", [change.pull_request.number]) if {
	about == "merge_group"
	is_number(change.pull_request.number)
} else := ""

# GitHub caps lists and may leave out what it cannot read: a list that is not whole would hide a
# contributor or an unsigned commit.
problems(change, facts) := {"the pull request could not be read"} if {
	not is_change(change)
} else := {check.why |
	some fact in facts
	some check in checks(fact, change, change.pull_request)
	check.holds == false
}

is_change(change) if {
	is_object(change)
	is_object(object.get(change, "pull_request", null))
}

default target_name := ""

target_name := input.target.name if is_string(input.target.name)

checks("pull_request", _, pull) := [
	{"holds": is_string(object.get(pull, ["head", "sha"], null)), "why": "the head of the pull request is not known"},
	{"holds": object.get(pull, ["base", "ref"], null) == target_name, "why": "the base branch is not the one the parameters are for"},
]

checks("reviews", change, _) := [{"holds": is_array(object.get(change, "reviews", null)), "why": "the reviews were not read"}]

checks("checks", change, _) := [{"holds": is_array(object.get(change, "checks", null)), "why": "the checks were not read"}]

# Every workflow and action that changed and is still there.
checks("workflows", change, _) := [{"holds": count(unread) == 0, "why": sprintf("%d changed workflows were not read", [count(unread)])}] if {
	read := {file.path | some file in object.get(change, "workflows", [])}
	unread := {file.filename |
		some file in object.get(change, "files", [])
		file.status != "removed"
		regex.match(`^\.github/workflows/[^/]+\.ya?ml$|(^|/)action\.ya?ml$`, file.filename)
	} - read
}

checks("commit_messages", change, _) := [{"holds": count(bare) == 0, "why": sprintf("the messages of %d commits were not read", [count(bare)])}] if {
	bare := [commit |
		some commit in object.get(change, "commits", [])
		not is_string(object.get(commit, "full_message", null))
	]
}

checks("pushes", change, _) := [{"holds": is_array(object.get(change, "pushes", null)), "why": "who pushed was not read"}]

# A file moved away from a path changes that path.
checks("old_paths", change, _) := [{"holds": count(unread) == 0, "why": sprintf("the old paths of %d renamed files were not read", [count(unread)])}] if {
	unread := [file |
		some file in object.get(change, "files", [])
		file.status == "renamed"
		not is_string(object.get(file, "previous_filename", null))
	]
}

checks("files", change, pull) := [
	{"holds": is_array(files), "why": "the changed files were not read"},
	{"holds": size(files) == total, "why": sprintf("%d of %v changed files were read", [size(files), total])},
] if {
	files := object.get(change, "files", null)
	total := object.get(pull, "changed_files", null)
}

checks("commits", change, pull) := [
	{"holds": size(commits) > 0, "why": "the list of commits is empty"},
	{"holds": size(heads) > 0, "why": sprintf("the list of commits lacks the head %s", [people.short(head)])},
	{"holds": size(shas) == total, "why": sprintf("%d of %v commits were read", [size(shas), total])},
	{"holds": size(commits) <= 250, "why": "more than 250 commits: split the pull request"},
] if {
	commits := object.get(change, "commits", null)
	total := object.get(pull, "commits", null)
	head := object.get(pull, ["head", "sha"], null)
	shas := {commit.sha | is_array(commits); some commit in commits}
	heads := {sha | some sha in shas; sha == head}
}

# size(list): how many; none of what is not there.
size(list) := 0 if {
	is_null(list)
} else := count(list)

# paths(change): what it changes; a renamed file counts under its old path too.
paths(change) := {path |
	some file in change.files
	some path in [file.filename, object.get(file, "previous_filename", null)]
	is_string(path)
}
