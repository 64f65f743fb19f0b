// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"crypto/hpke"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// fixedDevice returns one of two devices whose keys are in testdata, so that
// what fuzzing found in one process means the same in the next.
func fixedDevice(t testing.TB, name string) *identity.Device {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "identity.key"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := identity.Open(dir, start, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// FuzzOffer: what is read is written again as the same offer.
func FuzzOffer(f *testing.F) {
	f.Add(appendOffer(nil, opus))
	f.Add(unhex("01000b6f0000bb8002046f7075730200040102030403000400000005"))
	f.Add(unhex("0100000200040102030409000a00000000000000000000"))
	f.Add(unhex("0200040000000002000400000001"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		again := appendOffer(nil, o)
		p, err := parseOffer(again)
		if err != nil || len(p.Codecs) > len(o.Codecs) || p.SSRC != o.SSRC || p.Capabilities != o.Capabilities {
			t.Fatalf("%+v became %+v, %v", o, p, err)
		}
		if _, _, err := accept(o, opus); err != nil && err != ErrIncompatible {
			t.Fatal(err)
		}
		settle(opus, o)
	})
}

func FuzzControl(f *testing.F) {
	key := repeat32(1)
	f.Add(appendControl(nil, control{kind: typeRinging, seq: 1}, &key))
	f.Add(unhex("05000102030405060708090a0b0c0d0e0f01000104020004000000076cf04bbf7164d3dfab040c832376847e"))
	f.Add(unhex("0700000000000000000000000000000000"))
	f.Add([]byte{6})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, covered, mac, err := parseControl(b)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(append(bytes.Clone(covered), mac...), b) || len(b) > maxControl {
			t.Fatal("MAC does not cover the message")
		}
		if checkControl(&[32]byte{9}, covered, mac) == nil {
			t.Fatal("MAC of a key nobody has")
		}
		c2, _, _, err := parseControl(appendControl(nil, c, &key))
		if err != nil || c2 != c {
			t.Fatalf("%+v became %+v, %v", c, c2, err)
		}
	})
}

// FuzzInvite decodes the plain form: the sealed one is noise to a fuzzer.
func FuzzInvite(f *testing.F) {
	a, b := newSide(f, "anna", fixedDevice(f, "anna"), 1, Options{}), newSide(f, "ben", fixedDevice(f, "ben"), 2, Options{})
	_, msg, err := newInvite(start, a.dev, a.node, "anna", b.dev.Certificate(), b.node, CallID{1}, opus)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := b.dev.Unseal([]byte(contextInvite), msg[1:])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(plain[:len(plain)-65])
	f.Add(rewrite(plain, func(tag uint8, v []byte) []byte { return v[:len(v)/2] }))
	f.Add([]byte{1})
	f.Add(make([]byte, 65))
	f.Fuzz(func(t *testing.T, p []byte) {
		inv, _, signed, sig, err := parseInvite(p, start)
		if err != nil {
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrForged) {
				t.Fatal(err)
			}
		} else if len(inv.name) > maxName || len(inv.kem) != kemKeySize || inv.offer.SSRC == 0 ||
			!bytes.Equal(append(bytes.Clone(signed), sig...), p) {
			t.Fatalf("%+v", inv)
		}
		// And as a hostile sealed message of a known peer.
		sealed, err := identity.Seal(b.dev.Certificate().Sealing, []byte(contextInvite), p)
		if err != nil {
			t.Fatal(err)
		}
		openInvite(start, b.dev, b.node, a.peer(), append([]byte{byte(typeInvite)}, sealed...))
	})
}

func FuzzAnswer(f *testing.F) {
	a, b := newSide(f, "anna", fixedDevice(f, "anna"), 1, Options{}), newSide(f, "ben", fixedDevice(f, "ben"), 2, Options{})
	kem, err := hpke.MLKEM768X25519().DeriveKeyPair(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	inv := &invitation{id: CallID{1}, offer: opus, kem: kem, sealed: []byte("an invite")}
	msg, _, err := newAnswer(b.dev, &invite{
		id: inv.id, caller: a.dev.Certificate(), kem: kem.PublicKey().Bytes(), sealed: inv.sealed,
	}, Offer{Codecs: opus.Codecs, SSRC: 78})
	if err != nil {
		f.Fatal(err)
	}
	_, sealed, err := splitAnswer(msg)
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := openAnswer(start, a.dev, inv, b.peer(), sealed); err != nil {
		f.Fatal(err)
	}
	plain, err := a.dev.Unseal([]byte(contextAnswer), sealed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(plain[:len(plain)-65])
	f.Add(rewrite(plain, func(tag uint8, v []byte) []byte { return v[:len(v)/2] }))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, p []byte) {
		ans, err := parseAnswer(p, start)
		if err != nil {
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrForged) {
				t.Fatal(err)
			}
		} else if len(ans.enc) != kemEncSize || len(ans.invite) != 32 {
			t.Fatalf("%+v", ans)
		}
		sealed, err := identity.Seal(a.dev.Certificate().Sealing, []byte(contextAnswer), p)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = openAnswer(start, a.dev, inv, b.peer(), sealed)
		if err == nil && !identity.Verify(b.dev.Certificate().Device, contextAnswer, ans.signed, ans.sig) {
			t.Fatal("an answer nobody signed was accepted")
		}
	})
}

// FuzzProof opens raw messages and, sealed under the right key, raw contents.
func FuzzProof(f *testing.F) {
	l := newLink(f)
	l.asker, l.answerer = fixedDevice(f, "anna"), fixedDevice(f, "ben")
	l.secret = l.answerer.Reach()
	q := l.ask()
	secrets := []identity.Secret{l.secret}
	var tag [16]byte
	copy(tag[:], q[1:])
	plain, err := identity.OpenSecret(proofKey(l.secret, l.a.Exporter, Asker), tag[:], q[17:])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	f.Add(plain)
	f.Add(plain[:64])
	f.Add(Refusal())
	f.Add(append([]byte{1}, make([]byte, 56)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		cert, _, err := OpenProof(start, b, l.b, Asker, l.answerer.ID(), secrets)
		if err == nil && !bytes.Equal(cert.Raw(), l.asker.Certificate().Raw()) {
			t.Fatal("a proof nobody made")
		}
		sealed := identity.SealSecret(proofKey(l.secret, l.a.Exporter, Asker), tag[:], b)
		msg := append(append([]byte{byte(typeProve)}, tag[:]...), sealed...)
		if _, _, err := OpenProof(start, msg, l.b, Asker, l.answerer.ID(), secrets); err == nil && !bytes.Equal(b, plain) {
			t.Fatal("a content nobody signed")
		}
	})
}

// FuzzMachineReceive plays a script on two machines: genuine messages, changed
// ones, junk, commands and time, in any order. Each step is two bytes, what and
// how; junk takes its bytes from the script.
func FuzzMachineReceive(f *testing.F) {
	f.Add([]byte{0, 0, 4, 0, 4, 1, 1, 1, 4, 1, 3, 0, 4, 0})
	f.Add([]byte{0, 0, 0, 1, 4, 0, 4, 1, 4, 0, 4, 1, 3, 1, 4, 1})
	f.Add([]byte{0, 0, 5, 9, 5, 40, 4, 0, 7, 50, 6, 3, 2, 0, 0, 1, 8, 0, 9, 0})
	f.Add([]byte{6, 30, 2, 3, 4, 5, 0, 0, 8, 0, 8, 1, 9, 0, 9, 1, 0, 0, 4, 0, 7, 255})
	da, db := fixedDevice(f, "anna"), fixedDevice(f, "ben")
	f.Fuzz(func(t *testing.T, script []byte) {
		a, b := newSide(t, "anna", da, 1, Options{}), newSide(t, "ben", db, 2, Options{})
		introduce(a, b)
		now := start
		last := map[*side]CallID{}
		steps := 0
		for len(script) >= 2 && steps < 60 {
			steps++
			what, how := script[0], script[1]
			script = script[2:]
			s, o := a, b
			if how%2 == 1 {
				s, o = b, a
			}
			switch what % 10 {
			case 0:
				if id, err := s.m.Place(now, o.peer()); err == nil {
					last[s] = id
				}
			case 1:
				s.m.Answer(now, last[s])
			case 2:
				s.m.Reject(now, last[s], Reason(how))
			case 3:
				s.m.HangUp(now, last[s])
			case 4, 5: // deliver the next message, intact or not, maybe twice
				if len(s.wire) == 0 {
					break
				}
				body := s.wire[0].Body
				if what%10 == 5 {
					body = bytes.Clone(body)
					body[int(how)*7%len(body)] ^= 1 << (how % 8)
				}
				if how < 128 {
					s.wire = s.wire[1:]
				}
				o.m.Receive(now, s.peer(), body)
			case 6:
				n := min(int(how), len(script))
				s.m.Receive(now, o.peer(), script[:n])
				script = script[n:]
			case 7:
				now = now.Add(time.Duration(how) * time.Second / 2)
				s.m.Advance(now)
			case 8:
				s.m.Forget(now, o.peer())
			case 9:
				s.m.Know(o.peer(), o.dev.Certificate())
			}
			for _, s := range []*side{a, b} {
				s.drain()
				for _, e := range s.take() {
					switch e := e.(type) {
					case Incoming:
						last[s] = e.ID
					case Replaced:
						last[s] = e.New
					}
				}
				if len(s.m.calls) > 1 || len(s.m.ended) > maxEnded {
					t.Fatalf("%s holds %d calls, %d ended", s.name, len(s.m.calls), len(s.m.ended))
				}
			}
		}
		for range 4 { // ring, echo, media: nothing outlives three minutes
			now = now.Add(time.Minute)
			a.advance(now)
			b.advance(now)
		}
		for _, s := range []*side{a, b} {
			if len(s.m.calls) != 0 {
				t.Fatalf("%s is left with a call: %v", s.name, s.trace)
			}
			once(t, s)
		}
	})
}

// FuzzStreamReceive gives one stream raw datagrams and, protected with the
// peer's keys, raw RTCP.
func FuzzStreamReceive(f *testing.F) {
	x, y := streams(f)
	pkt, err := x.Send(start, frame(40), nil)
	if err != nil {
		f.Fatal(err)
	}
	report, err := x.Report(start, nil)
	if err != nil {
		f.Fatal(err)
	}
	plain, err := y.In.unprotect.RTCP(nil, report)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pkt)
	f.Add(report)
	f.Add(plain)
	f.Add([]byte{0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 200, 0, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y := streams(t)
		y.Receive(start, b)
		SSRCOf(b)
		if len(b) >= 8 && len(b) < 1400 && b[0]>>6 == 2 {
			if pkt, err := x.Out.protect.RTCP(nil, b); err == nil {
				y.Receive(start, pkt)
			}
		}
		if _, err := y.Report(start.Add(time.Second), nil); err != nil {
			t.Fatal(err)
		}
	})
}
