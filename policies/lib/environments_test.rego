package lib.environments_test

import data.lib.environments

test_case_does_not_matter[name] if {
	some name in ["production", "Production", "PRODUCTION"]
	environments.matches("Production", name)
	environments.matches("prod*", name)
	environments.matches("[P]rod?ction", name)
	not environments.matches("staging", name)
}

test_names_are_no_paths if {
	environments.matches("prod*", "prod/eu")
	environments.matches("prod*", "prod/eu/1")
	environments.matches("*", "prod/eu")
	environments.matches("prod/*", "Prod/EU/1")
	environments.matches("prod?eu", "prod/eu")
	not environments.matches("prod", "prod/eu")
	not environments.matches("prod/*", "production")
}

test_as_paths_they_match_as_everywhere if {
	environments.matches("**/prod", "prod")
	environments.matches("**/prod", "eu/prod")
	environments.matches("**/prod-*", "prod-a/b")
	environments.matches("**/prod-*", "eu/prod-a")
	not environments.matches("**/prod-*", "preprod-a")
	environments.matches("**", "eu/prod")
	environments.matches("prod/**", "prod/eu")
}

test_what_is_no_pattern_or_name_matches_nothing if {
	not environments.matches("", "prod")
	not environments.matches(null, "prod")
	not environments.matches("prod", null)
	not environments.any_matches([], "prod")
	environments.any_matches(["staging", "PROD"], "prod")
}

test_a_range_that_needs_its_case if {
	environments.problems(["prod-[A-_]", "prod-[a-z]", null]) == {"the pattern prod-[A-_] for environments, which compare without case, has an unusable class `[a-_]`"}
	environments.problems(["prod*"]) == set()
}

test_the_question if {
	asks := {"event": {"name": "deployment_protection_rule", "action": "requested", "payload": {"environment": "prod"}}}
	environments.asked with input as asks
	environments.name == "prod" with input as asks
	not environments.asked with input as {"event": {"name": "deployment", "action": "requested", "payload": {}}}
	environments.name == "" with input as {"event": {"name": "deployment", "action": "created", "payload": {}}}
}
