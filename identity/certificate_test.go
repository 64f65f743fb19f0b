// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

func TestCertificate(t *testing.T) {
	d := testDevice(t, now, "desk")
	raw := d.Certificate().Raw()
	c, err := ParseCertificate(raw, now)
	if err != nil {
		t.Fatal(err)
	}
	if c.Identity != d.ID() || !c.Device.Equal(d.Key().Public()) || c.Name != "desk" ||
		c.Sealing != [32]byte(d.sealing.PublicKey().Bytes()) ||
		!c.NotBefore.Equal(now) || c.NotAfter.Sub(c.NotBefore) != certLife {
		t.Errorf("%+v", c)
	}
	if !bytes.Equal(c.Raw(), raw) {
		t.Error("Raw differs from what was parsed")
	}
	// Neither the input nor what Raw gives reaches into the certificate.
	clear(raw)
	clear(c.Raw())
	if _, err := ParseCertificate(c.Raw(), now); err != nil || !c.Device.Equal(d.Key().Public()) {
		t.Errorf("certificate changed with its input: %v", err)
	}
	if got := len(testDevice(t, now, strings.Repeat("x", 99)).Certificate().Raw()); got > maxCert {
		t.Errorf("longest certificate has %d bytes", got)
	}
}

func TestCertificateTimes(t *testing.T) {
	raw := testDevice(t, now, "").Certificate().Raw()
	end := now.Add(certLife)
	for _, c := range []struct {
		at   time.Time
		want error
	}{
		{now, nil}, {end, nil},
		{now.Add(-certSkew), nil}, {end.Add(certSkew), nil}, // clocks may be an hour off
		{now.Add(-certSkew - time.Second), ErrExpired}, {end.Add(certSkew + time.Second), ErrExpired},
		{time.Time{}, ErrExpired}, {time.Unix(1<<40, 0), ErrExpired},
	} {
		if _, err := ParseCertificate(raw, c.at); !errors.Is(err, c.want) {
			t.Errorf("at %v: %v, want %v", c.at, err, c.want)
		}
	}
}

// Every bit of a certificate is protected.
func TestCertificateBitFlips(t *testing.T) {
	raw := testDevice(t, now, "desk").Certificate().Raw()
	for i := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := ParseCertificate(bad, now); !errors.Is(err, ErrCertificate) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for i := range raw {
		if _, err := ParseCertificate(raw[:i], now); !errors.Is(err, ErrCertificate) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
	}
	if _, err := ParseCertificate(append(raw, 0), now); !errors.Is(err, ErrCertificate) {
		t.Errorf("a byte more: %v", err)
	}
}

// certFields returns a good certificate's fields by tag.
func certFields(t *testing.T) map[uint8][]byte {
	raw := testDevice(t, now, "desk").Certificate().Raw()
	m := map[uint8][]byte{}
	err := wire.Fields(raw[1:len(raw)-64], func(tag uint8, v []byte) error { m[tag] = bytes.Clone(v); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What the identity itself signs must still keep the rules.
func TestCertificateContent(t *testing.T) {
	span := func(from, to uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, from), to)
	}
	at := uint64(now.Unix())
	const day = 86400
	for _, c := range []struct {
		what string
		edit func(m map[uint8][]byte)
		want error
	}{
		{"unchanged", func(map[uint8][]byte) {}, nil},
		{"unknown field", func(m map[uint8][]byte) { m[9] = []byte("later") }, nil},
		{"no name", func(m map[uint8][]byte) { delete(m, 5) }, nil},
		{"no identity", func(m map[uint8][]byte) { delete(m, 1) }, ErrCertificate},
		{"no device", func(m map[uint8][]byte) { delete(m, 2) }, ErrCertificate},
		{"no time", func(m map[uint8][]byte) { delete(m, 3) }, ErrCertificate},
		{"no sealing key", func(m map[uint8][]byte) { delete(m, 4) }, ErrCertificate},
		{"short device", func(m map[uint8][]byte) { m[2] = m[2][1:] }, ErrCertificate},
		{"long sealing key", func(m map[uint8][]byte) { m[4] = append(m[4], 0) }, ErrCertificate},
		{"91 days", func(m map[uint8][]byte) { m[3] = span(at, at+91*day) }, ErrCertificate},
		{"a second too long", func(m map[uint8][]byte) { m[3] = span(at, at+90*day+1) }, ErrCertificate},
		{"backwards", func(m map[uint8][]byte) { m[3] = span(at, at-1) }, ErrCertificate},
		{"empty time", func(m map[uint8][]byte) { m[3] = span(at, at) }, ErrCertificate},
		{"time that wraps", func(m map[uint8][]byte) { m[3] = span(1<<63, 1<<63+day) }, ErrCertificate},
		{"one day", func(m map[uint8][]byte) { m[3] = span(at, at+day) }, nil},
		{"name of 33 bytes", func(m map[uint8][]byte) { m[5] = bytes.Repeat([]byte("n"), 33) }, ErrCertificate},
		{"name with a newline", func(m map[uint8][]byte) { m[5] = []byte("a\nb") }, ErrCertificate},
		{"name that turns text round", func(m map[uint8][]byte) { m[5] = []byte("a\u202eb") }, ErrCertificate},
		{"name not UTF-8", func(m map[uint8][]byte) { m[5] = []byte{0xff} }, ErrCertificate},
		{"too long", func(m map[uint8][]byte) { m[9] = make([]byte, 80) }, ErrCertificate},
	} {
		m := certFields(t)
		c.edit(m)
		b := []byte{certVersion}
		for tag := range uint8(10) {
			if v, ok := m[tag]; ok {
				b = wire.AppendField(b, tag, v)
			}
		}
		b = append(b, Sign(ed25519.NewKeyFromSeed(seed(0, 32)), certContext, b)...)
		if _, err := ParseCertificate(b, now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// The all-zero key is a point of small order under which forgeries verify.
func TestCertificateZeroIdentity(t *testing.T) {
	m := certFields(t)
	m[1] = make([]byte, 32)
	b := []byte{certVersion}
	for tag := range uint8(10) {
		if v, ok := m[tag]; ok {
			b = wire.AppendField(b, tag, v)
		}
	}
	for range 64 {
		// R = the neutral element, S = 0: verifies when k·A is neutral, one in four.
		sig := slices.Concat([]byte{1}, make([]byte, 63))
		if _, err := ParseCertificate(slices.Concat(b, sig), now); !errors.Is(err, ErrCertificate) {
			t.Fatalf("forged: %v", err)
		}
		b[len(b)-1]++ // another name, another k
		if b[len(b)-1] > 'z' {
			b[len(b)-1] = 'a'
		}
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"desk":                    "desk",
		"Zoë's phone":             "Zoë's phone",
		"a\x00b\x1b[31m":          "ab[31m",
		"a\u202eb\u2066":          "ab",
		"\xff\xfe":                "",
		strings.Repeat("é", 40):   strings.Repeat("é", 16),
		strings.Repeat("電", 40):   strings.Repeat("電", 10),
		strings.Repeat("x", 1000): strings.Repeat("x", 32),
	} {
		if got := cleanName(in); got != want {
			t.Errorf("cleanName(%q) = %q, want %q", in, got, want)
		}
		if got := cleanName(want); got != want {
			t.Errorf("cleanName is not stable on %q: %q", want, got)
		}
	}
}
