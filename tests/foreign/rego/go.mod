module gatelog.test/rego

go 1.26.8

require (
	github.com/aquasecurity/trivy-checks v1.10.0
	github.com/open-policy-agent/conftest v0.71.1
	github.com/open-policy-agent/opa v1.22.2
)
