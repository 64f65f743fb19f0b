#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Runs every fuzz target of the module for FUZZTIME (default 20s), one after
# the other, and names those that failed at the end. An input that broke one
# lies in its package's testdata/fuzz: commit it with the mend.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
detect

targets=$(grep -rEo --include='*_test.go' --exclude-dir=.git '^func Fuzz[A-Za-z0-9_]*\(' . |
	sed -E 's|^(.*)/[^/]*_test\.go:func (Fuzz[A-Za-z0-9_]*)\($|\1 \2|' | sort -u)
[ -n "$targets" ] || { note "no fuzz targets"; exit 0; }

out=$(mktemp)
failed=$(mktemp)
trap 'rm -f "$out" "$failed"' EXIT
echo "$targets" | while read -r dir name; do
	# -parallel 2: a worker for each core of the smallest machine we test on.
	if ! go test -tags "$TAGS" -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-20s}" -parallel 2 "$dir" >"$out" 2>&1 </dev/null; then
		echo "$dir $name" >>"$failed"
		printf 'FAIL %s %s\n' "$dir" "$name"
		tail -n 40 "$out"
	elif grep -q 'no fuzz tests to fuzz' "$out"; then
		printf 'skip %s %s: not built here\n' "$dir" "$name"
	else
		printf 'ok   %s %s: %s\n' "$dir" "$name" "$(grep '^fuzz: elapsed' "$out" | tail -n 1 | cut -d ' ' -f 2-)"
	fi
done
if [ -s "$failed" ]; then
	fail "fuzz targets that failed: $(tr '\n' ';' <"$failed")"
fi
