module gatelog.test/golog

go 1.25.0

require (
	filippo.io/torchwood v0.9.1-0.20260706112420-c22a68158d96
	github.com/transparency-dev/formats v0.1.1
	golang.org/x/mod v0.37.0
)

require (
	filippo.io/mldsa v0.0.0-20260215214346-43d0283efc3e // indirect
	golang.org/x/crypto v0.53.0 // indirect
	golang.org/x/sync v0.21.0 // indirect
)
