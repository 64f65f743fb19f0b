// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"crypto/hpke"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/p2pos/p2pos/identity"
)

// fixedID is 00 01 02 … 0f. The expected values in this file come from a
// separate implementation of HKDF and HMAC.
func fixedID() (id CallID) {
	for i := range id {
		id[i] = byte(i)
	}
	return id
}

func repeat32(b byte) (v [32]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

func TestGoldenKeys(t *testing.T) {
	secret := repeat32(0x11)
	for d, want := range map[direction]string{
		fromCaller: "d546aeefe0d5889c34421c550a040af1683b83320d39fdb18ea845b724292f72",
		fromCallee: "1cc14f217c8b31342e76f2f8a893fe62773a4dd1cab6c711cab7628328cdab02",
	} {
		k := signalKey(&secret, fixedID(), d)
		if got := hex.EncodeToString(k[:]); got != want {
			t.Errorf("signal key %d: %s", d, got)
		}
	}
	export, dev := repeat32(0x22), repeat32(0x33)
	salt := transcript([]byte("sealed invite"), []byte("plain answer"))
	k := mediaKey(labelSRTP, export[:], salt, fixedID(), dev[:], fromCaller, 5)
	if got := hex.EncodeToString(k.key[:]) + hex.EncodeToString(k.salt[:]); got != "3ebc928205d10483a1a53f75317ce20ffd916f2dce52b732b438e1e6" {
		t.Errorf("media key: %s", got)
	}
	p := proofKey(identity.Secret(bytes.Repeat([]byte{0x44}, 16)), repeat32(0x55), Asker)
	if got := hex.EncodeToString(p[:]); got != "0814d9f9ce4f21b2ee5297a0600a6597e68906312292e68fb554574f3f4dfc7d" {
		t.Errorf("proof key: %s", got)
	}
}

// Each input changes the key.
func TestMediaKeySeparation(t *testing.T) {
	export, dev := repeat32(1), repeat32(2)
	seen := map[Key]string{}
	add := func(what string, k Key) {
		if old, ok := seen[k]; ok {
			t.Errorf("%s gives the key of %s", what, old)
		}
		seen[k] = what
	}
	other := repeat32(3)
	add("base", mediaKey(labelSRTP, export[:], []byte("t"), CallID{}, dev[:], fromCaller, 0))
	add("export", mediaKey(labelSRTP, other[:], []byte("t"), CallID{}, dev[:], fromCaller, 0))
	add("transcript", mediaKey(labelSRTP, export[:], []byte("u"), CallID{}, dev[:], fromCaller, 0))
	add("call", mediaKey(labelSRTP, export[:], []byte("t"), CallID{1}, dev[:], fromCaller, 0))
	add("device", mediaKey(labelSRTP, export[:], []byte("t"), CallID{}, other[:], fromCaller, 0))
	add("direction", mediaKey(labelSRTP, export[:], []byte("t"), CallID{}, dev[:], fromCallee, 0))
	add("stream", mediaKey(labelVideo, export[:], []byte("t"), CallID{}, dev[:], fromCaller, 0))
	add("epoch", mediaKey(labelSRTP, export[:], []byte("t"), CallID{}, dev[:], fromCaller, 1))
}

func TestHybridKEM(t *testing.T) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	public := key.PublicKey().Bytes()
	enc, e1, err := encapsulate(public)
	if err != nil {
		t.Fatal(err)
	}
	if len(public) != kemKeySize || len(enc) != kemEncSize || len(e1) != 32 {
		t.Errorf("sizes %d, %d, %d", len(public), len(enc), len(e1))
	}
	e2, err := decapsulate(key, enc)
	if err != nil || !bytes.Equal(e1, e2) {
		t.Errorf("exports differ: %v", err)
	}
	// ML-KEM never says no, so a changed byte must give another secret.
	enc[100] ^= 1
	if e3, err := decapsulate(key, enc); err == nil && bytes.Equal(e1, e3) {
		t.Error("a changed encapsulation gives the same secret")
	}
	for _, n := range []int{0, 32, kemEncSize - 1, kemEncSize + 1} {
		if _, err := decapsulate(key, make([]byte, n)); err == nil {
			t.Errorf("%d bytes decapsulated", n)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	k := Keys{Send: Key{key: [16]byte{0xab, 0xcd, 0xef}, salt: [12]byte{0xab, 0xcd, 0xef}}}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "key", k.Send)
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v", k.Send, k, k.Send), b.String()} {
		if strings.Contains(s, "171") || strings.Contains(s, "abcd") || strings.Contains(s, "0xab") {
			t.Errorf("printed: %s", s)
		}
	}
}
