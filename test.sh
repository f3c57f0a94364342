#!/usr/bin/env bash
# The test command: installs what is missing, then checks formatting, vet,
# staticcheck and all tests, under the race detector but for those that only compute,
# against a real PostgreSQL and a real promtool. Arguments are passed on to go test, in
# place of all packages.
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
# The arithmetic of levels and the simulated market take ten times as long under the
# detector, and most of a sweep. Their own tests, and those of service, which shares
# finders between goroutines, run with the detector in all packages.
whole=("${race[@]}" -gcflags=tidemark/levels=-race=false -gcflags=tidemark/exchange/simulated=-race=false)

scripts/need gcc gcc # the race detector links with it
# The program as in the image, too: several tests need it at once, and each would compile it.
{ go build "${whole[@]}" ./... && CGO_ENABLED=0 go build -trimpath ./...; } &
compiled=$!
scripts/need promtool prometheus
scripts/need npm npm
[ -x /usr/sbin/nginx ] || scripts/need nginx nginx # the proxies of deploy/proxy
scripts/need caddy caddy
command -v chromium >/dev/null || scripts/need chromium-headless-shell chromium-headless-shell
/usr/bin/python3 -c 'import mypy, pandas, setuptools, wheel' 2>/dev/null || # for clients/python
	scripts/need python3-pandas python3-pandas python3-setuptools python3-wheel mypy
wait $compiled

# Beside the tests, many of which wait: tests of packages that the detector leaves out
# there; without the detector those that only compute, and staticcheck, both compiled as e2e
# compiles the program, so that what they share is compiled once.
beside() {
	set -e
	go test "${race[@]}" -vet=all -short -shuffle=on -parallel 4 ./levels/... ./exchange/simulated ./service
	CGO_ENABLED=0 go test -trimpath -vet=off -shuffle=on ./levels/... ./event ./exchange ./exchange/simulated
	CGO_ENABLED=0 GOBIN=$PWD/.bin go install -trimpath honnef.co/go/tools/cmd/staticcheck@v0.8.2
	GOFLAGS="${whole[*]}" .bin/staticcheck ./...
}
log=$(mktemp)
beside >"$log" 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null || true; rm -f "$log"' EXIT

# The longest begin first, and three packages run at once, because many tests wait.
others=$(go list ./... | grep -vE '^tidemark/(levels.*|exchange/simulated|service)$')
[ $# -gt 0 ] || set -- ./e2e ./repository ./exchange/venues $others
failed=0
scripts/with-postgres go test "${whole[@]}" -vet=all -short -shuffle=on -p 3 -parallel 4 -timeout 15m "$@" || failed=$?
wait $beside || failed=$?
cat "$log"
exit $failed
