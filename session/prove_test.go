// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

type linkEnds struct {
	asker, answerer *identity.Device
	a, b            Binding // the asker's and the answerer's view
	secret          identity.Secret
}

func newLink(t testing.TB) linkEnds {
	l := linkEnds{asker: newDevice(t, "anna"), answerer: newDevice(t, "ben")}
	l.a = Binding{Exporter: repeat32(7), Self: nodeNamed("anna"), Peer: nodeNamed("ben")}
	l.b = Binding{Exporter: repeat32(7), Self: nodeNamed("ben"), Peer: nodeNamed("anna")}
	l.secret = l.answerer.Reach()
	return l
}

func (l linkEnds) ask() []byte {
	return NewProof(start, l.asker, l.a, Asker, l.answerer.ID(), l.secret)
}

func TestProveBothSides(t *testing.T) {
	l := newLink(t)
	q := l.ask()
	if !IsProof(q) || len(q) > 400 {
		t.Errorf("question of %d bytes", len(q))
	}
	// An old ticket's secret works too, and the one that fitted is used for
	// the reply.
	old := []identity.Secret{{1}, {2}, l.secret}
	cert, secret, err := OpenProof(start, q, l.b, Asker, l.answerer.ID(), old)
	if err != nil || secret != l.secret {
		t.Fatal(err)
	}
	if cert.Identity != l.asker.ID() || cert.DeviceID() != l.asker.Certificate().DeviceID() {
		t.Error("the answerer has another certificate")
	}
	r := NewProof(start, l.answerer, l.b, Answerer, l.answerer.ID(), secret)
	cert, _, err = OpenProof(start, r, l.a, Answerer, l.answerer.ID(), []identity.Secret{l.secret})
	if err != nil {
		t.Fatal(err)
	}
	if cert.Identity != l.answerer.ID() {
		t.Error("the asker has another certificate")
	}
	id := l.asker.ID()
	if bytes.Contains(q, id[:]) || bytes.Contains(q, l.asker.Certificate().Device) {
		t.Error("the question shows who asks")
	}
}

func TestProveRefusals(t *testing.T) {
	l := newLink(t)
	mallory := newDevice(t, "mallory")
	secrets := []identity.Secret{l.secret}
	other := l.b
	other.Exporter = repeat32(8)
	elsewhere := l.b
	elsewhere.Peer = nodeNamed("mallory")
	home := l.b
	home.Self = nodeNamed("mallory")
	q := l.ask()
	reply := NewProof(start, l.answerer, l.b, Answerer, l.answerer.ID(), l.secret)
	for _, c := range []struct {
		rule    string
		msg     []byte
		now     time.Time
		link    Binding
		role    Role
		secrets []identity.Secret
		want    error
	}{
		{"the control", q, start, l.b, Asker, secrets, nil},
		{"replayed on another link", q, start, other, Asker, secrets, ErrForged},
		{"passed on by another node", q, start, elsewhere, Asker, secrets, ErrForged},
		{"passed on to another node", q, start, home, Asker, secrets, ErrForged},
		{"reflected to the asker", q, start, l.a, Asker, secrets, ErrForged},
		{"a question as an answer", q, start, l.b, Answerer, secrets, ErrForged},
		{"an answer as a question", reply, start, l.a, Asker, secrets, ErrForged},
		{"secret not ours", q, start, l.b, Asker, []identity.Secret{{9}}, ErrNotForUs},
		{"no secret at all", q, start, l.b, Asker, nil, ErrNotForUs},
		{"an hour later", q, start.Add(time.Hour), l.b, Asker, secrets, nil},
		{"an hour earlier", q, start.Add(-time.Hour), l.b, Asker, secrets, nil},
		{"two hours later", q, start.Add(2 * time.Hour), l.b, Asker, secrets, ErrNotForUs},
		{"refused", Refusal(), start, l.a, Answerer, secrets, ErrDenied},
		{"empty", nil, start, l.b, Asker, secrets, ErrMessage},
		{"type only", []byte{1}, start, l.b, Asker, secrets, ErrMessage},
		{"another type", append([]byte{2}, q[1:]...), start, l.b, Asker, secrets, ErrMessage},
		{"tag only", q[:17], start, l.b, Asker, secrets, ErrForged},
		{"cut off", q[:len(q)-1], start, l.b, Asker, secrets, ErrForged},
		{"answered by another who holds the ticket", NewProof(start, mallory, l.b, Answerer, l.answerer.ID(), l.secret),
			start, l.a, Answerer, secrets, ErrForged},
	} {
		_, _, err := OpenProof(c.now, c.msg, c.link, c.role, l.answerer.ID(), c.secrets)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.rule, err, c.want)
		}
	}
	// A certificate that has run out.
	late := start.Add(100 * 24 * time.Hour)
	expired := NewProof(late, l.asker, l.a, Asker, l.answerer.ID(), l.secret)
	if _, _, err := OpenProof(late, expired, l.b, Asker, l.answerer.ID(), secrets); !errors.Is(err, ErrForged) || !errors.Is(err, identity.ErrExpired) {
		t.Errorf("expired certificate: %v", err)
	}
	for i := range q {
		bad := bytes.Clone(q)
		bad[i] ^= 0x10
		if _, _, err := OpenProof(start, bad, l.b, Asker, l.answerer.ID(), secrets); err == nil {
			t.Fatalf("byte %d does not count", i)
		}
	}
	if n := len(Refusal()); n != 2 {
		t.Errorf("refusal of %d bytes", n)
	}
}

// Mallory holds Anna's and Ben's tickets. Anna asks her for Ben; she can read
// that question, and must gain nothing from it.
func TestProvePassedOnByTicketHolder(t *testing.T) {
	l := newLink(t)
	viaMallory := Binding{Exporter: repeat32(40), Self: nodeNamed("anna"), Peer: nodeNamed("mallory")}
	q := NewProof(start, l.asker, viaMallory, Asker, l.answerer.ID(), l.secret)
	// She opens it and seals certificate and signature again for her own link.
	var tag [16]byte
	copy(tag[:], q[1:])
	plain, err := identity.OpenSecret(proofKey(l.secret, viaMallory.Exporter, Asker), tag[:], q[17:])
	if err != nil {
		t.Fatal(err)
	}
	toBen := Binding{Exporter: repeat32(41), Self: nodeNamed("ben"), Peer: nodeNamed("mallory")}
	again := append(bytes.Clone(q[:17]), identity.SealSecret(proofKey(l.secret, toBen.Exporter, Asker), tag[:], plain)...)
	if _, _, err := OpenProof(start, again, toBen, Asker, l.answerer.ID(), []identity.Secret{l.secret}); !errors.Is(err, ErrForged) {
		t.Errorf("passed on: %v", err)
	}
}

// Both hold each other's ticket and ask at the same moment: the reach tags keep
// questions and answers apart.
func TestProveBothAsk(t *testing.T) {
	l := newLink(t)
	fromA := l.ask()
	fromB := NewProof(start, l.answerer, l.b, Asker, l.asker.ID(), l.asker.Reach())
	if _, _, err := OpenProof(start, fromB, l.a, Answerer, l.answerer.ID(), []identity.Secret{l.secret}); !errors.Is(err, ErrNotForUs) {
		t.Errorf("a question taken for an answer: %v", err)
	}
	if _, _, err := OpenProof(start, fromB, l.a, Asker, l.asker.ID(), []identity.Secret{l.asker.Reach()}); err != nil {
		t.Error(err)
	}
	if _, _, err := OpenProof(start, fromA, l.b, Asker, l.answerer.ID(), []identity.Secret{l.secret}); err != nil {
		t.Error(err)
	}
}

func TestProveTriesABoundedNumberOfSecrets(t *testing.T) {
	l := newLink(t)
	secrets := make([]identity.Secret, MaxReachSecrets)
	if _, _, err := OpenProof(start, l.ask(), l.b, Asker, l.answerer.ID(), append(secrets, l.secret)); !errors.Is(err, ErrNotForUs) {
		t.Errorf("secret %d: %v", MaxReachSecrets+1, err)
	}
}
