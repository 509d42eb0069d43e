# METADATA
# title: Effective parameters
# description: |
#   What `data.params` says for one control, this repository and this branch, and whether it can be
#   used. Overlay: `defaults`, its matching `branches`, the repository, its matching `branches`.
package lib.params

import data.lib.patterns

# effective(control): the parameters of a control, merged. `problems` says whether they can be used.
effective(control) := object.union_n([part |
	some layer in layers
	part := layer[control]
	is_object(part)
])

# The branch that chooses parameters; a tag chooses none.
branch := input.target.name if input.target.ref_kind == "branch"

# Sections in the order in which they are laid over each other.
layers := array.concat(overlaid(defaults), overlaid(repository))

overlaid(section) := array.concat([section], [entry |
	some entry in branch_entries(section)
	patterns.matches(entry.pattern, branch)
])

branch_entries(section) := entries if {
	entries := section.branches
	is_array(entries)
} else := []

# has_branch_entry(name): some `branches` entry, of the defaults or of this repository, is for this branch.
has_branch_entry(name) if {
	some section in [defaults, repository]
	some entry in branch_entries(section)
	patterns.matches(entry.pattern, name)
}

default root := {}

root := data.params if is_object(data.params)

default defaults := {}

defaults := root.defaults if is_object(root.defaults)

default repositories := {}

repositories := root.repositories if is_object(root.repositories)

default repository_name := ""

repository_name := lower(input.repository.name) if is_string(input.repository.name)

repository_keys := [name |
	some name, _ in repositories
	lower(name) == repository_name
]

default repository := {}

repository := repositories[repository_keys[0]] if is_object(repositories[repository_keys[0]])

# problems(control, settings, shape): why the parameters cannot be used, each naming the parameter.
#
# `shape` maps the place of a mapping ("" for the parameters themselves, "rules.allow" for the mapping
# `allow` in each item of the list `rules`) to its keys and their types. A type that ends in `?` may be
# left out.
problems(control, settings, shape) := (structure | missing_keys(found)) | (unknown_keys(found) | wrong_types(found)) if {
	found := mappings(control, settings, shape)
}

mappings(control, settings, shape) := {mapping |
	walk(settings, [path, value])
	is_object(value)
	place := concat(".", [step | some step in path; is_string(step)])
	mapping := {"at": concat("", array.concat([control], [written(step) | some step in path])), "keys": value, "types": shape[place]}
}

written(step) := sprintf(".%s", [step]) if {
	is_string(step)
} else := sprintf("[%d]", [step])

missing_keys(found) := {msg |
	some mapping in found
	some key, type in mapping.types
	not endswith(type, "?")
	not key in object.keys(mapping.keys)
	msg := sprintf("parameter %s.%s is not set", [mapping.at, key])
}

unknown_keys(found) := {msg |
	some mapping in found
	some key, _ in mapping.keys
	not key in object.keys(mapping.types)
	msg := sprintf("parameter %s.%s is unknown", [mapping.at, key])
}

wrong_types(found) := {msg |
	some mapping in found
	some key, value in mapping.keys
	why := wrong(trim_suffix(mapping.types[key], "?"), value)
	msg := sprintf("parameter %s.%s %s", [mapping.at, key, why])
}

# wrong(type, value): what is wrong with it; undefined if nothing is.
wrong(type, value) := "must be true or false" if {
	type == "boolean"
	not is_boolean(value)
} else := "must be a whole number, 0 or more" if {
	type == "count"
	not is_count(value)
} else := "must be a mapping" if {
	type == "mapping"
	not is_object(value)
} else := "must be a list of mappings" if {
	type == "mappings"
	not all_of(value, "mapping")
} else := "must be a list of logins" if {
	type == "logins"
	not all_of(value, "login")
} else := "must be a login" if {
	type == "login"
	not is_a("login", value)
} else := "must be a list of logins and teams (org/team)" if {
	type == "people"
	not all_of(value, "reviewer")
} else := "must be a list of teams, each written org/team" if {
	type == "teams"
	not all_of(value, "team")
} else := "must be a list, not empty, of logins and teams (org/team)" if {
	type == "reviewers"
	not some_reviewers(value)
} else := "must be a text, not empty" if {
	type == "text"
	not is_a("text", value)
} else := "must be a list of windows, each with from, until (RFC 3339) and why" if {
	type == "windows"
	not all_of(value, "window")
} else := "must be a list of texts" if {
	type == "texts"
	not all_of(value, "text")
} else := "must be null or a list of key ids" if {
	type == "keys"
	value != null
	not all_of(value, "text")
} else := "must be write, maintain or admin" if {
	type == "permission"
	not value in {"write", "maintain", "admin"}
} else := "must be branch or tag" if {
	type == "ref_type"
	not value in {"branch", "tag"}
} else := "must be a list, not empty, of creations, updates, deletions, force_pushes" if {
	type == "restrictions"
	not some_restrictions(value)
} else := "must be a list of patterns" if {
	type == "patterns"
	not is_array(value)
} else := concat(" ", [sprintf("has a pattern (%v) that", [first]), patterns.problem(first)]) if {
	type == "patterns"
	bad := [pattern | some pattern in value; patterns.problem(pattern)]
	first := bad[0]
} else := patterns.problem(value) if {
	type == "pattern"
}

is_count(value) if {
	is_number(value)
	value >= 0
	floor(value) == value
}

all_of(value, type) if {
	is_array(value)
	bad := [item | some item in value; not is_a(type, item)]
	count(bad) == 0
}

is_a("mapping", item) if is_object(item)

is_a("text", item) if {
	is_string(item)
	item != ""
}

is_a("window", item) if {
	is_object(item)
	object.keys(item) == {"from", "until", "why"}
	is_string(item.why)
	every edge in [item.from, item.until] {
		is_string(edge)
		regex.match(time_form, edge)
	}
	time.parse_rfc3339_ns(item.from) < time.parse_rfc3339_ns(item.until)
}

is_a("login", item) if {
	is_string(item)
	regex.match(login_form, item)
}

is_a("team", item) if {
	is_string(item)
	regex.match(team_form, item)
}

is_a("reviewer", item) if {
	is_string(item)
	some form in [login_form, team_form]
	regex.match(form, item)
}

# A day that no month has would be an error of the engine, which blocks too.
time_form := `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`

login_form := `^[A-Za-z0-9][A-Za-z0-9_-]*(\[bot\])?$`

team_form := `^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+$`

some_reviewers(value) if {
	all_of(value, "reviewer")
	count(value) > 0
}

some_restrictions(value) if {
	all_of(value, "text")
	count(value) > 0
	odd := {item | some item in value} - {"creations", "updates", "deletions", "force_pushes"}
	count(odd) == 0
}

# What is wrong around the parameters: a misspelt section would otherwise silently not hold.
structure contains "params.defaults is missing" if count(defaults) == 0

structure contains sprintf("params.%s is unknown: there are `defaults` and `repositories`", [key]) if {
	some key, _ in root
	not key in {"defaults", "repositories"}
}

structure contains "params.repositories must be a mapping" if {
	"repositories" in object.keys(root)
	not is_object(root.repositories)
}

structure contains sprintf("params.repositories: `%s` is not written owner/name", [name]) if {
	some name, _ in repositories
	not regex.match(`^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$`, name)
}

structure contains sprintf("params.repositories has %s more than once", [repository_name]) if {
	count(repository_keys) > 1
}

structure contains sprintf("params.repositories.%s must be a mapping", [name]) if {
	some name in repository_keys
	not is_object(repositories[name])
}

structure contains "the branch is not known, so the parameters are not" if {
	not branchless
	not is_string(object.get(input, ["target", "name"], null))
}

# Events about no branch at all get the parameters of none.
branchless if input.about in {"none", "commit", "deployment", "workflow_run", "organization"}

sections := {"defaults": defaults, "repository": repository}

structure contains sprintf("params: `branches` of the %s must be a list of mappings", [where]) if {
	some where, section in sections
	"branches" in object.keys(section)
	not all_of(section.branches, "mapping")
}

structure contains sprintf("params: pattern of `branches` entry %d of the %s %s", [i, where, why]) if {
	some where, section in sections
	some i, entry in branch_entries(section)
	is_object(entry)
	why := patterns.problem(object.get(entry, "pattern", null))
}

# Every control has its defaults, so a section without any is a misspelt one.
structure contains sprintf("params: `%s` in the %s is no control that has defaults", [name, where]) if {
	some where, section in sections
	some name, _ in section
	not known_section(name)
}

structure contains sprintf("params: `%s` in `branches` of the %s is no control that has defaults", [name, where]) if {
	some where, section in sections
	some entry in branch_entries(section)
	is_object(entry)
	some name, _ in entry
	not name == "pattern"
	not known_control(name)
}

structure contains sprintf("params: `%s` of the %s must be a mapping", [name, where]) if {
	some where, section in sections
	some part in array.concat([section], branch_entries(section))
	is_object(part)
	some name, value in part
	known_control(name)
	not is_object(value)
}

known_section(name) if name == "branches"

known_section(name) if known_control(name)

known_control(name) if {
	name in object.keys(defaults)
	not name in {"branches", "pattern"}
}
