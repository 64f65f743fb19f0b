#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# What can be seen without running anything.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
detect

step "gofmt"
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || fail "run gofmt -w on: $(echo "$unformatted" | tr '\n' ' ')"

step "shell scripts"
for f in scripts/*.sh; do sh -n "$f"; done
if have shellcheck; then shellcheck -x scripts/*.sh .ci/run; fi

step "go.mod of the modules within"
# Compiles nothing. Without a network a module may be out of reach.
for mod in $MODULES; do
	if ! out=$(cd "$mod" && go list -deps -tags "$TAGS" ./... 2>&1 >/dev/null); then
		case $out in
		*go.mod* | *go.sum*) fail "go mod tidy is due in $mod: $out" ;;
		*) note "not looked at: $out" ;;
		esac
	fi
done

step "go vet"
go vet -tags "$TAGS" ./...
step "go vet, Windows"
GOOS=windows CGO_ENABLED=0 go vet ./...
