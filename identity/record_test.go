// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"
)

// testLocation is the longest location that a record holds.
func testLocation() Location {
	l := Location{Node: ed25519.NewKeyFromSeed(seed(3, 32)).Public().(ed25519.PublicKey), Class: 3, Capabilities: 0x01020304}
	for i := range byte(MaxRecordIntroducers) {
		a := netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: i + 1}), 4000)
		l.Introducers = append(l.Introducers, Introducer{Node: NodeID(seed(i, 32)), Addr: a})
	}
	for i := range byte(MaxRecordAddrs) {
		l.Addrs = append(l.Addrs, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 15: i + 9}), 5000))
	}
	l.TCP = []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:443"), netip.MustParseAddrPort("[2001:db8::2]:443")}
	return l
}

func testPlan() RecordPlan {
	return RecordPlan{Reach: Secret(seed(96, 16)), Epoch: Hour(now), Slot: 2, Sequence: 7, At: testLocation()}
}

func mustRecord(t testing.TB, d *Device, p RecordPlan) []byte {
	t.Helper()
	b, err := MakeRecord(d, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecord(t *testing.T) {
	d := testDevice(t, now, strings.Repeat("x", 32))
	p := testPlan()
	b := mustRecord(t, d, p)
	if len(b) != RecordSize {
		t.Fatalf("%d bytes", len(b))
	}
	info, err := CheckRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if info.Key != RecordKey(p.Reach, d.ID(), p.Epoch) || info.Slot != 2 || info.Epoch != p.Epoch ||
		!info.Expires.Equal(time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", info)
	}
	r, err := OpenRecord(b, d.ID(), p.Reach, now)
	if err != nil {
		t.Fatal(err)
	}
	if r.Slot != 2 || r.Epoch != p.Epoch || r.Sequence != 7 || !reflect.DeepEqual(r.At, p.At) || !bytes.Equal(r.Device.Raw(), d.Certificate().Raw()) {
		t.Errorf("%+v", r)
	}
	// A newer one has a higher sequence for holders too.
	p.Sequence++
	next, err := CheckRecord(mustRecord(t, d, p))
	if err != nil || next.Sequence != info.Sequence+1 || next.Key != info.Key {
		t.Errorf("%+v, %v", next, err)
	}
	// Withdrawn: the same size, no location.
	p.At = Location{}
	b = mustRecord(t, d, p)
	if r, err := OpenRecord(b, d.ID(), p.Reach, now); err != nil || !r.At.Gone() || len(b) != RecordSize {
		t.Errorf("%+v, %v", r, err)
	}
}

// What neither ID nor secret nor epoch fits is not read.
func TestRecordReaders(t *testing.T) {
	d, other := testDevice(t, now, ""), testDevice(t, now, "")
	other.identity = ed25519.NewKeyFromSeed(seed(9, 32))
	other.id = ID(other.identity.Public().(ed25519.PublicKey))
	p := testPlan()
	b := mustRecord(t, d, p)
	hours := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	for what, err := range map[string]error{
		"another ID":     second(OpenRecord(b, other.ID(), p.Reach, now)),
		"no key as ID":   second(OpenRecord(b, ID{}, p.Reach, now)),
		"another secret": second(OpenRecord(b, d.ID(), Secret{1}, now)),
		"no secret":      second(OpenRecord(b, d.ID(), Secret{}, now)),
		"3 hours late":   second(OpenRecord(b, d.ID(), p.Reach, hours(3))),
		"3 hours early":  second(OpenRecord(b, d.ID(), p.Reach, hours(-3))),
		"as an inbox":    second(OpenInbox(b, d.ID(), now)),
	} {
		if !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := -2; n <= 2; n++ { // the neighbouring epoch, by a clock an hour off
		at := hours(n)
		if _, err := OpenRecord(mustRecord(t, d, p), d.ID(), p.Reach, at); err != nil && !errors.Is(err, ErrExpired) {
			t.Errorf("%d hours: %v", n, err)
		}
	}
	if _, err := OpenRecord(b, d.ID(), p.Reach, now.Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRecordExpiredDevice(t *testing.T) {
	d := testDevice(t, now.Add(-certLife-2*time.Hour), "")
	b := mustRecord(t, d, testPlan())
	if _, err := OpenRecord(b, d.ID(), testPlan().Reach, now); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
}

// Every bit of a record is protected, for holders too.
func TestRecordBitFlips(t *testing.T) {
	d := testDevice(t, now, "")
	b := mustRecord(t, d, testPlan())
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		if _, err := CheckRecord(bad); !errors.Is(err, ErrRecord) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for _, n := range []int{0, 1, RecordSize - 1} {
		if _, err := CheckRecord(b[:n]); !errors.Is(err, ErrRecord) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
	if _, err := CheckRecord(append(b, 0)); !errors.Is(err, ErrRecord) {
		t.Errorf("a byte more: %v", err)
	}
}

// What somebody puts together who does not hold the keys, or holds only one.
func TestRecordForged(t *testing.T) {
	d := testDevice(t, now, "")
	p := testPlan()
	b := mustRecord(t, d, p)
	thief := ed25519.NewKeyFromSeed(seed(77, 32))
	pub := thief.Public().(ed25519.PublicKey)

	t.Run("own subkey without a certificate", func(t *testing.T) {
		bad := bytes.Clone(b)
		copy(bad[46:78], pub)
		copy(bad[recordSigAt:], Sign(thief, recordContext, bad[:recordSigAt]))
		if _, err := CheckRecord(bad); !errors.Is(err, ErrRecord) {
			t.Error(err)
		}
	})
	t.Run("own identity, blinded key of the victim", func(t *testing.T) {
		bad := bytes.Clone(b)
		copy(bad[46:78], pub)
		copy(bad[recordCertAt:], Sign(thief, subkeyContext, subkeyMessage(p.Slot, p.Epoch, bad[14:46], pub)))
		copy(bad[recordSigAt:], Sign(thief, recordContext, bad[:recordSigAt]))
		if _, err := CheckRecord(bad); !errors.Is(err, ErrRecord) {
			t.Error(err)
		}
	})
	t.Run("blinded key of the thief", func(t *testing.T) {
		bad := bytes.Clone(b)
		copy(bad[14:46], pub)
		copy(bad[46:78], pub)
		copy(bad[recordCertAt:], Sign(thief, subkeyContext, subkeyMessage(p.Slot, p.Epoch, pub, pub)))
		copy(bad[recordSigAt:], Sign(thief, recordContext, bad[:recordSigAt]))
		info, err := CheckRecord(bad) // genuine, in a place of its own
		if err != nil || info.Key == RecordKey(p.Reach, d.ID(), p.Epoch) {
			t.Errorf("%+v, %v", info, err)
		}
		if _, err := OpenRecord(bad, d.ID(), p.Reach, now); !errors.Is(err, ErrRecord) {
			t.Error(err)
		}
	})
	t.Run("a ticket holder's body", func(t *testing.T) {
		// Knows the secret, so the key of the body, but no signing key.
		bad := bytes.Clone(b)
		key, _ := reachKind().bodyKey(d.ID(), p.Reach, p.Epoch, p.Slot)
		plain, err := padBody(nil, recordPlain)
		if err != nil {
			t.Fatal(err)
		}
		copy(bad[recordSealedAt:], SealSecret(key, bad[:recordSealedAt], plain))
		if _, err := CheckRecord(bad); !errors.Is(err, ErrRecord) {
			t.Error(err)
		}
	})
	t.Run("another slot, epoch or sequence", func(t *testing.T) {
		for _, i := range []int{1, 5, 13} {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, err := CheckRecord(bad); !errors.Is(err, ErrRecord) {
				t.Errorf("byte %d: %v", i, err)
			}
		}
	})
	t.Run("a device that certifies itself", func(t *testing.T) {
		// Knows the secret and holds a certified device key, but was not granted
		// a slot: an identity key of its own does not help.
		own := linkedDevice(t, d)
		own.identity = thief
		bad, err := MakeRecord(own, p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CheckRecord(bad); err == nil { // the factor is of d's ID, the key is not
			if _, err := OpenRecord(bad, d.ID(), p.Reach, now); !errors.Is(err, ErrRecord) {
				t.Error(err)
			}
			return
		}
		t.Error("the test does not reach the reader")
	})
	t.Run("another device's certificate", func(t *testing.T) {
		// Two devices of one identity: the second signs, but claims to be the first.
		second := testDevice(t, now, "")
		second.key = thief
		bad, err := MakeRecord(second, p) // its certificate still names d's key
		if err != nil {
			t.Fatal(err)
		}
		if _, err := CheckRecord(bad); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRecord(bad, d.ID(), p.Reach, now); !errors.Is(err, ErrRecord) {
			t.Error(err)
		}
	})
}

func TestRecordBodyForm(t *testing.T) {
	b, err := padBody([]byte("abc"), recordPlain)
	if err != nil || len(b) != recordPlain {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if fields, err := unpadBody(b); err != nil || string(fields) != "abc" {
		t.Errorf("%q, %v", fields, err)
	}
	b[recordPlain-1] = 1
	if _, err := unpadBody(b); err == nil {
		t.Error("padding with something in it")
	}
	if _, err := padBody(make([]byte, recordPlain-1), recordPlain); err == nil {
		t.Error("a body that does not fit")
	}
}

func TestMakeRecordRefuses(t *testing.T) {
	d := testDevice(t, now, "")
	for what, change := range map[string]func(*RecordPlan){
		"no secret":      func(p *RecordPlan) { p.Reach = Secret{} },
		"slot":           func(p *RecordPlan) { p.Slot = MaxSlots },
		"sequence":       func(p *RecordPlan) { p.Sequence = MaxSequence },
		"epoch":          func(p *RecordPlan) { p.Epoch = maxEpoch + 1 },
		"node key":       func(p *RecordPlan) { p.At.Node = make([]byte, 32) },
		"addresses":      func(p *RecordPlan) { p.At.Addrs = append(p.At.Addrs, p.At.Addrs...) },
		"address":        func(p *RecordPlan) { p.At.Addrs[0] = netip.AddrPort{} },
		"introducers":    func(p *RecordPlan) { p.At.Introducers = append(p.At.Introducers, Introducer{}) },
		"TCP":            func(p *RecordPlan) { p.At.TCP = append(p.At.TCP, p.At.TCP...) },
		"bad introducer": func(p *RecordPlan) { p.At.Introducers[0].Addr = netip.MustParseAddrPort("0.0.0.0:1") },
	} {
		p := testPlan()
		change(&p)
		if _, err := MakeRecord(d, p); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	linked := testDevice(t, now, "")
	linked.identity = nil
	if _, err := MakeRecord(linked, testPlan()); err == nil {
		t.Error("made without identity key and grant")
	}
}

// Holders can link nothing: over many pairs of records of one device for two
// epochs, or two secrets, the bytes agree as often as chance has it, save for
// version, slot and epoch.
func TestRecordUnlinkable(t *testing.T) {
	d := testDevice(t, now, "desk")
	p := testPlan()
	const pairs = 120
	for what, other := range map[string]func(*RecordPlan){
		"epochs":  func(q *RecordPlan) { q.Epoch++ },
		"secrets": func(q *RecordPlan) { q.Reach[0] ^= 1 },
	} {
		same := make([]int, RecordSize)
		for i := range pairs {
			p := p
			p.Reach[1], p.Sequence = byte(i), uint64(1_790_000_000_000+i)
			p.Reach[2] = byte(i >> 8)
			q := p
			other(&q)
			a, b := mustRecord(t, d, p), mustRecord(t, d, q)
			for k := range a {
				if a[k] == b[k] {
					same[k]++
				}
			}
			for _, part := range [][2]int{{6, 14}, {14, 46}, {46, 78}, {78, 110}, {142, 166}, {942, 974}} {
				if bytes.Equal(a[part[0]:part[1]], b[part[0]:part[1]]) {
					t.Fatalf("%s: bytes %v of pair %d are equal", what, part, i)
				}
			}
		}
		// 1/256 of 120 is 0.5; 8 or more by chance in one of 2,000 places has a
		// probability below 10⁻⁴. Some bytes have few bits: the first of a
		// sequence below 2^63, the last of a scalar below 2^253.
		for k, n := range same {
			limit := 7
			switch k {
			case 0, 1, 2, 3, 4:
				continue
			case 5:
				if what == "secrets" {
					continue
				}
			case 6:
				limit = 12 // 64 values
			case 141, 1005:
				limit = 24 // 16 values
			}
			if n > limit {
				t.Errorf("%s: byte %d agrees in %d of %d pairs", what, k, n, pairs)
			}
		}
	}
}

// Golden bytes: records made by this version must be read by every later one.
func TestGoldenRecord(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	d := testDevice(t, now, "desk")
	p := testPlan()
	b := mustRecord(t, d, p)
	text, err := os.ReadFile("testdata/record.hex")
	if err != nil {
		t.Fatalf("%v; record is\n%x", err, b)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != RecordSize {
		t.Fatalf("golden record of %d bytes", len(want))
	}
	if !bytes.Equal(b[:recordSealedAt], want[:recordSealedAt]) { // behind it stands a random nonce
		t.Errorf("head is\n%x", b[:recordSealedAt])
	}
	r, err := OpenRecord(want, d.ID(), p.Reach, now)
	if err != nil || !reflect.DeepEqual(r.At, p.At) || r.Sequence != p.Sequence {
		t.Errorf("%+v, %v", r, err)
	}
	if head := b[:6]; !bytes.Equal(head, binary.BigEndian.AppendUint32([]byte{1, 2}, uint32(p.Epoch))) {
		t.Errorf("% x", head)
	}
	for what, c := range map[string]struct {
		got  [32]byte
		want string
	}{
		"record": {RecordKey(p.Reach, d.ID(), p.Epoch), goldenRecordKey},
		"inbox":  {InboxKey(d.ID(), p.Epoch), goldenInboxKey},
	} {
		if hex.EncodeToString(c.got[:]) != c.want {
			t.Errorf("%s key %x", what, c.got)
		}
	}
}

// An ID that is no key has a place, where nothing can be.
func TestRecordKeyOfNobody(t *testing.T) {
	for what, b := range badPoints(t) {
		if len(b) != 32 || ID(b).IsKey() {
			continue
		}
		if a, c := RecordKey(Secret{1}, ID(b), 5), RecordKey(Secret{1}, ID(b), 6); a == c || a == [32]byte{} {
			t.Errorf("%s: %x, %x", what, a, c)
		}
	}
}

func BenchmarkMakeRecord(b *testing.B) {
	d, p := testDevice(b, now, "desk"), testPlan()
	for b.Loop() {
		mustRecord(b, d, p)
	}
}

func BenchmarkCheckRecord(b *testing.B) {
	r := mustRecord(b, testDevice(b, now, "desk"), testPlan())
	for b.Loop() {
		if _, err := CheckRecord(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenRecord(b *testing.B) {
	d, p := testDevice(b, now, "desk"), testPlan()
	r := mustRecord(b, d, p)
	for b.Loop() {
		if _, err := OpenRecord(r, d.ID(), p.Reach, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordKey(b *testing.B) {
	id := testDevice(b, now, "").ID()
	for b.Loop() {
		RecordKey(Secret{1}, id, 1)
	}
}
