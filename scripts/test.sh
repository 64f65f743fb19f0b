#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Everything a change must pass, cheapest first; ends in the go test lines.
set -eu
cd "$(dirname "$0")/.."
sh scripts/install-deps.sh
. scripts/common.sh

sh scripts/lint.sh
step "go build without cgo"
CGO_ENABLED=0 go build ./...
step "the API that is promised"
go run ./internal/tools/api -check
step "licences of third parties"
go run ./internal/tools/licences -check
step "a program of another module: what comes with the import"
(cd internal/embedtest && go test ./...)
step "numbers for OpenTelemetry, a module of its own"
(cd metric/otel && go test ./...)
detect 2>/dev/null # lint has said what is missing
step "go test"
# Seeds of the fuzz targets run as part. The timeout is for one package
# and for a machine that is busy with other things: two quiet cores take a few minutes for all.
#
# In these packages nothing starts a goroutine, not even a test: the race
# detector could find nothing there and would make arithmetic ten times as slow.
pure='overlay/mesh|overlay/directory|overlay/mailbox|internal/tools/estoi'
for p in $(echo "$pure" | tr '|' ' '); do
	! grep -nE '^[[:space:]]*go [a-z]|\.Go\(' "$p"/*.go || fail "$p starts goroutines: take it off the list in scripts/test.sh"
done
all=$(go list ./...)
status=0
# shellcheck disable=SC2046,SC2086 # lists of words; RACE may be empty
go test $RACE -tags "$TAGS" -timeout 25m $(echo "$all" | grep -vE "/($pure)\$") || status=$?
# shellcheck disable=SC2046
go test -tags "$TAGS" -timeout 25m $(echo "$all" | grep -E "/($pure)\$") || status=$?
exit "$status"
