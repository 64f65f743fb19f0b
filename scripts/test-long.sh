#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# What is too slow for every change: run by hand before a piece of work is
# called done.
set -eu
cd "$(dirname "$0")/.."
P2POS_LONG=1 sh scripts/install-deps.sh
. scripts/common.sh
detect

sh scripts/lint.sh

for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64 freebsd/amd64 freebsd/arm64 android/arm64; do
	step "go build and go vet, $target without cgo"
	# On Android a module of pion's reads the system's interfaces through the
	# runtime, which Go's linker has to be told to allow.
	link=
	case $target in android/*) link=-ldflags=-checklinkname=0 ;; esac
	# shellcheck disable=SC2086 # link may be empty
	GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 go build $link ./...
	GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 go vet ./...
done

if [ "$(go env CGO_ENABLED)" = 1 ]; then
	step "go build and go vet with a C compiler but no libopus"
	# An empty search path hides the libopus that is installed.
	PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=/nonexistent CGO_ENABLED=1 go build ./...
	PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=/nonexistent CGO_ENABLED=1 go vet ./...
fi

if [ -n "$TAGS" ]; then
	step "examples/headset, a module of its own: go vet and go test without a sound card"
	(cd examples/headset && go vet -tags "$TAGS" ./... && go test -count=1 -tags "$TAGS" ./...)
fi

step "metric/otel, a module of its own: go vet and go test"
# shellcheck disable=SC2086 # RACE may be empty
(cd metric/otel && go vet ./... && go test $RACE -count=1 ./...)

step "internal/embedtest: this version and an earlier one in one program"
(cd internal/embedtest && P2POS_LONG=1 go test -v -count=1 -run TestTwoVersions .)

step "licences of third parties"
go run ./internal/tools/licences -check

sh scripts/vuln.sh
sh scripts/reproducible.sh

# A round for each target: longer ones are `make fuzz`.
status=0
FUZZTIME=${FUZZTIME:-4s} sh scripts/fuzz.sh || status=1

step "go test, the long tests included"
# Without the race detector, which make test runs over the short forms: it
# would make days of simulations ten times as slow. What waits for kernels and
# processes runs beside what calculates.
out=$(mktemp)
trap 'rm -f "$out"' EXIT
P2POS_LONG=1 go test -v -count=1 -tags "$TAGS" -timeout 120m -run '^TestKernel' . >"$out" 2>&1 &
kernel=$!
P2POS_LONG=1 go test -v -count=1 -tags "$TAGS" -timeout 120m -skip '^TestKernel' . || status=$?
# shellcheck disable=SC2046 # a list of words
P2POS_LONG=1 go test -count=1 -tags "$TAGS" -timeout 120m $(go list ./... | grep -vx "$(go list .)") || status=$?
wait "$kernel" || status=$?
step "the tests with kernels and processes"
cat "$out"
exit "$status"
