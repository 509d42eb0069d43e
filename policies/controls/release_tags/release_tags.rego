# METADATA
# title: Releases
# description: A release tag has the form of a version, names a commit of the default branch, and is never moved or deleted; releases are published by those who may.
# custom:
#   id: CHG-15
#   severity: medium
#   owner: engineering
#   solution: Tag a commit of the default branch under a new version.
#   frameworks:
#     soc2: [CC8.1, CC6.1]
#     iso27001: [A.8.32, A.8.4]
#     pci: ["6.5.1", "6.5.4"]
#     nist: [CM-3, CM-5, SI-7]
#     slsa: [ORG_SOURCE_PROTECTED_REFS]
#   facts: [on_default_branch]
package controls.release_tags

import data.lib.optional
import data.lib.patterns
import data.lib.people
import data.lib.refs

shape := {"tags": "patterns", "name_format": "text", "immutable": "boolean", "on_default_branch": "boolean", "publishers": "logins"}

settings := optional.settings("release_tags")

faults := {msg |
	optional.switched_on("release_tags")
	relevant
	some msg in optional.faults("release_tags", shape)
}

relevant if about_tag

relevant if about_release

about_tag if {
	refs.is_push
	input.push.ref_kind == "tag"
}

about_release if {
	input.event.name == "release"
	is_object(input.event.payload.release)
}

# The tag this is about; empty if it is not named.
default tag := ""

tag := input.push.ref_name if {
	about_tag
} else := input.event.payload.release.tag_name if {
	about_release
	is_string(input.event.payload.release.tag_name)
}

default applies := false

applies if {
	optional.switched_on("release_tags")
	relevant
	matched
}

# Parameters that cannot be read might be for this tag, and so might a tag that is not named.
matched if count(faults) > 0

matched if tag == ""

matched if {
	count(faults) == 0
	patterns.any_matches(settings.tags, tag)
}

skip_reason := "not switched on (parameter release_tags.enabled)" if {
	relevant
	not optional.switched_on("release_tags")
} else := "it is about neither a release nor a tag of one"

judging if {
	applies
	count(faults) == 0
}

# Only a push says which commit the tag names.
commit_matters if {
	judging
	settings.on_default_branch == true
	about_tag
	input.event.name == "push"
	not refs.deleted
}

needs contains {"fact": "on_default_branch"} if commit_matters

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if some msg in faults

error contains {"msg": "whether the commit is on the default branch was not read", "who": "whoever runs gatelog", "fix": "ask for another look: re-run this check"} if {
	commit_matters
	not is_boolean(object.get(input.push, "on_default_branch", null))
}

deny contains {"msg": sprintf("%s does not have the form of a release (%s)", [tag, settings.name_format]), "who": "whoever tagged it", "fix": "tag the commit under another name"} if {
	judging
	not refs_deleted
	not regex.match(settings.name_format, tag)
}

refs_deleted if {
	about_tag
	refs.deleted
}

deny contains {"msg": sprintf("the release tag %s was %s", [tag, what]), "who": "whoever did it", "fix": "put it back as it was, and release under a new version"} if {
	judging
	about_tag
	settings.immutable == true
	some operation, what in {"updates": "moved", "deletions": "deleted"}
	operation in refs.operations
}

deny contains {"msg": sprintf("the release tag %s names %s, which is not on the default branch", [tag, people.short(input.push.after)]), "who": "whoever tagged it", "fix": "release what was merged"} if {
	commit_matters
	input.push.on_default_branch == false
}

default sender := null

sender := input.event.payload.sender if is_object(input.event.payload.sender)

deny contains {"msg": sprintf("%s may not publish the release %s", [people.mention(sender), tag]), "who": "whoever published it", "fix": "take the release back; somebody who may publishes it"} if {
	judging
	about_release
	count(settings.publishers) > 0
	input.event.action in {"published", "released", "prereleased", "created", "edited"}
	not may_publish
}

may_publish if people.named(settings.publishers, sender)

deny contains {"msg": sprintf("the release %s was taken away (%s)", [tag, input.event.action]), "who": "whoever did it", "fix": "publish it again as it was"} if {
	judging
	about_release
	settings.immutable == true
	input.event.action in {"deleted", "unpublished"}
}
