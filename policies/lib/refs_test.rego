package lib.refs_test

import data.lib.fixtures_test as f
import data.lib.refs

operations(document) := found if {
	found := refs.operations with input as document with data.params as f.params("restricted_branches", {})
}

test_one_thing_each if {
	operations(f.pushed("main", {})) == {"updates"}
	operations(f.pushed("main", {"created": true, "before": null})) == {"creations"}
	operations(f.pushed("main", {"deleted": true, "after": null})) == {"deletions"}
	operations(f.pushed("main", {"forced": true})) == {"updates", "force_pushes"}
	operations(f.tagged("v1", {})) == {"updates", "force_pushes"}
	operations(f.pull({})) == set()
}

# Neither sha and no word about what it was: both are assumed.
test_nothing_known if operations(f.pushed("main", {"before": null, "after": null})) == {"creations", "deletions"}

test_forced_creation_is_a_creation if operations(f.pushed("main", {"created": true, "before": null, "forced": true})) == {"creations"}

test_names_for_commands if {
	refs.command_name("release/1.x") == "release/1.x"
	refs.command_name("-x") == "NAME"
	refs.command_name("a;b") == "NAME"
	refs.command_name("a$(b)") == "NAME"
	refs.command_name("a\nb") == "NAME"
	refs.command_name("") == "NAME"
}

test_pusher_is_named if {
	refs.pusher == "@bob" with input as f.pushed("main", {})
	refs.pusher == "a deploy key" with input as f.pushed("main", {"pusher_kind": "deploy_key"})
	refs.pusher == "somebody unknown" with input as f.pushed("main", {"pusher": null})
}
