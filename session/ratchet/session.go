// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Message:
//
//	session(8) || ratchet key(32) || previous chain's length(4) || number(4) || nonce(24) || sealed
//
//	associated data = transcript(32) || context || all in front of the nonce
//
//	root step:  HKDF-SHA256(X25519(ours, theirs), salt = root, "p2pos chat root v1") = root(32) || chain(32)
//	chain step: message key = HMAC-SHA256(chain, 1), chain = HMAC-SHA256(chain, 2)
const (
	labelRoot = "p2pos chat root v1"

	headSize = 8 + 32 + 4 + 4
	// Overhead is how much longer a message is than its plain text.
	Overhead = headSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

	// MaxSkipped keys of messages that have not come yet are kept for a session,
	// and as many may be missing at once. A mailbox's queue holds as many
	// messages of the smallest size.
	MaxSkipped = 1000
	// skippedLife is how long: as long as mail can wait.
	skippedLife = mailLife
	// maxRetired keys of chains that are over are known, to tell an old message
	// from a forged one.
	maxRetired = 8
	// maxTags of messages opened last are known, to tell a repeated one from one
	// of an old state.
	maxTags = 64
)

// A Session is one device's end of a double ratchet.
type Session struct {
	Peer    Party
	Began   time.Time
	Answers bool // the other side began it

	transcript [32]byte
	start      []byte // goes in front of messages until the other side has spoken; nil then
	root       [32]byte
	mine       *ecdh.PrivateKey
	theirs     [32]byte
	sending    chain
	receiving  chain
	previous   uint32     // length of our sending chain before this one
	retired    [][32]byte // their keys before this one, oldest first
	skipped    []skipped  // oldest first
	tags       [][8]byte  // of the messages opened last, oldest first
}

// chain is one direction between two root steps; the zero chain is none.
type chain struct {
	key  [32]byte
	next uint32
	live bool
}

// skipped is the key of a message that has not come yet.
type skipped struct {
	of  [32]byte // ratchet key of its chain
	n   uint32
	key [32]byte
	at  time.Time // whole minutes
}

// ID names the session on the wire.
func (s *Session) ID() [8]byte { return [8]byte(s.transcript[:8]) }

// Start returns what has to go with each message until the other side has
// spoken; nil then.
func (s *Session) Start() []byte { return s.start }

// Ready reports whether Encrypt works: the other side of a session that was
// accepted has always spoken.
func (s *Session) Ready() bool { return s.sending.live }

// SessionIn returns which session a message is for.
func SessionIn(message []byte) (id [8]byte, ok bool) {
	copy(id[:], message)
	return id, len(message) >= Overhead
}

func (c *chain) step() (key [32]byte) {
	key = [32]byte(mac(c.key[:], 1))
	c.key = [32]byte(mac(c.key[:], 2))
	c.next++
	return key
}

func mac(key []byte, b byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte{b})
	return m.Sum(nil)
}

// rootStep returns the next root and a new chain for the two ratchet keys.
func rootStep(root [32]byte, mine *ecdh.PrivateKey, theirs [32]byte) ([32]byte, chain, error) {
	pub, err := ecdh.X25519().NewPublicKey(theirs[:])
	if err != nil {
		return root, chain{}, fmt.Errorf("%w: ratchet key: %w", ErrMessage, err)
	}
	dh, err := mine.ECDH(pub)
	if err != nil {
		return root, chain{}, fmt.Errorf("%w: ratchet key: %w", ErrMessage, err)
	}
	b := must(hkdf.Key(sha256.New, dh, root[:], labelRoot, 64))
	clear(dh)
	return [32]byte(b[:32]), chain{key: [32]byte(b[32:]), live: true}, nil
}

// turn begins a chain with the ratchet keys as they are.
func (s *Session) turn(c *chain) (err error) {
	s.root, *c, err = rootStep(s.root, s.mine, s.theirs)
	return err
}

// Encrypt seals plain. context says where the message may be opened; both
// sides know it. The new state must be stored before the message leaves.
// Encrypt panics when the session is not Ready.
func (s *Session) Encrypt(context, plain []byte) []byte { return s.encrypt(draw, context, plain) }

func (s *Session) encrypt(random entropy, context, plain []byte) []byte {
	if !s.sending.live {
		panic("ratchet: Encrypt before the other side has spoken")
	}
	id := s.ID()
	b := make([]byte, 0, len(plain)+Overhead)
	b = append(b, id[:]...)
	b = append(b, s.mine.PublicKey().Bytes()...)
	b = binary.BigEndian.AppendUint32(b, s.previous)
	b = binary.BigEndian.AppendUint32(b, s.sending.next)
	key := s.sending.step()
	aad := s.aad(context, b)
	b = append(b, make([]byte, chacha20poly1305.NonceSizeX)...)
	nonce := b[headSize:]
	random(nonce)
	b = aead(key).Seal(b, nonce, plain, aad)
	clear(key[:])
	return b
}

func (s *Session) aad(context, head []byte) []byte {
	aad := append([]byte(nil), s.transcript[:]...)
	aad = append(aad, context...)
	return append(aad, head...)
}

type sealer interface {
	Seal(dst, nonce, plain, aad []byte) []byte
	Open(dst, nonce, box, aad []byte) ([]byte, error)
}

func aead(key [32]byte) sealer {
	a, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // the key has its length by type
	}
	return a
}

// Decrypt opens a message. After an error the session is as it was. Errors:
// ErrMessage, ErrForged, ErrRepeated, ErrStale, ErrFar.
func (s *Session) Decrypt(now time.Time, context, message []byte) ([]byte, error) {
	return s.decrypt(draw, now, context, message)
}

func (s *Session) decrypt(random entropy, now time.Time, context, message []byte) ([]byte, error) {
	if len(message) < Overhead {
		return nil, fmt.Errorf("%w: message of %d bytes", ErrMessage, len(message))
	}
	if [8]byte(message[:8]) != s.ID() {
		return nil, fmt.Errorf("%w: another session's", ErrMessage)
	}
	key := [32]byte(message[8:40])
	pn, n := binary.BigEndian.Uint32(message[40:]), binary.BigEndian.Uint32(message[44:])
	open := func(k [32]byte) ([]byte, error) {
		nonce, box := message[headSize:headSize+chacha20poly1305.NonceSizeX], message[headSize+chacha20poly1305.NonceSizeX:]
		plain, err := aead(k).Open(nil, nonce, box, s.aad(context, message[:headSize]))
		if err != nil {
			return nil, ErrForged
		}
		return plain, nil
	}
	tag := tagOf(message)

	if i := slices.IndexFunc(s.skipped, func(k skipped) bool { return k.n == n && k.of == key }); i >= 0 {
		plain, err := open(s.skipped[i].key)
		if err != nil {
			return nil, err
		}
		clear(s.skipped[i].key[:])
		s.skipped = slices.Delete(s.skipped, i, i+1)
		s.opened(tag)
		return plain, nil
	}
	if slices.Contains(s.tags, tag) {
		return nil, ErrRepeated
	}
	if slices.Contains(s.retired, key) || s.receiving.live && key == s.theirs && n < s.receiving.next {
		return nil, ErrStale
	}

	// Nothing of the session changes before the message has opened.
	next := s.receiving
	root, turned := s.root, false
	var missing []skipped
	if !s.receiving.live || key != s.theirs {
		var err error
		if missing, err = skip(&next, s.theirs, pn, now); err != nil {
			return nil, err
		}
		if root, next, err = rootStep(s.root, s.mine, key); err != nil {
			return nil, err
		}
		turned = true
	}
	more, err := skip(&next, key, n, now)
	if err != nil {
		return nil, err
	}
	mk := next.step()
	plain, err := open(mk)
	clear(mk[:])
	if err != nil {
		return nil, err
	}
	if turned {
		if s.receiving.live {
			s.retired = append(s.retired, s.theirs)
			s.retired = s.retired[max(len(s.retired)-maxRetired, 0):]
		}
		s.theirs, s.root = key, root
		s.previous, s.mine = s.sending.next, newX25519(random)
		if err := s.turn(&s.sending); err != nil {
			panic("ratchet: " + err.Error()) // the same key just worked
		}
	}
	s.receiving, s.start = next, nil
	s.skipped = append(append(s.skipped, missing...), more...)
	s.skipped = s.skipped[max(len(s.skipped)-MaxSkipped, 0):]
	s.opened(tag)
	return plain, nil
}

// skip walks a chain to number n and returns the keys that it passes.
func skip(c *chain, of [32]byte, n uint32, now time.Time) (list []skipped, err error) {
	if !c.live || n <= c.next {
		return nil, nil
	}
	if n-c.next > MaxSkipped {
		return nil, fmt.Errorf("%w: %d, at most %d", ErrFar, n-c.next, MaxSkipped)
	}
	for c.next < n {
		at := c.next
		list = append(list, skipped{of: of, n: at, key: c.step(), at: now.Truncate(time.Minute)})
	}
	return list, nil
}

func tagOf(message []byte) [8]byte {
	sum := sha256.Sum256(message)
	return [8]byte(sum[:8])
}

func (s *Session) opened(tag [8]byte) {
	s.tags = append(s.tags, tag)
	s.tags = s.tags[max(len(s.tags)-maxTags, 0):]
}

// Expire deletes keys of messages that can't come any more, and reports
// whether there were any. Call it about once an hour.
func (s *Session) Expire(now time.Time) bool {
	before := len(s.skipped)
	s.skipped = slices.DeleteFunc(s.skipped, func(k skipped) bool {
		d := now.Sub(k.at)
		return d > skippedLife || d < -skippedLife // or a clock was wrong
	})
	return len(s.skipped) != before
}
