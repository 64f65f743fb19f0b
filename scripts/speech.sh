#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial
#
# Makes media/testdata/speech-a.ogg, speech-b.ogg and tone.ogg again.
# Needs espeak-ng, opus-tools and Go; installs nothing.
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

# The tone: opusenc starts a file from silence, so take two seconds out of the
# middle, where the tone is settled. 100 packets hold 880 whole waves: a player
# that starts over after the last packet goes on in phase.
cat >"$tmp/tone.go" <<'GO'
package main

import (
	"bytes"
	"encoding/binary"
	"log"
	"math"
	"os"
	"os/exec"

	"github.com/p2pos/p2pos/media/ogg"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	pcm := make([]byte, 0, 4*48000*2)
	for i := range 4 * 48000 {
		v := 3000 * math.Sin(2*math.Pi*440*float64(i)/48000)
		pcm = binary.LittleEndian.AppendUint16(pcm, uint16(int16(v)))
	}
	cmd := exec.Command("opusenc", "--quiet", "--raw", "--raw-chan", "1", "--music",
		"--hard-cbr", "--bitrate", "24", "--framesize", "20", "--padding", "0", "-", "-")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(pcm), os.Stderr
	encoded, err := cmd.Output()
	check(err)
	in, err := ogg.NewReader(bytes.NewReader(encoded))
	check(err)
	f, err := os.Create(os.Args[1])
	check(err)
	// 50 ms, 22 whole waves, for a fresh decoder to settle in.
	out, err := ogg.NewWriter(f, ogg.Options{PreSkip: 2400})
	check(err)
	for i := range 150 {
		p, err := in.Next()
		check(err)
		if i >= 50 {
			check(out.WritePacket(p, 960))
		}
	}
	check(out.Close())
	check(f.Close())
}
GO
go run "$tmp/tone.go" "$out/tone.ogg"

ls -l "$out"
