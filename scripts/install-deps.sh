#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Installs what the tests need beside Go, on Debian and Ubuntu. Elsewhere it
# says what is missing; the tests that need it are then left out. With
# P2POS_NO_INSTALL=1 it only says so on every system.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh

missing=
want() { # want COMMAND PACKAGE
	have "$1" || missing="$missing $2"
}

want gcc gcc
[ -e /usr/include/stdlib.h ] || ! have apt-get || missing="$missing libc6-dev"
want pkg-config pkg-config
have_opus || missing="$missing libopus-dev"
want opusinfo opus-tools
if [ "$(uname -s)" = Linux ]; then
	want nft nftables
	want ip iproute2
	want turnserver coturn
	want miniupnpd miniupnpd-nftables # the program alone, no service that starts
fi
# The dashboard's queries are evaluated by make test-long.
[ "${P2POS_LONG:-}" != 1 ] || [ "$(uname -s)" != Linux ] || want prometheus prometheus
# A browser is large, and only make test-long calls from page to page. On
# Ubuntu it is a snap, which containers don't run.
if [ "${P2POS_LONG:-}" = 1 ] && ! have chromium-browser && ! have google-chrome; then
	if have chromium || grep -qs '^ID=debian' /etc/os-release; then
		want chromium chromium
	else
		note "no Chromium here, so calls between browsers are left out of the test"
	fi
fi
[ -n "$missing" ] || exit 0

if [ "${P2POS_NO_INSTALL:-}" = 1 ] || ! have apt-get; then
	note "not here, so the tests that need them are left out (Debian names):$missing"
	note "macOS: brew install opus pkg-config opus-tools; Fedora: dnf install gcc opus-devel pkgconf opus-tools nftables iproute coturn"
	exit 0
fi

if [ "$(id -u)" = 0 ]; then
	root() { "$@"; }
elif have sudo && sudo -n true 2>/dev/null; then
	root() { sudo "$@"; }
else
	note "not here, so the tests that need them are left out; as root: apt-get install$missing"
	exit 0
fi

step "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# One source that can't be reached need not matter: install decides.
root apt-get -q -o DPkg::Lock::Timeout=120 update >"$log" 2>&1 || note "apt-get update failed, trying with the lists there are"
# The tests start their own turnserver and Prometheus; services are not ours to set up.
for service in coturn prometheus; do
	case "$missing" in *$service*) root systemctl mask $service.service >>"$log" 2>&1 || : ;; esac
done
# shellcheck disable=SC2086 # a list of words
if ! root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends $missing >>"$log" 2>&1; then
	tail -n 20 "$log" >&2
	fail "apt-get could not install$missing (P2POS_NO_INSTALL=1 goes on without)"
fi
