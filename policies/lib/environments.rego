# METADATA
# title: Environments that GitHub asks about
# description: |
#   Before it deploys, GitHub asks the app that an environment names as its protection rule. Names of
#   environments compare without case, as GitHub does, and are no paths: in their patterns `*` and `?` also
#   match a `/`, and `**/` none or some parts as elsewhere.
package lib.environments

import data.lib.patterns

# asked: this is the question whether to deploy.
default asked := false

asked if {
	input.event.name == "deployment_protection_rule"
	input.event.action == "requested"
}

# name: of the environment; empty: it is not named.
default name := ""

name := input.event.payload.environment if is_string(input.event.payload.environment)

# matches(pattern, environment): read as the name of one thing or as a path, whichever covers it.
matches(pattern, environment) if {
	is_string(pattern)
	is_string(environment)
	some separator in ["/", "|"]
	some written in {lower(pattern), trim_prefix(lower(pattern), "**/")}
	patterns.matches(replace(written, "/", separator), replace(lower(environment), "/", separator))
}

any_matches(list, environment) if {
	is_array(list)
	some pattern in list
	matches(pattern, environment)
}

# problems(list): why patterns cannot be used once their case is gone.
problems(list) := {msg |
	is_array(list)
	some pattern in list
	is_string(pattern)
	not patterns.problem(pattern)
	why := patterns.problem(lower(pattern))
	msg := sprintf("the pattern %s for environments, which compare without case, %s", [pattern, why])
}
