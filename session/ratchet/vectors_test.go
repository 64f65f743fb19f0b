// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// testdata/talk.txt is a talk of two devices whose keys are in
// session/testdata, with every byte that one of them sends and every secret an
// implementation needs to check itself. P2POS_UPDATE=1 writes it anew.
const vectorFile = "testdata/talk.txt"

const vectorHead = `# A talk by design/011-chat.md. Random bytes are a stream of each side:
# block i = SHA-256(seed || i as 8 bytes, big endian), used from the first byte on.
# b draws: base key, two hybrid keys' seeds (32 bytes each). a draws: pick (1), ephemeral key (32), first ratchet key (32).
# Then each draws a nonce (24) for each message it makes, and a ratchet key (32) for each turn, after the message has opened.
# anna = a, ben = b; "says N TEXT MESSAGE" makes message N, "reads N" opens it at the other side.
`

// stream is randomness from a seed.
func stream(seed []byte) entropy {
	var buf []byte
	var i uint64
	return func(b []byte) {
		for len(buf) < len(b) {
			h := sha256.Sum256(binary.BigEndian.AppendUint64(bytes.Clone(seed), i))
			buf = append(buf, h[:]...)
			i++
		}
		copy(b, buf)
		buf = buf[len(b):]
	}
}

// fixedDevice opens a device whose keys are in the session's testdata.
func fixedDevice(t testing.TB, name string) *identity.Device {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "identity.key"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := identity.Open(dir, fixedTime, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fixedTime is inside the certificates of testdata.
var fixedTime = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// script is the talk: who says what, and what is read when. Messages are
// numbered from 1.
var script = []string{
	"a says first", "a says second", "b reads 2", "b says hello", "a reads 3", "b reads 1",
	"a says three", "a says four", "a says five", "b reads 6", "b says six", "b reads 4", "a reads 7", "a says seven", "b reads 8", "b reads 5",
}

type vectors struct {
	values map[string]string
	steps  []string
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	f, err := os.Open(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := vectors{values: map[string]string{}}
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if name, value, ok := strings.Cut(line, " = "); ok {
			v.values[name] = value
		} else {
			v.steps = append(v.steps, line)
		}
	}
	return v
}

func (v vectors) hex(t *testing.T, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.values[name])
	if err != nil || len(b) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

func TestVectors(t *testing.T) {
	if os.Getenv("P2POS_UPDATE") != "" {
		writeVectors(t)
	}
	v := readVectors(t)
	dev := map[string]*identity.Device{"a": fixedDevice(t, "anna"), "b": fixedDevice(t, "ben")}
	random := map[string]entropy{"a": stream(v.hex(t, "seed a")), "b": stream(v.hex(t, "seed b"))}

	ring := &Keyring{published: []*generation{newGeneration(random["b"], dev["b"], fixedTime, fixedTime.Add(BundleLife), maxKeys)}}
	g := ring.published[0]
	if !bytes.Equal(g.raw, v.hex(t, "bundle")) {
		t.Fatal("the bundle differs")
	}
	start := v.hex(t, "start")
	o, err := openStart(fixedTime, dev["b"], start)
	if err != nil {
		t.Fatal(err)
	}
	root, transcript, err := o.agree(dev["b"], g)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(root[:], v.hex(t, "root")) || !bytes.Equal(transcript[:], v.hex(t, "transcript")) {
		t.Fatalf("root %x, transcript %x", root, transcript)
	}
	var pick [1]byte
	random["a"](pick[:])
	if int(pick[0])%maxKeys != o.number || !bytes.Equal(newX25519(random["a"]).PublicKey().Bytes(), o.ephemeral) {
		t.Fatal("another key was picked, or another ephemeral one")
	}
	a := &Session{
		Peer: PartyOf(dev["b"].Certificate()), Began: fixedTime, transcript: transcript, start: start,
		root: root, theirs: [32]byte(g.base.PublicKey().Bytes()), mine: newX25519(random["a"]),
	}
	if err := a.turn(&a.sending); err != nil {
		t.Fatal(err)
	}
	ends := map[string]*Session{"a": a}
	var messages [][]byte
	var texts []string
	for _, line := range v.steps {
		w := strings.Fields(line)
		who := w[0]
		switch w[1] {
		case "says":
			got := ends[who].encrypt(random[who], here, []byte(w[3]))
			want, err := hex.DecodeString(w[4])
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%.40s…: got %x", line, got)
			}
			messages, texts = append(messages, got), append(texts, w[3])
		case "reads":
			var n int
			fmt.Sscan(w[2], &n)
			var plain []byte
			var err error
			if ends[who] == nil {
				ends[who], _, plain, err = ring.accept(random[who], fixedTime, dev[who], start, here, messages[n-1])
			} else {
				plain, err = ends[who].decrypt(random[who], fixedTime, here, messages[n-1])
			}
			if err != nil || string(plain) != texts[n-1] {
				t.Fatalf("%s: %q, %v", line, plain, err)
			}
		}
	}
}

func writeVectors(t *testing.T) {
	t.Helper()
	seeds := map[string][]byte{}
	for _, k := range []string{"a", "b"} {
		h := sha256.Sum256([]byte("p2pos chat vectors " + k))
		seeds[k] = h[:]
	}
	random := map[string]entropy{"a": stream(seeds["a"]), "b": stream(seeds["b"])}
	dev := map[string]*identity.Device{"a": fixedDevice(t, "anna"), "b": fixedDevice(t, "ben")}
	g := newGeneration(random["b"], dev["b"], fixedTime, fixedTime.Add(BundleLife), maxKeys)
	ring := &Keyring{published: []*generation{g}}
	bundle, err := ParseBundle(g.raw, fixedTime)
	if err != nil {
		t.Fatal(err)
	}
	a, err := start(random["a"], fixedTime, dev["a"], bundle)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openStart(fixedTime, dev["b"], a.start)
	if err != nil {
		t.Fatal(err)
	}
	root, transcript, err := o.agree(dev["b"], g)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString(vectorHead)
	for _, k := range []struct {
		name string
		v    []byte
	}{{"seed a", seeds["a"]}, {"seed b", seeds["b"]}, {"bundle", g.raw}, {"start", a.start}, {"root", root[:]}, {"transcript", transcript[:]}, {"context", here}} {
		fmt.Fprintf(&out, "%s = %x\n", k.name, k.v)
	}
	ends := map[string]*Session{"a": a}
	sealed := bytes.Clone(a.start)
	var messages [][]byte
	for _, line := range script {
		who, verb, arg := line[:1], strings.Fields(line)[1], strings.Fields(line)[2]
		if verb == "says" {
			m := ends[who].encrypt(random[who], here, []byte(arg))
			messages = append(messages, m)
			fmt.Fprintf(&out, "%s says %d %s %x\n", who, len(messages), arg, m)
			continue
		}
		var n int
		fmt.Sscan(arg, &n)
		if ends[who] == nil {
			ends[who], _, _, err = ring.accept(random[who], fixedTime, dev[who], sealed, here, messages[n-1])
		} else {
			_, err = ends[who].decrypt(random[who], fixedTime, here, messages[n-1])
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		fmt.Fprintln(&out, line)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
