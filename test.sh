#!/usr/bin/env bash
# The test command: installs what is missing, then checks formatting, vet,
# staticcheck and all tests, under the race detector, against a real PostgreSQL
# and a real promtool. Arguments are passed on to go test, in place of ./...
set -euo pipefail
cd "$(dirname "$0")"

scripts/need gcc gcc        # the race detector links with it
scripts/need promtool prometheus
scripts/need npm npm
command -v chromium >/dev/null || scripts/need chromium-headless-shell chromium-headless-shell

unformatted=$(gofmt -l $(git ls-files --cached --others --exclude-standard '*.go'))
if [ -n "$unformatted" ]; then
	printf 'gofmt would change:\n%s\n' "$unformatted" >&2
	exit 1
fi
# all with the race detector's flag, so that everything is compiled once
go vet -race ./...
GOBIN=$PWD/.bin go install honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFLAGS=-race .bin/staticcheck ./...

exec scripts/with-postgres go test -race -shuffle=on -timeout 15m "${@:-./...}"
