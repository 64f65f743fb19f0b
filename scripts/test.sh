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
step "licences of third parties"
go run ./internal/tools/licences -check
detect 2>/dev/null # lint has said what is missing
step "go test"
# Seeds of the fuzz targets run as part. The timeout is for one package
# and for a machine that is busy with other things: two quiet cores take a few minutes for all.
# shellcheck disable=SC2086 # RACE may be empty
go test $RACE -tags "$TAGS" -timeout 25m ./...
