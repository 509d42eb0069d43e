# METADATA
# title: Patterns for branches, tags and paths
# description: |
#   GitHub's fnmatch (FNM_PATHNAME): the whole name is matched, letters are case-sensitive, `*` and `?`
#   stop at `/`, `**/` is any number of folders including none, a trailing `/**` is everything below,
#   `[a-z]` and `[!a-z]` are one character, `\` takes the next character as it is. A leading dot is a
#   character like any other. A pattern that could never match, and so would protect nothing without
#   anybody noticing, is refused: see `problem`.
package lib.patterns

# matches(pattern, name): the name, without refs/heads/ or refs/tags/, is matched whole.
matches(pattern, name) if {
	is_string(pattern)
	is_string(name)
	plain := strip_ref(pattern)
	count(faults(plain)) == 0
	regex.match(to_regex(plain), name)
}

# compiled(patterns): regular expressions, for many names.
compiled(patterns) := [to_regex(plain) |
	some pattern in patterns
	is_string(pattern)
	plain := strip_ref(pattern)
	count(faults(plain)) == 0
]

any_matches(patterns, name) if {
	some pattern in patterns
	matches(pattern, name)
}

# strip_ref(name): without refs/heads/ or refs/tags/, taken away once.
strip_ref(name) := trim_prefix(name, "refs/heads/") if {
	startswith(name, "refs/heads/")
} else := trim_prefix(name, "refs/tags/") if {
	startswith(name, "refs/tags/")
} else := name

# problem(pattern): why it cannot be used; undefined for a good one.
problem(pattern) := "must be text" if {
	not is_string(pattern)
} else := "is empty" if {
	pattern == ""
} else := concat("; ", found) if {
	found := sort(faults(strip_ref(pattern)))
	count(found) > 0
}

faults(pattern) := {rule.msg |
	some rule in [
		{"holds": pattern == "", "msg": "is empty"},
		{"holds": startswith(pattern, "!"), "msg": "starts with `!`: exceptions cannot be written, name what is meant"},
		{"holds": pattern in {"~ALL", "~DEFAULT_BRANCH"}, "msg": "is a name for rulesets: write `**`, or the branch"},
		{"holds": startswith(pattern, "/"), "msg": "starts with `/`: the whole name is matched anyway"},
		{"holds": endswith(pattern, "/"), "msg": "ends with `/`: write `/**` for all that is below"},
		{"holds": contains(pattern, "//"), "msg": "has `//` in it"},
		{"holds": regex.match(`(?s)(?:^|[^\\])\{[^}]*,`, pattern), "msg": "has `{a,b}` in it: write two patterns"},
	]
	rule.holds
} | {msg |
	some segment in split(pattern, "/")
	some token in tokens(segment)
	msg := token_fault(token)
}

token_fault(token) := "ends a part with `\\`" if {
	token == `\`
} else := "has a `[` that no `]` in the same part closes" if {
	token == "["
} else := sprintf("has an unusable class `%s`", [token]) if {
	is_class(token)
	bad_class(token)
}

# A part of a pattern, cut into: escaped character, class, run of stars, any other character.
tokens(segment) := regex.find_n(`(?s)\\.|\[[!^]?(?:\\.|[^\]\\])+\]|\*+|.`, segment, -1)

to_regex(pattern) := concat("", array.concat(
	[`(?s)\A`],
	array.concat([part | some i, segment in segments; i < last; part := folder(segment)], [leaf(segments[last]), `\z`]),
)) if {
	segments := split(pattern, "/")
	last := count(segments) - 1
}

folder(segment) := `(?:[^/]+/)*` if {
	segment == "**"
} else := concat("", [translated(segment), "/"])

leaf(segment) := ".+" if {
	segment == "**"
} else := translated(segment)

translated(segment) := concat("", [piece | some token in tokens(segment); piece := token_regex(token)])

token_regex(token) := literal(substring(token, 1, 1)) if {
	startswith(token, `\`)
} else := class_regex(token) if {
	is_class(token)
} else := "[^/]*" if {
	startswith(token, "*")
} else := "[^/]" if {
	token == "?"
} else := literal(token)

literal(character) := concat("", [`\`, character]) if {
	contains(`\.+*?()|[]{}^$`, character)
} else := character

is_class(token) if {
	startswith(token, "[")
	count(token) > 1
}

class_negated(token) if regex.match(`^\[[!^]`, token)

class_body(token) := substring(token, 2, count(token) - 3) if {
	class_negated(token)
} else := substring(token, 1, count(token) - 2)

# What a class lists: [all, first of a range, last of a range, a single character].
class_items(token) := regex.find_all_string_submatch_n(
	`(?s)(\\.|[^\\])-(\\.|[^\\])|(\\.|[^\\])`,
	class_body(token), -1,
)

bad_class(token) if class_body(token) == ""

bad_class(token) if contains(token, "[:")

bad_class(token) if {
	some item in class_items(token)
	item[3] == ""
	unescaped(item[1]) > unescaped(item[2])
}

# `/` is never matched by a class, so a range must not run across it.
bad_class(token) if {
	some item in class_items(token)
	item[3] == ""
	unescaped(item[1]) <= "/"
	unescaped(item[2]) >= "/"
}

class_regex(token) := concat("", array.concat([class_start(token)], array.concat(
	[part | some item in class_items(token); part := class_part(item)],
	["]"],
)))

class_start(token) := "[^/" if {
	class_negated(token)
} else := "["

class_part(item) := sprintf("%s-%s", [class_literal(unescaped(item[1])), class_literal(unescaped(item[2]))]) if {
	item[3] == ""
} else := class_literal(unescaped(item[3]))

class_literal(character) := concat("", [`\`, character]) if {
	contains(`\]^-[&~`, character)
} else := character

unescaped(item) := substring(item, count(item) - 1, 1)
