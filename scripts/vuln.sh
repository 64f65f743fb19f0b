#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# govulncheck over everything that a program may contain, codec tags included,
# where its database can be reached (VULNDB names another one). What it finds in
# code that we call must stand in .ci/vulnerabilities.txt.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
detect

GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.9.0
db=${VULNDB:-https://vuln.go.dev}
out=$(mktemp)
trap 'rm -f "$out" "$out.err"' EXIT
step "govulncheck, $db"
if ! go run $GOVULNCHECK -db "$db" -format json -tags "$TAGS" ./... >"$out" 2>"$out.err"; then
	case $(cat "$out.err") in
	*"no such host"* | *"dial tcp"* | *"connection refused"* | *Forbidden* | *"i/o timeout"* | *"fetching vulnerabilities"* | *proxyconnect*)
		note "the database can't be reached from here: $(grep -v "^exit status" "$out.err" | tail -n 1)"
		exit 0
		;;
	esac
	cat "$out.err" >&2
	fail "govulncheck failed"
fi
go run ./internal/tools/vuln -except .ci/vulnerabilities.txt <"$out"
