// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"
)

const (
	// Checked with an independent implementation, as in golden_test.go.
	goldenRecordKey = "4c6d57c0a2e4dd8a5ee739789810eb19319655838e476b0c4d6f1e1bcdc9e2b0"
	goldenInboxKey  = "ebfe22f538ae94184d4b7240d688165ca8fd80b1b788cd894c28ce5d458bac62"
)

// linkedDevice is a second device of d's identity that does not hold its key.
func linkedDevice(t testing.TB, d *Device) *Device {
	t.Helper()
	l := testDevice(t, now, "phone")
	l.key = ed25519.NewKeyFromSeed(seed(50, 32))
	pub := l.key.Public().(ed25519.PublicKey)
	c, err := newCertificate(d.identity, pub, l.sealing.PublicKey().Bytes(), now, "phone")
	if err != nil {
		t.Fatal(err)
	}
	l.cert, l.identity = c, nil
	return l
}

func TestGrants(t *testing.T) {
	d := testDevice(t, now, "")
	l := linkedDevice(t, d)
	p := testPlan()
	p.Slot = 1
	pub := l.key.Public().(ed25519.PublicKey)
	g, err := d.Grant(GrantReach, p.Reach, pub, 1, p.Epoch-1, 4)
	if err != nil {
		t.Fatal(err)
	}
	g, err = ParseGrants(g.Bytes())
	if err != nil || g.Len() != 4 || !g.Fits(d.ID(), p.Reach) {
		t.Fatalf("%v, %+v", err, g)
	}
	if g.Fits(d.ID(), Secret{1}) || g.Fits(ID{1}, p.Reach) || g.Fits(d.ID(), Secret{}) {
		t.Error("grants fit another identity or secret")
	}
	p.Grants = g
	for n := range uint64(6) {
		p.Epoch = Hour(now) - 2 + n
		b, err := MakeRecord(l, p)
		if covered := n >= 1 && n <= 4; (err == nil) != covered || g.Covers(p.Epoch) != covered {
			t.Errorf("epoch %d: %v", n, err)
		}
		if err != nil {
			continue
		}
		r, err := OpenRecord(b, d.ID(), p.Reach, now)
		if err != nil || r.Slot != 1 || !bytes.Equal(r.Device.Device, pub) {
			t.Errorf("epoch %d: %+v, %v", n, r, err)
		}
	}
	// They are for one slot, one device, one kind.
	p.Epoch = Hour(now)
	for what, err := range map[string]error{
		"another slot": func() error { q := p; q.Slot = 2; return second(MakeRecord(l, q)) }(),
		"an inbox":     second(MakeInbox(l, 1, p.Epoch, 1, g)),
		"another device": func() error {
			o := linkedDevice(t, d)
			o.key = ed25519.NewKeyFromSeed(seed(51, 32))
			return second(MakeRecord(o, p))
		}(),
	} {
		if err == nil {
			t.Errorf("%s is granted too", what)
		}
	}
	// A false signature makes a record that nobody takes.
	g.sigs[64] ^= 1
	p.Epoch = g.First + 1
	b, err := MakeRecord(l, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckRecord(b); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	for _, bad := range []struct {
		slot  uint8
		first uint64
		n     int
	}{{MaxSlots, 1, 1}, {0, 1, 0}, {0, 1, MaxGrants + 1}, {0, maxEpoch, 1}} {
		if _, err := d.Grant(GrantReach, p.Reach, pub, bad.slot, bad.first, bad.n); err == nil {
			t.Errorf("granted %+v", bad)
		}
	}
	if _, err := l.Grant(GrantReach, p.Reach, pub, 0, 1, 1); err == nil {
		t.Error("granted without the identity key")
	}
	if _, err := d.Grant(GrantReach, p.Reach, make([]byte, 32), 0, 1, 1); err == nil {
		t.Error("granted to no key")
	}
	if size := len((&Grants{Device: pub, sigs: make([]byte, 64*MaxGrants)}).Bytes()); size > 139_000 {
		t.Errorf("90 days are %d bytes", size)
	}
}

func TestInbox(t *testing.T) {
	d := testDevice(t, now, "")
	e := Hour(now)
	b, err := MakeInbox(d, 3, e, 9, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := CheckRecord(b)
	if err != nil || info.Key != InboxKey(d.ID(), e) || len(b) != RecordSize {
		t.Fatalf("%+v, %v", info, err)
	}
	in, err := OpenInbox(b, d.ID(), now)
	if err != nil || in.Slot != 3 || in.Sequence != 9 || in.Key != [32]byte(inboxSecret(d, e).PublicKey().Bytes()) {
		t.Fatalf("%+v, %v", in, err)
	}
	if _, err := OpenInbox(b, ID{1}, now); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	// Nothing of the reach records is in it.
	if _, err := OpenRecord(b, d.ID(), d.Reach(), now); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	l := linkedDevice(t, d)
	g, err := d.Grant(GrantInbox, Secret{}, l.key.Public().(ed25519.PublicKey), 1, e, 1)
	if err != nil || g.Kind != GrantInbox || !g.Fits(d.ID(), Secret{}) {
		t.Fatalf("%+v, %v", g, err)
	}
	b, err = MakeInbox(l, 1, e, 9, g)
	if err != nil {
		t.Fatal(err)
	}
	if in, err := OpenInbox(b, d.ID(), now); err != nil || in.Slot != 1 {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestInboxOwner(t *testing.T) {
	d := testDevice(t, now, "")
	e := Hour(now)
	b, err := MakeInbox(d, 3, e, 9, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := CheckRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	proof := ProveInbox(d, 3, e, now)
	if !CheckInboxOwner(info, proof, now) || !CheckInboxOwner(info, proof, now.Add(time.Hour)) {
		t.Error("owner is refused")
	}
	changed := bytes.Clone(proof)
	changed[7]++
	stranger := testDevice(t, now, "")
	stranger.key = ed25519.NewKeyFromSeed(seed(50, 32))
	for what, ok := range map[string]bool{
		"late":          CheckInboxOwner(info, proof, now.Add(time.Hour+2*time.Second)),
		"early":         CheckInboxOwner(info, proof, now.Add(-time.Hour-2*time.Second)),
		"another time":  CheckInboxOwner(info, changed, now),
		"another slot":  CheckInboxOwner(info, ProveInbox(d, 2, e, now), now),
		"another epoch": CheckInboxOwner(info, ProveInbox(d, 3, e+1, now), now),
		"a stranger":    CheckInboxOwner(info, ProveInbox(stranger, 3, e, now), now),
		"short":         CheckInboxOwner(info, proof[:71], now),
		"none":          CheckInboxOwner(info, nil, now),
	} {
		if ok {
			t.Errorf("%s is accepted", what)
		}
	}
}

// knockAt makes a finished knock. Few bits of work are enough for most tests.
func knockAt(t testing.TB, caller, callee *Device, bits int) ([]byte, RecordInfo) {
	t.Helper()
	e := Hour(now)
	b, err := MakeInbox(callee, 0, e, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := CheckRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	in, err := OpenInbox(b, callee.ID(), now)
	if err != nil {
		t.Fatal(err)
	}
	job, err := MakeKnock(caller, in, Greeting{Name: "Ann\u202e", Text: strings.Repeat("é", 100), Reach: Secret{5}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if k := job.Try(1000, bits); k != nil {
			return k, info
		}
	}
}

func TestKnock(t *testing.T) {
	callee, caller := testDevice(t, now, ""), testDevice(t, now, "")
	caller.identity = ed25519.NewKeyFromSeed(seed(9, 32))
	caller.id = ID(caller.identity.Public().(ed25519.PublicKey))
	caller.key = ed25519.NewKeyFromSeed(seed(10, 32))
	if err := caller.certify(now, "desk"); err != nil {
		t.Fatal(err)
	}
	b, info := knockAt(t, caller, callee, KnockWork)
	if len(b) != KnockSize {
		t.Fatalf("%d bytes", len(b))
	}
	if got := CheckKnock(b, info); got < KnockWork {
		t.Errorf("%d bits", got)
	}
	k, err := OpenKnock(callee, b, now)
	if err != nil || k.From.Identity != caller.ID() || k.Name != "Ann" || k.Text != strings.Repeat("é", 70) || k.Reach != (Secret{5}) || k.Epoch != info.Epoch {
		t.Fatalf("%+v, %v", k, err)
	}
	// The same caller and day: the same token. Holders see nothing else in common.
	again, _ := knockAt(t, caller, callee, 1)
	one, err1 := PeekKnock(b)
	two, err2 := PeekKnock(again)
	if err1 != nil || err2 != nil || one != two || bytes.Equal(b[54:100], again[54:100]) {
		t.Errorf("%+v, %+v", one, two)
	}
	other, _ := knockAt(t, callee, callee, 1)
	if three, err := PeekKnock(other); err != nil || three.Token == one.Token {
		t.Error("two callers share a token")
	}
	if _, err := OpenKnock(callee, again, now); !errors.Is(err, ErrRecord) {
		t.Errorf("without work: %v", err)
	}
	if _, err := OpenKnock(caller, b, now); !errors.Is(err, ErrRecord) {
		t.Errorf("at another's: %v", err)
	}
	if _, err := OpenKnock(callee, b, now.Add(6*time.Hour)); !errors.Is(err, ErrRecord) {
		t.Errorf("late: %v", err)
	}
	wrong := info
	wrong.Subkey = seed(1, 32)
	if CheckKnock(b, wrong) >= KnockWork {
		t.Error("work is for any inbox")
	}
	for i := range KnockSize {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := OpenKnock(callee, bad, now); !errors.Is(err, ErrRecord) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

// A callee cannot pass a knock on as the caller's at somebody else's door, and
// nobody can put another's certificate on a greeting.
func TestKnockForged(t *testing.T) {
	callee, caller := testDevice(t, now, ""), linkedDevice(t, testDevice(t, now, ""))
	head := make([]byte, knockHead)
	fields := append([]byte{1, 0, byte(len(caller.cert.raw))}, caller.cert.raw...)
	build := func(sig []byte) []byte {
		b := append([]byte{byte(len(fields) >> 8), byte(len(fields))}, fields...)
		return append(append(b, sig...), make([]byte, 10)...)
	}
	good := Sign(caller.key, knockContext, knockMessage(callee.ID(), head, fields))
	if _, err := parseKnock(build(good), callee.ID(), head, now); err != nil {
		t.Fatal(err)
	}
	otherHead := bytes.Clone(head)
	otherHead[10]++
	for what, err := range map[string]error{
		"another callee": second(parseKnock(build(good), ID{1}, head, now)),
		"another inbox":  second(parseKnock(build(good), callee.ID(), otherHead, now)),
		"another signer": second(parseKnock(build(Sign(callee.key, knockContext, knockMessage(callee.ID(), head, fields))), callee.ID(), head, now)),
		"nothing":        second(parseKnock(make([]byte, 66), callee.ID(), head, now)),
		"padding":        second(parseKnock(append(build(good), 1), callee.ID(), head, now)),
	} {
		if err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

func BenchmarkKnockWork(b *testing.B) {
	d := testDevice(b, now, "")
	job := &KnockJob{b: make([]byte, KnockSize-8), hash: workHash(d.key, nil)}
	for b.Loop() {
		job.Try(1, 256)
	}
}

func BenchmarkGrant(b *testing.B) {
	d := testDevice(b, now, "")
	for b.Loop() {
		if _, err := d.Grant(GrantReach, Secret{1}, d.key.Public().(ed25519.PublicKey), 0, 1, 1); err != nil {
			b.Fatal(err)
		}
	}
}
