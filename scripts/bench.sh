#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Runs the benchmarks (all, or those that match BENCH) for BENCHTIME each and
# prints one line for each, value and unit in columns. docs/numbers.md says
# which number is which.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
detect

packages=$(grep -rlE --include='*_test.go' --exclude-dir=.git '^func Benchmark' . | sed 's|/[^/]*$||' | sort -u)
[ -n "$packages" ] || { note "no benchmarks"; exit 0; }

raw=$(mktemp)
trap 'rm -f "$raw"' EXIT
status=0
# -p 1: packages one after the other, so that they don't disturb each other.
# shellcheck disable=SC2086 # a list of words
go test -p 1 -tags "$TAGS" -run '^$' -bench "${BENCH:-.}" -benchmem -benchtime "${BENCHTIME:-1s}" $packages >"$raw" 2>&1 || status=$?

awk '
	/^pkg: /  { pkg = $2; sub(/^github.com\/p2pos\/p2pos\/?/, "", pkg); if (pkg == "") pkg = "."; next }
	/^cpu: /  { if (!cpu++) print; next }
	/^Benchmark/ && NF >= 4 {
		name = $1; sub(/^Benchmark/, "", name); sub(/-[0-9]+$/, "", name)
		if (pkg != shown) { printf "\n%s\n", pkg; shown = pkg }
		line = sprintf("  %-36s", name)
		for (i = 3; i < NF; i += 2) line = line sprintf(" %12s %-10s", $i, $(i + 1))
		sub(/ +$/, "", line); print line; next
	}
	/^(goos|goarch|PASS|ok|Benchmark)/ { next }
	{ print }
' "$raw"
exit "$status"
