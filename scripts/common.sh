# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
# shellcheck shell=sh disable=SC2034 # TAGS, RACE and MODULES are for the scripts that read this
#
# Read by the other scripts with the top of the checkout as the current
# folder. Sets TAGS and RACE to what this machine can do.

# Tools for networks live in sbin, which isn't in everybody's PATH.
PATH="$PATH:/usr/sbin:/sbin"
# The version control stamp fails in a checkout that belongs to someone else,
# as it does in many containers, and no test needs it.
GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false"
export PATH GOFLAGS

# Modules of their own, each with a replace to this checkout.
MODULES='examples/headset metric/otel internal/embedtest'

step() { printf '== %s\n' "$*"; }
note() { printf 'note: %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
have_opus() { have pkg-config && pkg-config --exists opus; }

command -v go >/dev/null 2>&1 || fail "Go is missing: install Go 1.26 or newer"

# detect sets TAGS (codec) and RACE, after anything missing was installed.
detect() {
	TAGS='' RACE=''
	if [ "$(go env CGO_ENABLED)" != 1 ]; then
		note "no cgo (is a C compiler missing?): no race detector, and the tests of libopus are left out"
		return
	fi
	if have_opus; then
		TAGS=libopus,nolibopusfile
	else
		note "libopus is missing: its tests are left out"
	fi
	if go list -race fmt >/dev/null 2>&1; then
		RACE=-race
	else
		note "no race detector for this system"
	fi
}
