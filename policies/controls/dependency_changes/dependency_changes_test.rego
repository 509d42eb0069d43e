package controls.dependency_changes_test

import data.controls.dependency_changes as control
import data.lib.fixtures_test as f

params(parts) := f.params("dependency_changes", object.union(
	{"enabled": true, "manifests": ["**/Cargo.toml"], "lock_files": ["**/Cargo.lock"], "minimum_approvals": 1, "reviewers": [], "apart": false},
	parts,
))

of(files, reviews) := f.pull({"files": files, "reviews": reviews})

manifest := f.file("a/Cargo.toml", {})

lock := f.file("Cargo.lock", {})

denied(document, given) := found if {
	control.applies with input as document with data.params as given
	count(control.error) == 0 with input as document with data.params as given
	denials := control.deny with input as document with data.params as given
	found := f.messages(denials)
}

test_a_reviewer_approved if denied(of([manifest, lock], [f.approval(f.bob)]), params({})) == set()

test_nobody_approved if {
	denied(of([manifest, lock], [f.approval(f.alice)]), params({})) == {"0 of 1 approvals for changed dependencies (Cargo.lock, a/Cargo.toml)"}
	count(denied(of([lock], []), params({}))) == 1
	denied(of([manifest], []), params({"minimum_approvals": 0})) == set()
}

test_nobody_knows_who_pushed if {
	hollow := object.union(of([lock], [f.approval(f.bob)]), {"pushes": []})
	count(denied(hollow, params({}))) == 1
	denied(hollow, params({"minimum_approvals": 0})) == set()
}

test_other_files_need_none if denied(of([f.file("src/main.rs", {})], []), params({})) == set()

test_named_reviewers if {
	given := params({"reviewers": ["carol", "octo-org/security"]})
	document := object.union(of([lock], [f.approval(f.bob)]), {"teams": {"octo-org/security": {"id": 1, "members": [], "can_write": true}}})
	count(denied(document, given)) == 1
	{"fact": "team_members", "id": "octo-org/security"} in control.needs with input as document with data.params as given
	errors := control.error with input as of([lock], []) with data.params as given
	f.messages(errors) == {"team octo-org/security could not be read"}
}

test_apart_from_other_changes if {
	document := of([lock, f.file("src/main.rs", {})], [f.approval(f.bob)])
	denied(document, params({})) == set()
	denied(document, params({"apart": true})) == {"dependencies change together with src/main.rs"}
	denied(of([lock, manifest], [f.approval(f.bob)]), params({"apart": true})) == set()
}

test_a_lock_file_stays[name] if {
	some name, file in {
		"removed": f.file("Cargo.lock", {"status": "removed"}),
		"renamed": f.file("Cargo.old", {"status": "renamed", "previous_filename": "Cargo.lock"}),
	}
	denied(of([file], [f.approval(f.bob)]), params({})) == {"the lock file Cargo.lock is taken away"}
}

test_a_lock_file_put_in_place_again_stays if {
	files := [f.file("Cargo.old", {"status": "renamed", "previous_filename": "Cargo.lock"}), lock]
	denied(of(files, [f.approval(f.bob)]), params({})) == set()
}

test_a_manifest_may_go if denied(of([f.file("a/Cargo.toml", {"status": "removed"})], [f.approval(f.bob)]), params({})) == set()

test_what_was_not_read_is_an_error[name] if {
	document := of([lock], [f.approval(f.bob)])
	some name, hollow in {
		"reviews": object.remove(document, ["reviews"]),
		"files": object.remove(document, ["files"]),
		"pushes": object.remove(document, ["pushes"]),
	}
	count(control.error) > 0 with input as hollow with data.params as params({})
}

test_it_is_off_until_switched_on if {
	off := params({"enabled": false})
	not control.applies with input as of([lock], []) with data.params as off
	count(control.deny) == 0 with input as of([lock], []) with data.params as off
	count(control.needs) == 0 with input as of([lock], []) with data.params as params({"enabled": false, "reviewers": ["octo-org/pay"]})
	contains(control.skip_reason, "not switched on") with input as of([lock], []) with data.params as off
	count(control.error) > 0 with input as of([lock], []) with data.params as params({"enabled": "yes"})
}
