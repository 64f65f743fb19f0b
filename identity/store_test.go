// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/p2pos/p2pos/internal/wire"
)

// cheap keeps tests of encrypted stores fast.
func cheap() kdf { return kdf{time: 1, memory: 8, threads: 1} }

func TestStoreFrame(t *testing.T) {
	list := testDevice(t, now, "desk").encode()
	want := bytes.Clone(list)
	for what, l := range map[string]*lock{"open": nil, "encrypted": newLock(cheap(), []byte("pass"))} {
		b := sealStore(l, bytes.Clone(list))
		if (l != nil) == bytes.Contains(b, want[40:72]) {
			t.Errorf("%s: keys in the clear, or not", what)
		}
		f, err := parseStore(b)
		if err != nil {
			t.Fatal(err)
		}
		pass := []byte("pass")
		got, err := f.open(pass)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v", what, got, err)
		}
		if l != nil && !bytes.Equal(pass, make([]byte, 4)) {
			t.Errorf("passphrase %q was not wiped", pass)
		}
	}
	sealStore(nil, list)
	if !bytes.Equal(list, make([]byte, len(list))) {
		t.Error("sealStore left the keys behind")
	}
}

// Any change and any cut is told from a wrong passphrase.
func TestStoreDamage(t *testing.T) {
	for _, l := range []*lock{nil, newLock(cheap(), []byte("pass"))} {
		b := sealStore(l, testDevice(t, now, "desk").encode())
		for i := range b {
			if _, err := parseStore(b[:i]); !errors.Is(err, ErrStoreDamaged) {
				t.Fatalf("cut at %d: %v", i, err)
			}
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, err := parseStore(bad); !errors.Is(err, ErrStoreDamaged) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
		if _, err := parseStore(append(b, 0)); !errors.Is(err, ErrStoreDamaged) {
			t.Errorf("a byte more: %v", err)
		}
	}
	if _, err := parseStore(make([]byte, maxStore+1)); !errors.Is(err, ErrStoreDamaged) {
		t.Errorf("a huge file: %v", err)
	}
}

// withSum edits a store's frame and puts the checksum right again.
func withSum(b []byte, edit func([]byte)) []byte {
	c := bytes.Clone(b[:len(b)-sha256.Size])
	edit(c)
	sum := sha256.Sum256(c)
	return append(c, sum[:]...)
}

func TestStoreFrameContent(t *testing.T) {
	plain := sealStore(nil, testDevice(t, now, "desk").encode())
	locked := sealStore(newLock(cheap(), []byte("pass")), testDevice(t, now, "desk").encode())
	for _, c := range []struct {
		what string
		b    []byte
		edit func([]byte)
		want error
	}{
		{"unchanged", plain, func([]byte) {}, nil},
		{"version 2", plain, func(b []byte) { b[8] = 2 }, ErrStoreNewer},
		{"version 0", plain, func(b []byte) { b[8] = 0 }, ErrStoreNewer},
		{"unknown flag", plain, func(b []byte) { b[9] |= 2 }, ErrStoreNewer},
		{"body too long", plain, func(b []byte) { b[10]++ }, ErrStoreDamaged},
		{"body too short", plain, func(b []byte) { b[11]-- }, ErrStoreDamaged},
		{"no passes", locked, func(b []byte) { clear(b[10:14]) }, ErrStoreDamaged},
		{"a billion passes", locked, func(b []byte) { b[10] = 0x40 }, ErrStoreDamaged},
		{"100 GiB", locked, func(b []byte) { b[14] = 6 }, ErrStoreDamaged},
		{"no memory", locked, func(b []byte) { clear(b[14:18]) }, ErrStoreDamaged},
		{"no threads", locked, func(b []byte) { b[18] = 0 }, ErrStoreDamaged},
		{"200 threads", locked, func(b []byte) { b[18] = 200 }, ErrStoreDamaged},
	} {
		if _, err := parseStore(withSum(c.b, c.edit)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if !defaultKDF().valid() || !cheap().valid() {
		t.Error("our own cost is refused")
	}
	if (kdf{time: 1, memory: 1<<20 + 1, threads: 1}).valid() || (kdf{time: 1, memory: 8 * 16, threads: 17}).valid() {
		t.Error("an absurd cost is accepted")
	}
}

// The frame in front of an encrypted body is authenticated by the passphrase.
func TestStoreHeadAuthenticated(t *testing.T) {
	b := withSum(sealStore(newLock(cheap(), []byte("pass")), testDevice(t, now, "").encode()), func(b []byte) { b[19] ^= 1 })
	f, err := parseStore(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.open([]byte("pass")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another salt: %v", err)
	}
}

func TestDecodeDevice(t *testing.T) {
	good := map[uint8][]byte{}
	err := wire.Fields(testDevice(t, now, "desk").encode(), func(tag uint8, v []byte) error { good[tag] = v; return nil })
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewDevice(now, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		edit func(m map[uint8][]byte)
		want error
	}{
		{"unchanged", func(map[uint8][]byte) {}, nil},
		{"without the identity key", func(m map[uint8][]byte) { delete(m, 1) }, nil},
		{"no device key", func(m map[uint8][]byte) { delete(m, 2) }, ErrStoreDamaged},
		{"no sealing key", func(m map[uint8][]byte) { delete(m, 3) }, ErrStoreDamaged},
		{"no reach secret", func(m map[uint8][]byte) { delete(m, 4) }, ErrStoreDamaged},
		{"no reset secret", func(m map[uint8][]byte) { delete(m, 5) }, ErrStoreDamaged},
		{"no certificate", func(m map[uint8][]byte) { delete(m, 6) }, ErrStoreDamaged},
		{"short identity", func(m map[uint8][]byte) { m[1] = m[1][1:] }, ErrStoreDamaged},
		{"short device key", func(m map[uint8][]byte) { m[2] = m[2][1:] }, ErrStoreDamaged},
		{"short sealing key", func(m map[uint8][]byte) { m[3] = m[3][1:] }, ErrStoreDamaged},
		{"long reset", func(m map[uint8][]byte) { m[5] = append(bytes.Clone(m[5]), 0) }, ErrStoreDamaged},
		{"cut certificate", func(m map[uint8][]byte) { m[6] = m[6][:100] }, ErrStoreDamaged},
		{"another identity", func(m map[uint8][]byte) { m[1] = other.identity.Seed() }, ErrStoreDamaged},
		{"another device key", func(m map[uint8][]byte) { m[2] = other.key.Seed() }, ErrStoreDamaged},
		{"another sealing key", func(m map[uint8][]byte) { m[3] = other.sealing.Bytes() }, ErrStoreDamaged},
		{"another certificate", func(m map[uint8][]byte) { m[6] = other.cert.Raw() }, ErrStoreDamaged},
	} {
		m := map[uint8][]byte{9: []byte("a later field"), 200: nil}
		for tag, v := range good {
			m[tag] = v
		}
		c.edit(m)
		var list []byte
		for tag := range uint8(255) {
			if v, ok := m[tag]; ok {
				list = wire.AppendField(list, tag, v)
			}
		}
		d, err := decodeDevice(list)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if err == nil && !bytes.Equal(d.encode(), list) {
			t.Errorf("%s: writing it again loses something", c.what)
		}
	}
	if _, err := decodeDevice(nil); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("nothing: %v", err)
	}
}
