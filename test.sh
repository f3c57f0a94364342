#!/usr/bin/env bash
# The test command: installs what is missing, then checks formatting, vet,
# staticcheck and all tests, under the race detector but for those that only compute,
# against a real PostgreSQL and a real promtool. Arguments are passed on to go test, in place of ./...
set -euo pipefail
cd "$(dirname "$0")"

unformatted=$(gofmt -l $(git ls-files --cached --others --exclude-standard '*.go'))
if [ -n "$unformatted" ]; then
	printf 'gofmt would change:\n%s\n' "$unformatted" >&2
	exit 1
fi

# SQLite is C translated to Go. It keeps its memory outside of Go's, where the race
# detector sees nothing, and under the detector it takes several times as long.
race=(-race -gcflags=modernc.org/sqlite/lib=-race=false)

scripts/need gcc gcc # the race detector links with it
go build "${race[@]}" ./... &
compiled=$!
scripts/need promtool prometheus
scripts/need npm npm
command -v chromium >/dev/null || scripts/need chromium-headless-shell chromium-headless-shell
/usr/bin/python3 -c 'import mypy, pandas, setuptools, wheel' 2>/dev/null || # for clients/python
	scripts/need python3-pandas python3-pandas python3-setuptools python3-wheel mypy
wait $compiled

# Beside the tests, many of which wait: staticcheck, and without the race detector,
# which makes them ten times as slow, the tests that only compute (those below are
# -short of them). Both are compiled as e2e compiles the program, so that what they
# share is compiled once.
beside() {
	set -e
	CGO_ENABLED=0 go test -trimpath -vet=off -shuffle=on ./levels/... ./event ./exchange ./exchange/simulated
	CGO_ENABLED=0 GOBIN=$PWD/.bin go install -trimpath honnef.co/go/tools/cmd/staticcheck@v0.8.2
	GOFLAGS="${race[*]}" .bin/staticcheck ./...
}
log=$(mktemp)
beside >"$log" 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null || true; rm -f "$log"' EXIT

# The longest begin first, and three packages run at once, because many tests wait.
[ $# -gt 0 ] || set -- ./e2e ./repository ./exchange/venues ./...
failed=0
scripts/with-postgres go test "${race[@]}" -vet=all -short -shuffle=on -p 3 -parallel 4 -timeout 15m "$@" || failed=$?
wait $beside || failed=$?
cat "$log"
exit $failed
