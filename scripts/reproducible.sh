#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Builds the softphone twice, from copies of the checkout in folders with other
# names, each with an empty build cache, and compares the bytes. So nothing of
# the place, the time or an earlier build is in a program.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/one" "$work/another"
git ls-files -z | xargs -0 cp --parents -t "$work/one"
cp -r "$work/one" "$work/another/deeper" # of one moment, whatever is edited meanwhile
sums=
for place in one another/deeper; do
	step "go build in $place"
	(
		cd "$work/$place"
		GOCACHE="$work/cache-$(basename "$place")" CGO_ENABLED=0 go build -trimpath -o "$work/program" ./examples/softphone
	)
	sum=$(sha256sum <"$work/program")
	echo "  $sum"
	[ -z "$sums" ] || [ "$sums" = "$sum" ] || fail "two builds of one commit differ"
	sums=$sum
done
step "the same bytes twice"
