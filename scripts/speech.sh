#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Makes media/testdata/speech-a.ogg, speech-b.ogg and tone.ogg again.
# Needs espeak-ng and opus-tools; installs nothing.
set -eu
cd "$(dirname "$0")/.."

missing=
for tool in espeak-ng opusenc go; do
	command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ -n "$missing" ]; then
	echo "speech.sh: missing:$missing" >&2
	echo "speech.sh: on Debian or Ubuntu: apt install espeak-ng opus-tools golang" >&2
	exit 1
fi

out=media/testdata
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# speech NAME VOICE WORDS-PER-MINUTE PITCH TEXT
# opusenc resamples to 48 kHz; a fixed serial number makes the file repeatable.
speech() {
	espeak-ng -v "$2" -s "$3" -p "$4" -a 90 -w "$tmp/$1.wav" "$5"
	opusenc --quiet --bitrate 24 --framesize 20 --speech --padding 0 \
		--serial 1 "$tmp/$1.wav" "$out/$1.ogg"
}

speech speech-a en-gb 145 35 "Good morning, and thank you for calling. \
Between your room and mine there is no company, and no big computer. \
If you can hear every word of this, the line works."

speech speech-b en-us+f3 170 60 "Hello there! I hear you loud and clear. \
Listen to these numbers: seven, four, nine, one, five. \
The quick river runs beside the old stone bridge. Talk to you soon."

ls -l "$out"
