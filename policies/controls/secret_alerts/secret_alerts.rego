# METADATA
# title: Leaked secrets
# description: A secret that GitHub found in the repository is rotated in time; until then nothing more is merged. Closing an alert without rotating, and pushing past the protection, is seen.
# custom:
#   id: CHG-16
#   severity: high
#   owner: security
#   solution: Revoke the secret where it is used, put a new one there, and close the alert as revoked.
#   frameworks:
#     soc2: [CC6.1, CC7.2, CC8.1]
#     iso27001: [A.8.4, A.5.17, A.8.32]
#     pci: ["6.5.1", "8.3.1"]
#     nist: [IA-5, CM-3, SI-4]
#   facts: [pull_request, secret_alerts, merge_group]
package controls.secret_alerts

import data.lib.changes
import data.lib.optional

facts := {"pull_request"}

shape := {"rotate_within_days": "count", "accepted_resolutions": "texts"}

settings := optional.settings("secret_alerts")

default applies := false

applies if {
	optional.switched_on("secret_alerts")
	relevant
}

relevant if changes.relevant

relevant if about_alert

# The secret itself is never read.
about_alert if {
	input.event.name == "secret_scanning_alert"
	is_object(input.event.payload.alert)
}

skip_reason := "not switched on (parameter secret_alerts.enabled)" if {
	relevant
} else := "it is about neither a pull request, a merge group nor a secret alert"

needs := optional.needs("secret_alerts", facts) | {{"fact": "secret_alerts"} |
	applies
	changes.relevant
}

faults := {msg |
	applies
	some msg in optional.faults("secret_alerts", shape)
}

judging if {
	applies
	count(faults) == 0
}

again := "ask for another look: re-run this check; if it stays, the log of gatelog says why"

error contains {"msg": msg, "who": "whoever maintains the policies", "fix": "correct the parameters (policies/data.yaml)"} if some msg in faults

error contains {"msg": msg, "who": "whoever runs gatelog", "fix": again} if {
	applies
	changes.relevant
	some msg in changes.trouble(facts)
}

error contains {"msg": "the secret alerts of the repository were not read", "who": "whoever runs gatelog", "fix": again} if {
	applies
	changes.relevant
	not is_array(object.get(input, "secret_alerts", null))
}

default alerts := []

alerts := input.secret_alerts if is_array(input.secret_alerts)

day := ((24 * 60) * 60) * 1000000000

now := time.parse_rfc3339_ns(input.time)

# due[number]: until when the secret of an open alert has to be rotated.
due[alert.number] := at if {
	judging
	changes.relevant
	some alert in alerts
	alert.state == "open"
	at := time.parse_rfc3339_ns(alert.created_at) + (settings.rotate_within_days * day)
}

kind(number) := [alert.secret_type | some alert in alerts; alert.number == number][0]

deny contains {
	"msg": sprintf("the leaked secret of alert %d (%s) should have been rotated by %s", [number, kind(number), time.format(at)]),
	"who": "whoever owns the secret",
	"fix": "revoke the secret, put a new one in its place, and close the alert as revoked",
} if {
	some number, at in due
	now >= at
}

warn contains {
	"msg": sprintf("the leaked secret of alert %d (%s) has to be rotated by %s", [number, kind(number), time.format(at)]),
	"who": "whoever owns the secret",
	"fix": "revoke the secret, put a new one in its place, and close the alert as revoked",
} if {
	some number, at in due
	now < at
}

coming := {at | some at in due; at > now}

valid_until := time.format(min(coming)) if count(coming) > 0

# --- The alert itself, as an event tells of it.

deny contains {
	"msg": sprintf("alert %v was closed as %v: the secret is as leaked as before", [input.event.payload.alert.number, resolution]),
	"who": "whoever closed it",
	"fix": "open the alert again and rotate the secret",
} if {
	judging
	about_alert
	input.event.action == "resolved"
	resolution := object.get(input.event.payload, ["alert", "resolution"], null)
	not resolution in settings.accepted_resolutions
}

deny contains {
	"msg": sprintf("the secret of alert %v was pushed past the push protection", [input.event.payload.alert.number]),
	"who": "whoever pushed it",
	"fix": "rotate the secret",
} if {
	judging
	about_alert
	input.event.action == "created"
	input.event.payload.alert.push_protection_bypassed == true
}
