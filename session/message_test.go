// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/media"
)

func TestGoldenControl(t *testing.T) {
	secret := repeat32(0x11)
	key := signalKey(&secret, fixedID(), fromCallee)
	want := control{kind: typeReject, id: fixedID(), reason: Busy, seq: 7}
	b := appendControl(nil, want, &key)
	const golden = "05000102030405060708090a0b0c0d0e0f01000104020004000000076cf04bbf7164d3dfab040c832376847e"
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
	got, covered, mac, err := parseControl(b)
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := checkControl(&key, covered, mac); err != nil {
		t.Error(err)
	}
	if err := checkControl(new([32]byte), covered, mac); !errors.Is(err, ErrForged) {
		t.Errorf("wrong key: %v", err)
	}
	// A field of a later version is skipped and covered by the MAC.
	later := wire.AppendField(b[:len(b)-macSize:len(b)-macSize], 3, []byte("news"))
	m := controlMAC(&key, later)
	got, covered, mac, err = parseControl(append(later, m[:]...))
	if err != nil || got != want || checkControl(&key, covered, mac) != nil {
		t.Errorf("later version: %+v, %v", got, err)
	}
	for i := range len(b) {
		if _, _, _, err := parseControl(b[:i]); !errors.Is(err, ErrMessage) {
			t.Errorf("%d bytes: %v", i, err)
		}
	}
}

func fieldLayout(t *testing.T, plain []byte) string {
	t.Helper()
	s := fmt.Sprintf("v%d", plain[0])
	err := wire.Fields(plain[1:len(plain)-64], func(tag uint8, v []byte) error {
		s += fmt.Sprintf(" %d:%d", tag, len(v))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The layouts of INVITE and ANSWER, and how long the messages get.
func TestGoldenLayouts(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	id := a.place(start, b)
	invite := a.wire[0].Body
	plain, err := b.dev.Unseal([]byte(contextInvite), invite[1:])
	if err != nil {
		t.Fatal(err)
	}
	cert := len(a.dev.Certificate().Raw())
	offer := len(appendOffer(nil, opus))
	want := fmt.Sprintf("v1 1:16 2:%d 3:32 4:32 5:32 6:32 7:8 8:32 9:1216 10:%d 11:4 12:32 13:16", cert, offer)
	if got := fieldLayout(t, plain); got != want {
		t.Errorf("INVITE %s\nwant   %s", got, want)
	}
	carry(start, a, b)
	b.do(b.m.Answer(start, id))
	answer := b.wire[0].Body
	plain, err = a.dev.Unseal([]byte(contextAnswer), answer[17:])
	if err != nil {
		t.Fatal(err)
	}
	cert = len(b.dev.Certificate().Raw())
	want = fmt.Sprintf("v1 1:16 2:32 3:%d 4:1120 5:%d 6:32", cert, offer)
	if got := fieldLayout(t, plain); got != want {
		t.Errorf("ANSWER %s\nwant   %s", got, want)
	}
	if n := len(invite); n > 1950 {
		t.Errorf("typical INVITE of %d bytes, the layout promises 1,950", n)
	}
	if n := len(answer); n > 1750 {
		t.Errorf("typical ANSWER of %d bytes, the layout promises 1,750", n)
	}
	t.Logf("typical INVITE %d, ANSWER %d bytes", len(invite), len(answer))
}

// The longest names and codec lists still keep the budgets.
func TestLongestMessages(t *testing.T) {
	var codecs []media.Codec
	for i := range 40 {
		codecs = append(codecs, media.Codec{PayloadType: uint8(i), ClockRate: 1, Channels: 1, Name: strings.Repeat("x", maxCodecName)})
	}
	long := strings.Repeat("ä", 200)
	a := newSide(t, long, newDevice(t, long), 1, Options{Codecs: codecs})
	b := newSide(t, "ben", newDevice(t, long), 2, Options{Codecs: codecs})
	introduce(a, b)
	id := a.place(start, b)
	n := len(a.wire[0].Body)
	carry(start, a, b)
	b.do(b.m.Answer(start, id))
	if m := len(b.wire[0].Body); n > maxInvite || m > maxAnswer || n < 2300 {
		t.Errorf("INVITE %d, ANSWER %d bytes", n, m)
	}
	if e := b.seen[0].(Incoming); len(e.Name) != maxName {
		t.Errorf("name of %d bytes", len(e.Name))
	}
	carry(start, a, b)
	if len(a.m.calls) != 1 || a.m.calls[0].phase != phaseTalk {
		t.Error("not answered")
	}
}

func TestTooLong(t *testing.T) {
	l := sides(t, Options{}, "anna", "ben")
	a, b := l[0], l[1]
	for _, kind := range []messageType{typeInvite, typeAnswer, typeReject} {
		err := b.receive(start, a, append([]byte{byte(kind)}, make([]byte, maxInvite)...))
		quiet(t, fmt.Sprint("type ", kind), b, err, ErrMessage)
	}
	_, _, err := OpenProof(start, append([]byte{1}, make([]byte, maxProve)...), Binding{}, Asker, identity.ID{}, nil)
	if !errors.Is(err, ErrMessage) {
		t.Errorf("proof: %v", err)
	}
}

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"Anna":                        "Anna",
		"An\x00na\n\x7f":              "Anna",
		"An\xffna":                    "Anna",
		"\u202eannA":                  "annA",
		"Zoë 👩‍🚀":                     "Zoë 👩‍🚀",
		strings.Repeat("é", 40):       strings.Repeat("é", 32),
		"a" + strings.Repeat("é", 40): "a" + strings.Repeat("é", 31),
	} {
		if got := cleanName(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestReasonTexts(t *testing.T) {
	want := "hangup cancelled elsewhere busy rejected no-answer offline not-found expired denied transferred failed failed"
	var got []string
	for r := HungUp; r <= Incompatible; r++ {
		got = append(got, r.String())
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("reasons %q", s)
	}
	if Reason(0).String() != "failed" || Reason(200).String() != "failed" {
		t.Error("an unknown reason is not failed")
	}
	if s := fmt.Sprint(Lookup, Ring, Answer, Talk); s != "lookup ring answer talk" {
		t.Errorf("stages %q", s)
	}
}

// Reasons a peer may give, and what becomes of others.
func TestClaimedReasons(t *testing.T) {
	for r := Reason(0); r < 20; r++ {
		if got := r.claimed(typeCancel); got == Offline || got == NotFound || got == HungUp || got == Rejected {
			t.Errorf("CANCEL %d becomes %s", r, got)
		}
		if got := r.claimed(typeReject); got == Offline || got == NotFound || got == HungUp || got == Cancelled {
			t.Errorf("REJECT %d becomes %s", r, got)
		}
		if got := r.claimed(typeHangup); got == Offline || got == NotFound || got == Busy {
			t.Errorf("HANGUP %d becomes %s", r, got)
		}
	}
}

func TestAllowance(t *testing.T) {
	var a allowance
	now := start
	for range inviteBurst {
		if !a.take(now) {
			t.Fatal("the burst is too small")
		}
	}
	if a.take(now) || a.take(now.Add(inviteRefill-1)) {
		t.Error("beyond the burst")
	}
	if !a.take(now.Add(inviteRefill)) || a.take(now.Add(inviteRefill)) {
		t.Error("one comes back after 3 s")
	}
	if !a.take(now.Add(24 * time.Hour)) {
		t.Error("all come back")
	}
}

func TestSeenCallsKeepsNewest(t *testing.T) {
	var s seenCalls
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		id := CallID{byte(i), byte(i >> 8)}
		exp := start.Add(inviteLife + time.Duration(i)*time.Second + time.Duration(rng.IntN(5000))*time.Millisecond)
		if !s.has(id, exp) {
			s.add(start, id, exp)
		}
		if !s.has(id, exp) {
			t.Fatalf("call %d not seen", i)
		}
		if len(s.list) > maxSeen {
			t.Fatalf("list of %d", len(s.list))
		}
	}
}
