// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParseID(f *testing.F) {
	f.Add(goldenID)
	f.Add(strings.ToUpper(goldenID[:29]) + " – " + goldenID[29:])
	f.Add(goldenID[:7] + "u" + goldenID[8:])
	f.Add(goldenID[:7] + "zz" + goldenID[9:50] + "z" + goldenID[51:])
	f.Add(goldenID[1:])
	f.Add(goldenTicket)
	f.Add("\xff\u2212\x00")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		var typo *TypoError
		switch {
		case err == nil:
			if again, err := ParseID(id.String()); err != nil || again != id {
				t.Fatalf("%q: %v does not parse again: %v", s, id, err)
			}
		case errors.As(err, &typo):
			// Putting in what is wanted leaves nothing to complain about
			// but the version and the zero ID.
			runes := []rune(s)
			fixable := true
			for e := typo; e != nil; e = e.Next {
				if e.Pos == 0 {
					if e.From < 1 || e.From > e.To || e.To > len(runes) {
						t.Fatalf("%q: %+v", s, e)
					}
				} else if e.Pos > len(runes) || runes[e.Pos-1] != e.Got {
					t.Fatalf("%q: %+v", s, e)
				} else if e.Want != 0 {
					runes[e.Pos-1] = e.Want
				}
				fixable = fixable && e.Want != 0
			}
			if _, err := ParseID(string(runes)); fixable && err != nil && !errors.Is(err, ErrNotID) {
				t.Fatalf("%q put right: %v", s, err)
			}
		case !errors.Is(err, ErrNotID):
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func FuzzParseTicket(f *testing.F) {
	f.Add(goldenTicket, []byte{})
	f.Add(strings.ToUpper(goldenTicket), []byte{2})
	f.Add(goldenTicket[:100], []byte{ticketVersion, 1, 0, 32})
	f.Add("p2pos:", []byte{ticketVersion})
	golden, _ := scan(goldenTicket[len(ticketPrefix):], 0)
	if b, ok := decode32(golden); ok {
		f.Add("", b[:len(b)-ticketSum])
	}
	check := func(t *testing.T, s string) {
		k, err := ParseTicket(s, now)
		if err != nil && !errors.Is(err, ErrTicketExpired) {
			if !reflect.DeepEqual(k, Ticket{}) {
				t.Fatalf("%q: %v, but %+v", s, err, k)
			}
			return
		}
		if k.Expires.Unix() == 0 {
			return // can be read, is never written
		}
		text, err := k.Text()
		if err != nil {
			t.Fatalf("%q: %+v cannot be written: %v", s, k, err)
		}
		if again, err := ParseTicket(text, now.AddDate(-60, 0, 0)); err != nil && !errors.Is(err, ErrTicketExpired) || !reflect.DeepEqual(again, k) {
			t.Fatalf("%q: %+v became %+v, %v", s, k, again, err)
		}
		if fit := k.Fit(); len(fit.Addrs) != len(k.Addrs) || len(fit.Introducers) != len(k.Introducers) {
			t.Fatalf("%+v fits but was cut to %+v", k, fit)
		}
	}
	f.Fuzz(func(t *testing.T, s string, body []byte) {
		check(t, s)
		check(t, sealTicket(bytes.Clone(body))) // past the checksum
	})
}

func FuzzParseCertificate(f *testing.F) {
	key := ed25519.NewKeyFromSeed(seed(0, 32))
	raw := testDevice(f, now, "desk").Certificate().Raw()
	f.Add(raw)
	f.Add(raw[:len(raw)-64])
	f.Add(testDevice(f, now, "").Certificate().Raw())
	f.Add([]byte{certVersion})
	check := func(t *testing.T, b []byte) {
		c, err := ParseCertificate(b, now)
		if err != nil {
			if !errors.Is(err, ErrCertificate) && !errors.Is(err, ErrExpired) {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		if !bytes.Equal(c.Raw(), b) || len(c.Device) != ed25519.PublicKeySize || len(c.Name) > maxName ||
			c.NotAfter.Sub(c.NotBefore) > certLife || !utf8.ValidString(c.Name) {
			t.Fatalf("%x: %+v", b, c)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, b)
		// Past the signature: the same bytes, signed as they are.
		check(t, append(bytes.Clone(b), Sign(key, certContext, b)...))
	})
}

func FuzzParseNetwork(f *testing.F) {
	good := Network{Name: "acme", secret: [32]byte(seed(1, 32)), size: 16}.Text()
	f.Add(good, []byte{})
	f.Add("p2posnet:acme:", append([]byte{networkVersion}, seed(1, 32)...))
	f.Add("P2POSNET:é:0 0-0", []byte{2})
	f.Add("correct horse battery staple", append([]byte{networkVersion}, seed(1, 33)...))
	check := func(t *testing.T, s string) {
		n, err := ParseNetwork(s)
		if err != nil {
			if !errors.Is(err, ErrNetwork) || n != (Network{}) {
				t.Fatalf("%q: %v, %v", s, n, err)
			}
			return
		}
		if again, err := ParseNetwork(n.Text()); err != nil || again != n || n.Check() != nil || n.IsPublic() {
			t.Fatalf("%q: %q, %v", s, n.Text(), err)
		}
	}
	f.Fuzz(func(t *testing.T, s string, body []byte) {
		check(t, s)
		sum := networkChecksum(body, "acme")
		check(t, "p2posnet:acme:"+encode32(append(bytes.Clone(body), sum[:]...)))
	})
}

func FuzzOpenStore(f *testing.F) {
	plain := sealStore(nil, testDevice(f, now, "desk").encode())
	locked := sealStore(newLock(cheap(), []byte("pass")), testDevice(f, now, "desk").encode())
	for _, b := range [][]byte{nil, plain, locked, plain[:len(plain)-sha256.Size], locked[:len(locked)-sha256.Size], plain[12 : len(plain)-sha256.Size]} {
		f.Add(b)
	}
	check := func(t *testing.T, b []byte) {
		file, err := parseStore(b)
		if err != nil {
			if !errors.Is(err, ErrStoreDamaged) && !errors.Is(err, ErrStoreNewer) {
				t.Fatal(err)
			}
			return
		}
		if file.lock != nil {
			if !file.lock.kdf.valid() {
				t.Fatalf("cost %+v accepted", file.lock.kdf)
			}
			return // deriving a key takes what it takes
		}
		d, err := decodeDevice(file.body)
		if err != nil {
			if !errors.Is(err, ErrStoreDamaged) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodeDevice(d.encode()); err != nil || !same(d, again) {
			t.Fatalf("%x: read, written and read again: %v", b, err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, b)
		sum := sha256.Sum256(b)
		check(t, append(bytes.Clone(b), sum[:]...)) // past the checksum
		if len(b) <= 0xffff {
			check(t, sealStore(nil, bytes.Clone(b))) // past the frame
		}
	})
}
