// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

// A transfer: the transferrer, in a call with the caller to be, hands over a pass
// to a third person, the callee; design/014-transfer.md has the reasons.
//
// UPDATE field 6, from the transferrer:
//
//	number(1) || callee(32) || expires(8, Unix seconds) || pass secret(16) || nonce(8) || signature(64)
//	|| n(1), 1–3 || n × (node key(32) || device certificate(vec16))               ≤ 910
//
//	pass secret = HKDF(callee's reach secret, "p2pos pass v1" || callee(32) || caller(32) || expires(8))[:16]
//	signature   = transferrer's device key over callee || caller || expires || nonce, context "p2pos transfer v1"
//
// UPDATE field 7, from the caller to be:
//
//	number(1) || 1 trying, 2 rings, 3 failed (1) || reason(1)
//
// INVITE field 14, from the caller to the callee:
//
//	expires(8) || nonce(8) || signature(64), as above || transferrer's certificate   ≤ 304

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

const (
	contextTransfer = "p2pos transfer v1"
	contextPass     = "p2pos pass v1"

	// passLife is an INVITE's life and what it takes to get one away.
	passLife = 90 * time.Second
	// maxPassPlaces devices of the callee are named: what fits an UPDATE with
	// room to spare.
	maxPassPlaces = 3
	// maxTransfers of one call are followed: a person changes his mind now and
	// then, not all the time.
	maxTransfers = 8
	// maxPassed passes are remembered as used, for as long as a clock may be
	// wrong. Only holders of our reach secret can make them.
	maxPassed = 64
)

// A Pass lets one person ring another within a minute or so, on a third one's
// word, without ever learning how to do it again.
type Pass struct {
	Callee identity.ID
	places []place

	expires time.Time
	secret  identity.Secret // in place of the callee's reach secret
	token   []byte          // INVITE field 14
}

// passSecret derives what stands for a reach secret.
func passSecret(reach identity.Secret, callee, caller identity.ID, expires time.Time) (s identity.Secret) {
	info := append([]byte(contextPass), passSigned(callee, caller, expires)...)
	copy(s[:], must(hkdf.Key(sha256.New, reach[:], nil, string(info), len(s))))
	return s
}

func passSigned(callee, caller identity.ID, expires time.Time) []byte {
	b := append(make([]byte, 0, 80), callee[:]...)
	b = append(b, caller[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
}

// newPass makes what self hands to caller.
func newPass(now time.Time, self *identity.Device, caller, callee identity.ID, reach identity.Secret, places []place) Pass {
	expires := now.Add(passLife)
	p := Pass{Callee: callee, expires: expires, places: places, secret: passSecret(reach, callee, caller, expires)}
	var nonce [8]byte
	rand.Read(nonce[:])
	signature := identity.Sign(self.Key(), contextTransfer, append(passSigned(callee, caller, expires), nonce[:]...))
	p.token = appendToken(expires, append(nonce[:], signature...), self.Certificate())
	return p
}

func appendToken(expires time.Time, signed []byte, cert identity.Certificate) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	return append(append(b, signed...), cert.Raw()...)
}

// openToken verifies INVITE field 14 and returns who transfers caller to callee.
func openToken(now time.Time, b []byte, callee, caller identity.ID) (by identity.ID, expires time.Time, err error) {
	r := wire.NewReader(b)
	at, nonce, sig := r.Bytes(8), r.Bytes(8), r.Bytes(64)
	raw := r.Rest()
	if r.Err() != nil {
		return by, expires, fmt.Errorf("%w: transfer of %d bytes", ErrMessage, len(b))
	}
	expires, ok := unixTime(at)
	if !ok {
		return by, expires, fmt.Errorf("%w: transfer: time", ErrMessage)
	}
	cert, err := identity.ParseCertificate(raw, now)
	switch {
	case err != nil:
		return by, expires, fmt.Errorf("%w: transfer: %w", ErrForged, err)
	case !identity.Verify(cert.Device, contextTransfer, append(passSigned(callee, caller, expires), nonce...), sig):
		return by, expires, fmt.Errorf("%w: transfer: signature", ErrForged)
	case expires.Before(now.Add(-clockSkew)) || expires.After(now.Add(passLife+clockSkew)):
		return by, expires, fmt.Errorf("%w: transfer at %d", ErrExpired, expires.Unix())
	}
	return cert.Identity, expires, nil
}

// transferWord is UPDATE field 6.
type transferWord struct {
	number  uint8
	callee  identity.ID
	expires time.Time
	secret  identity.Secret
	signed  []byte // nonce and signature
	places  []transferPlace
}

type transferPlace struct{ key, cert []byte }

func (p *Pass) word(number uint8) *transferWord {
	w := &transferWord{number: number, callee: p.Callee, expires: p.expires, secret: p.secret, signed: p.token[8:80]}
	for _, at := range p.places {
		w.places = append(w.places, transferPlace{at.key, at.cert.Raw()})
	}
	return w
}

func (w *transferWord) append(b []byte) []byte {
	b = append(b, w.number)
	b = append(b, w.callee[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(w.expires.Unix()))
	b = append(b, w.secret[:]...)
	b = append(b, w.signed...)
	b = append(b, byte(len(w.places)))
	for _, p := range w.places {
		b = wire.AppendVec16(append(b, p.key...), p.cert)
	}
	return b
}

func parseTransfer(b []byte) (*transferWord, bool) {
	r := wire.NewReader(b)
	w := &transferWord{number: r.U8()}
	r.Fixed(w.callee[:])
	at := r.Bytes(8)
	r.Fixed(w.secret[:])
	w.signed = r.Bytes(8 + 64)
	n := int(r.U8())
	if r.Err() != nil || n == 0 || n > maxPassPlaces || w.number == 0 {
		return nil, false
	}
	var ok bool
	if w.expires, ok = unixTime(at); !ok {
		return nil, false
	}
	for range n {
		w.places = append(w.places, transferPlace{r.Bytes(ed25519.PublicKeySize), r.Vec16()})
	}
	return w, r.Done() == nil
}

// pass makes of the word what this side needs to ring; false when no place in it
// is good.
func (w *transferWord) pass(now time.Time, by identity.Certificate) (p Pass, ok bool) {
	p = Pass{Callee: w.callee, expires: w.expires, secret: w.secret, token: appendToken(w.expires, w.signed, by)}
	for _, at := range w.places {
		cert, err := identity.ParseCertificate(at.cert, now)
		if err == nil && cert.Identity == w.callee {
			p.places = append(p.places, place{cert, slices.Clone(at.key)})
		}
	}
	return p, len(p.places) > 0
}

// TransferState is how far a transfer has come.
type TransferState uint8

// The states of a transfer. There is none for its success: the call ends with
// the reason Transferred.
const (
	TransferTrying TransferState = 1 // the third person is being called
	TransferRings  TransferState = 2 // and it rings there
	TransferFailed TransferState = 3 // the call goes on
)

// transferVerdict is UPDATE field 7.
type transferVerdict struct {
	number uint8
	state  TransferState
	reason Reason
}

// TransferAsked reports that the other side wants this one to call somebody
// else: do so, and say how it goes with TransferSay.
type TransferAsked struct {
	ID     CallID
	Number uint8
	By     Peer
	Pass   Pass
}

// TransferSaid reports how a transfer goes that this side asked for.
type TransferSaid struct {
	ID     CallID
	State  TransferState
	Reason Reason // of TransferFailed
}

func (TransferAsked) event() {}
func (TransferSaid) event()  {}

// usedPass is a pass with which somebody has rung here.
type usedPass struct {
	token   [64]byte // its signature
	expires time.Time
}

// usePass tells whether an INVITE is without a pass, or with one that was not used
// before.
func (m *Machine) usePass(now time.Time, inv *invite) bool {
	if inv.token == nil {
		return true
	}
	token := [64]byte(inv.token[16:80])
	m.passed = slices.DeleteFunc(m.passed, func(u usedPass) bool { return now.After(u.expires.Add(clockSkew)) })
	if slices.ContainsFunc(m.passed, func(u usedPass) bool { return u.token == token }) {
		return false
	}
	if len(m.passed) == maxPassed {
		m.passed = m.passed[1:]
	}
	m.passed = append(m.passed, usedPass{token, inv.passed})
	return true
}

// transferring is what a call knows of transfers.
type transferring struct {
	ours    uint8 // number of our latest request
	pass    *Pass // of a request that is under way
	state   TransferState
	theirs  uint8           // number of their latest request
	verdict transferVerdict // on it
}

// NewPass makes a pass with which the other side of a call may ring callee, whose
// reach secret is known. Error: ErrNoCall.
func (m *Machine) NewPass(now time.Time, id CallID, callee identity.ID, reach identity.Secret, places []place) (Pass, error) {
	c := m.find(id)
	if c == nil || c.phase != phaseTalk || c.group != (GroupID{}) {
		return Pass{}, fmt.Errorf("%w: transfer %s", ErrNoCall, id.Short())
	}
	return newPass(now, m.self, c.peer.Identity, callee, reach, places[:min(len(places), maxPassPlaces)]), nil
}

// Transfer asks the other side of a call to ring somebody else instead. Errors:
// ErrNoCall; ErrBusy while another transfer is under way, or after too many.
func (m *Machine) Transfer(now time.Time, id CallID, p Pass) error {
	c := m.find(id)
	if c == nil || c.phase != phaseTalk || c.group != (GroupID{}) { // a leg of a room goes nowhere else
		return fmt.Errorf("%w: transfer %s", ErrNoCall, id.Short())
	}
	t := &c.talk.transfer
	if t.pass != nil || t.ours == maxTransfers {
		return fmt.Errorf("%w: another transfer", ErrBusy)
	}
	t.ours++
	t.pass, t.state = &p, 0
	m.tell(now, c)
	return nil
}

// TransferSay tells the other side how the transfer goes that it asked for. Error:
// ErrNoCall.
func (m *Machine) TransferSay(now time.Time, id CallID, number uint8, s TransferState, r Reason) error {
	c := m.find(id)
	if c == nil || c.phase != phaseTalk {
		return fmt.Errorf("%w: transfer %s", ErrNoCall, id.Short())
	}
	c.talk.transfer.verdict = transferVerdict{number, s, r}
	m.tell(now, c)
	return nil
}

// Transferred ends a call whose other side has brought us to somebody else, or we
// it. Error: ErrNoCall.
func (m *Machine) Transferred(now time.Time, id CallID) error {
	c := m.find(id)
	if c == nil || c.phase != phaseTalk {
		return fmt.Errorf("%w: transfer %s", ErrNoCall, id.Short())
	}
	m.end(now, c, Transferred, true, c.final(Transferred))
	return nil
}

// receiveTransfer takes the fields of an UPDATE that are about transfers.
func (m *Machine) receiveTransfer(now time.Time, c *call, u *update) {
	t := &c.talk.transfer
	if w := u.transfer; w != nil && c.group == (GroupID{}) && w.number > t.theirs && w.number <= maxTransfers {
		t.theirs = w.number
		p, ok := w.pass(now, m.peers[c.peer].cert)
		if !ok || w.callee == m.self.ID() || w.callee == c.peer.Identity {
			t.verdict = transferVerdict{w.number, TransferFailed, Failed}
			m.tell(now, c)
		} else {
			m.emit(TransferAsked{ID: c.id, Number: w.number, By: c.peer, Pass: p})
		}
	}
	v := u.verdict
	if t.pass == nil || v.number != t.ours || v.state <= t.state {
		return
	}
	t.state = v.state
	if v.state == TransferFailed {
		t.pass = nil
	}
	m.emit(TransferSaid{ID: c.id, State: v.state, Reason: v.reason})
}
