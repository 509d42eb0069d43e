package lib.patterns_test

import data.lib.patterns

# "anchored, case-sensitive"
test_anchored if {
	patterns.matches("main", "main")
	not patterns.matches("main", "main2")
	not patterns.matches("main", "my/main")
	not patterns.matches("main", "xmain")
}

test_case_sensitive if not patterns.matches("main", "Main")

# "`*` stops at `/`"
test_star_stops_at_slash if {
	patterns.matches("release/*", "release/1")
	patterns.matches("*", "main")
	not patterns.matches("release/*", "release/1/2")
	not patterns.matches("*", "a/b")
}

# "`**/` is any number of folders including none"
test_folders if {
	patterns.matches("release/**/*", "release/1")
	patterns.matches("release/**/*", "release/1/2/3")
	patterns.matches("**/Cargo.lock", "Cargo.lock")
	patterns.matches("**/Cargo.lock", "a/b/Cargo.lock")
	patterns.matches("a/**/b", "a/b")
	patterns.matches("a/**/b", "a/x/y/b")
	not patterns.matches("a/**/b", "ab")
	not patterns.matches("**/Cargo.lock", "myCargo.lock")
	not patterns.matches("release/**/*", "release")
}

# "a trailing `/**` matches everything below"
test_everything_below if {
	patterns.matches("services/pay/**", "services/pay/a.rs")
	patterns.matches("services/pay/**", "services/pay/x/y/.z")
	not patterns.matches("services/pay/**", "services/pay")
	not patterns.matches("services/pay/**", "services/payroll/a.rs")
	patterns.matches("**", "a/b/c")
	patterns.matches("**", "a")
}

# Two stars that are not a whole part are one star.
test_stars_inside_a_part if {
	patterns.matches("**.lock", "a.lock")
	not patterns.matches("**.lock", "a/b.lock")
	patterns.matches("a**b", "axxb")
	not patterns.matches("a**b", "a/b")
	patterns.matches("***/x", "abc/x")
}

# "`*` and `**` match a leading dot"
test_leading_dot if {
	patterns.matches("*", ".env")
	patterns.matches("**/*.yml", ".github/ci.yml")
	patterns.matches(".github/**", ".github/.hidden/x")
	patterns.matches("**/x", ".a/.b/x")
}

test_question_mark if {
	patterns.matches("v?", "v1")
	patterns.matches("v?", "vü")
	not patterns.matches("v?", "v")
	not patterns.matches("v?", "v/")
}

test_classes if {
	patterns.matches("v[0-9]", "v7")
	not patterns.matches("v[0-9]", "vx")
	patterns.matches("v[!0-9]", "vx")
	not patterns.matches("v[!0-9]", "v7")
	not patterns.matches("v[!0-9]", "v/")
	patterns.matches("v[^a]", "vb")
	patterns.matches(`v[\]a-]`, "v]")
	patterns.matches(`v[\]a-]`, "v-")
	patterns.matches("[&~]", "&")
	patterns.matches("v[^^]", "vx")
	not patterns.matches("v[^^]", "v^")
}

# Letters that mean something to a regular expression are only letters.
test_literals if {
	patterns.matches("a.b", "a.b")
	not patterns.matches("a.b", "axb")
	patterns.matches("a+(b)|{c}^$", "a+(b)|{c}^$")
	patterns.matches(`a\*b`, "a*b")
	not patterns.matches(`a\*b`, "axb")
	patterns.matches(`a\\b`, `a\b`)
	patterns.matches("a]", "a]")
	patterns.matches(`\{a,b}`, "{a,b}")
}

test_newline_is_a_character if {
	patterns.matches("a*b", "a\nb")
	not patterns.matches("main", "main\n")
}

# "`refs/heads/` or `refs/tags/` is stripped once"
test_ref_prefix_once if {
	patterns.strip_ref("refs/heads/main") == "main"
	patterns.strip_ref("refs/tags/v1") == "v1"
	patterns.strip_ref("refs/heads/refs/heads/x") == "refs/heads/x"
	patterns.strip_ref("main") == "main"
	patterns.matches("refs/heads/main", "main")
	patterns.matches("refs/heads/refs/heads/x", "refs/heads/x")
}

# "`!` is refused", and so is what could never match.
refused(pattern) if {
	is_string(patterns.problem(pattern))
	not patterns.matches(pattern, "main")
	not patterns.matches(pattern, "!main")
}

test_refused if {
	cases := [
		"", "!main", "/main", "docs/", "a//b", "v[0-9", "[]", "[!]", "[z-a]", "[+-9]", "[a/b]", "[[:digit:]]",
		`main\`, `a\/b`, "{main,dev}", "~ALL", "~DEFAULT_BRANCH", 7, null, ["main"], "refs/heads/", "refs/heads/!x",
	]
	let_through := [pattern | some pattern in cases; not refused(pattern)]
	let_through == []
}

test_accepted if {
	cases := ["main", "release/**/*", "**", "v[0-9]", `a\!`, "a!b", "{a}", "@scope/x"]
	turned_down := [pattern | some pattern in cases; patterns.problem(pattern)]
	turned_down == []
}

test_problem_names_the_reason if {
	contains(patterns.problem("!main"), "exceptions cannot be written")
	contains(patterns.problem("docs/"), "write `/**`")
}

test_name_that_is_no_text if not patterns.matches("**", null)

test_any if {
	patterns.any_matches(["a", "b/*"], "b/c")
	not patterns.any_matches(["a", "b/*"], "c")
	not patterns.any_matches([], "c")
}
