// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/wire"
)

// Start, sealed with HPKE to the receiver's sealing key, info "p2pos chat start v1":
//
//	version(1)=1 || bundle id(8) || key number(1) || ephemeral key(32) || enc(1,120) || certificate of the sender (vec16)
//
// With a the sender, b the receiver:
//
//	DH1 = X25519(a's sealing key, b's base)   DH2 = X25519(ephemeral, b's sealing key)   DH3 = X25519(ephemeral, b's base)
//	KEM = HPKE export of enc, 32 bytes; info and export context are both "p2pos chat kem v1"
//	transcript = SHA-256(label || a's identity(32) || device(16) || sealing key(32) || b's || bundle id || key number || ephemeral || enc)
//	root = HKDF-SHA256(0xff × 32 || DH1 || DH2 || DH3 || KEM, salt = transcript, info = label), label = "p2pos chat start v1"
//
// This is PQXDH's shape (X3DH with a KEM): DH1 proves a to b, DH2 b to a, and
// nobody signs anything.
const (
	startVersion = 1
	labelStart   = "p2pos chat start v1"
	labelKEM     = "p2pos chat kem v1"

	// MaxStart bounds a sealed start: certificates are at most 256 bytes.
	MaxStart = 1 + 8 + 1 + 32 + encSize + 2 + 256 + 48
)

// Party is one end of a session.
type Party struct {
	Identity identity.ID
	Device   [16]byte
	Sealing  [32]byte
}

// PartyOf returns the device that a certificate is about.
func PartyOf(c identity.Certificate) Party {
	return Party{Identity: c.Identity, Device: c.DeviceID(), Sealing: c.Sealing}
}

func transcriptOf(a, b Party, bundle BundleID, number int, ephemeral, enc []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(labelStart))
	for _, p := range []Party{a, b} {
		h.Write(p.Identity[:])
		h.Write(p.Device[:])
		h.Write(p.Sealing[:])
	}
	h.Write(bundle[:])
	h.Write([]byte{byte(number)})
	h.Write(ephemeral)
	h.Write(enc)
	return [32]byte(h.Sum(nil))
}

func rootOf(transcript [32]byte, dh1, dh2, dh3, kem []byte) (root [32]byte) {
	ikm := bytes.Repeat([]byte{0xff}, 32)
	for _, s := range [][]byte{dh1, dh2, dh3, kem} {
		ikm = append(ikm, s...)
	}
	copy(root[:], must(hkdf.Key(sha256.New, ikm, transcript[:], labelStart, 32)))
	clear(ikm)
	return root
}

// must unwraps what HKDF with SHA-256 returns: the lengths asked for are
// constants far below its limit, which is the only error it has.
func must(b []byte, err error) []byte {
	if err != nil {
		panic("ratchet: hkdf: " + err.Error())
	}
	return b
}

// Start begins a session of self with the owner of a bundle, who need not be
// there. Of several hybrid keys it takes any. It fails when the bundle holds no
// usable key, or is self's own.
func Start(now time.Time, self *identity.Device, b *Bundle) (*Session, error) {
	return start(draw, now, self, b)
}

func start(random entropy, now time.Time, self *identity.Device, b *Bundle) (*Session, error) {
	me, peer := PartyOf(self.Certificate()), PartyOf(b.Cert)
	if me.Device == peer.Device {
		return nil, fmt.Errorf("%w: own prekeys", ErrKey)
	}
	var pick [1]byte
	random(pick[:])
	number := int(pick[0]) % len(b.hybrid)
	ephemeral := newX25519(random)
	sealing, err := ecdh.X25519().NewPublicKey(peer.Sealing[:])
	if err != nil {
		return nil, fmt.Errorf("%w: sealing key: %w", ErrMessage, err)
	}
	dh1, err1 := self.Agree([32]byte(b.base.Bytes()))
	dh2, err2 := ephemeral.ECDH(sealing)
	dh3, err3 := ephemeral.ECDH(b.base)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, fmt.Errorf("%w: prekeys: %w", ErrMessage, err)
		}
	}
	enc, sender, err := hpke.NewSender(b.hybrid[number], hpke.HKDFSHA256(), hpke.ExportOnly(), []byte(labelKEM))
	if err != nil {
		return nil, fmt.Errorf("%w: hybrid key: %w", ErrMessage, err)
	}
	kem, err := sender.Export(labelKEM, 32)
	if err != nil {
		return nil, fmt.Errorf("%w: hybrid key: %w", ErrMessage, err)
	}
	eph := ephemeral.PublicKey().Bytes()
	plain := append([]byte{startVersion}, b.ID[:]...)
	plain = append(plain, byte(number))
	plain = append(plain, eph...)
	plain = append(plain, enc...)
	plain = wire.AppendVec16(plain, self.Certificate().Raw())
	sealed, err := identity.Seal(peer.Sealing, []byte(labelStart), plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	s := &Session{Peer: peer, Began: now, transcript: transcriptOf(me, peer, b.ID, number, eph, enc), start: sealed}
	root := rootOf(s.transcript, dh1, dh2, dh3, kem)
	s.theirs = [32]byte(b.base.Bytes())
	s.mine = newX25519(random)
	s.root = root
	if err := s.turn(&s.sending); err != nil {
		return nil, err
	}
	return s, nil
}

// Accept makes the session that a start asks for, and opens the message that
// came with it. The keyring has changed then and must be stored with the
// session; after an error it has not. Errors: those of Decrypt, ErrKey, and
// those of identity.ParseCertificate.
func (k *Keyring) Accept(now time.Time, self *identity.Device, sealed, context, message []byte) (*Session, identity.Certificate, []byte, error) {
	return k.accept(draw, now, self, sealed, context, message)
}

func (k *Keyring) accept(random entropy, now time.Time, self *identity.Device, sealed, context, message []byte) (*Session, identity.Certificate, []byte, error) {
	fail := func(err error) (*Session, identity.Certificate, []byte, error) {
		return nil, identity.Certificate{}, nil, err
	}
	o, err := openStart(now, self, sealed)
	if err != nil {
		return fail(err)
	}
	g, handed := k.find(o.bundle)
	if g == nil || o.number >= len(g.keys) || g.keys[o.number].key == nil {
		return fail(ErrKey)
	}
	root, transcript, err := o.agree(self, g)
	if err != nil {
		return fail(err)
	}
	s := &Session{Peer: PartyOf(o.cert), Began: now, Answers: true, transcript: transcript, mine: g.base, root: root}
	if err := k.usable(g, o.number, s.ID()); err != nil {
		return fail(err)
	}
	// Only who has the sealing key of the certificate can make this message:
	// nobody else uses a key up.
	plain, err := s.decrypt(random, now, context, message)
	if err != nil {
		return fail(err)
	}
	k.use(now, g, handed, o.number, s.ID())
	return s, o.cert, plain, nil
}

// agree is the receiver's part of the key agreement.
func (o *opened) agree(self *identity.Device, g *generation) (root, transcript [32]byte, err error) {
	bad := func(err error) ([32]byte, [32]byte, error) {
		return root, transcript, fmt.Errorf("%w: start: %w", ErrForged, err)
	}
	recipient, err := hpke.NewRecipient(o.enc, g.keys[o.number].key, hpke.HKDFSHA256(), hpke.ExportOnly(), []byte(labelKEM))
	if err != nil {
		return bad(err)
	}
	kem, err := recipient.Export(labelKEM, 32)
	if err != nil {
		return bad(err)
	}
	ephemeral, err := ecdh.X25519().NewPublicKey(o.ephemeral)
	if err != nil {
		return bad(err)
	}
	sealing, err := ecdh.X25519().NewPublicKey(o.cert.Sealing[:])
	if err != nil {
		return bad(err)
	}
	dh1, err1 := g.base.ECDH(sealing)
	dh2, err2 := self.Agree([32]byte(o.ephemeral))
	dh3, err3 := g.base.ECDH(ephemeral)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return bad(err)
		}
	}
	transcript = o.transcript(self)
	return rootOf(transcript, dh1, dh2, dh3, kem), transcript, nil
}

// SessionOf returns which session a start is for, without making it: the ID of
// Accept's, and who sends it.
func SessionOf(now time.Time, self *identity.Device, sealed []byte) (id [8]byte, from Party, err error) {
	o, err := openStart(now, self, sealed)
	if err != nil {
		return id, from, err
	}
	t := o.transcript(self)
	return [8]byte(t[:8]), PartyOf(o.cert), nil
}

type opened struct {
	bundle    BundleID
	number    int
	ephemeral []byte
	enc       []byte
	cert      identity.Certificate
}

func (o *opened) transcript(self *identity.Device) [32]byte {
	return transcriptOf(PartyOf(o.cert), PartyOf(self.Certificate()), o.bundle, o.number, o.ephemeral, o.enc)
}

func openStart(now time.Time, self *identity.Device, sealed []byte) (o opened, err error) {
	if len(sealed) > MaxStart {
		return o, fmt.Errorf("%w: start of %d bytes", ErrMessage, len(sealed))
	}
	plain, err := self.Unseal([]byte(labelStart), sealed)
	if err != nil {
		return o, fmt.Errorf("%w: start: %w", ErrForged, err)
	}
	r := wire.NewReader(plain)
	version := r.U8()
	r.Fixed(o.bundle[:])
	o.number = int(r.U8())
	o.ephemeral = r.Bytes(32)
	o.enc = r.Bytes(encSize)
	raw := r.Vec16()
	if err := r.Done(); err != nil {
		return o, fmt.Errorf("%w: start: %w", ErrMessage, err)
	}
	if version != startVersion {
		return o, fmt.Errorf("%w: start of version %d", ErrMessage, version)
	}
	if o.cert, err = identity.ParseCertificate(raw, now); err != nil {
		return o, err
	}
	return o, nil
}
