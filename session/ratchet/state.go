// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package ratchet

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/p2pos/p2pos/internal/wire"
)

// State of a session, on this device's disk alone:
//
//	version(1)=1 || fields
//	 1 peer: identity(32) device(16) sealing key(32)   2 began(8, Unix seconds), answers(1)   3 transcript(32)   4 start (absent once answered)
//	 5 root(32)   6 our ratchet key, private(32)   7 theirs(32)   8 sending, receiving chain, each live(1) key(32) next(4)   9 previous(4)
//	10 retired keys (32 each)   11 tags (8 each)   12 keys of skipped messages' chains (32 each)   13 skipped: index into 12 (2) number(4) key(32) minutes(4)
//
// State of a keyring:
//
//	version(1)=1 || fields
//	 1 published, 2 handed: each vec16: id(8) created(8) expires(8) base(32) n(1) n × (present(1) seed(32) used(8) m(1) m × session(8)) bundle (vec16)
const stateVersion = 1

// Append adds the session's state to b. It holds secrets.
func (s *Session) Append(b []byte) []byte {
	b = append(b, stateVersion)
	peer := append(append(append([]byte(nil), s.Peer.Identity[:]...), s.Peer.Device[:]...), s.Peer.Sealing[:]...)
	b = wire.AppendField(b, 1, peer)
	began := append(binary.BigEndian.AppendUint64(nil, uint64(s.Began.Unix())), flag(s.Answers))
	b = wire.AppendField(b, 2, began)
	b = wire.AppendField(b, 3, s.transcript[:])
	if s.start != nil {
		b = wire.AppendField(b, 4, s.start)
	}
	b = wire.AppendField(b, 5, s.root[:])
	b = wire.AppendField(b, 6, s.mine.Bytes())
	b = wire.AppendField(b, 7, s.theirs[:])
	b = wire.AppendField(b, 8, s.receiving.append(s.sending.append(nil)))
	b = wire.AppendField(b, 9, binary.BigEndian.AppendUint32(nil, s.previous))
	var list []byte
	for _, k := range s.retired {
		list = append(list, k[:]...)
	}
	b = wire.AppendField(b, 10, list)
	list = nil
	for _, t := range s.tags {
		list = append(list, t[:]...)
	}
	b = wire.AppendField(b, 11, list)
	var chains [][32]byte
	list = nil
	for _, k := range s.skipped { // those of one chain stand together
		if n := len(chains); n == 0 || chains[n-1] != k.of {
			chains = append(chains, k.of)
		}
		list = binary.BigEndian.AppendUint16(list, uint16(len(chains)-1))
		list = binary.BigEndian.AppendUint32(list, k.n)
		list = append(list, k.key[:]...)
		list = binary.BigEndian.AppendUint32(list, minutes(k.at))
	}
	var names []byte
	for _, c := range chains {
		names = append(names, c[:]...)
	}
	b = wire.AppendField(b, 12, names)
	return wire.AppendField(b, 13, list)
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func (c *chain) append(b []byte) []byte {
	b = append(append(b, flag(c.live)), c.key[:]...)
	return binary.BigEndian.AppendUint32(b, c.next)
}

func readChain(r *wire.Reader) (c chain) {
	c.live = r.U8() != 0
	r.Fixed(c.key[:])
	c.next = r.U32()
	return c
}

func readSkipped(r *wire.Reader, chains [][32]byte) (list []skipped, err error) {
	for r.Len() > 0 {
		i := int(r.U16())
		k := skipped{n: r.U32()}
		r.Fixed(k.key[:])
		k.at = time.Unix(int64(r.U32())*60, 0).UTC()
		if r.Err() != nil || i >= len(chains) {
			return nil, wire.ErrField
		}
		k.of = chains[i]
		list = append(list, k)
	}
	return list, nil
}

// ParseSession reads a state. The error is ErrMessage.
func ParseSession(b []byte) (*Session, error) {
	s := &Session{}
	var chains [][32]byte
	seen := 0
	err := stateFields(b, func(tag uint8, r *wire.Reader) (err error) {
		switch tag {
		case 1:
			r.Fixed(s.Peer.Identity[:])
			r.Fixed(s.Peer.Device[:])
			r.Fixed(s.Peer.Sealing[:])
		case 2:
			s.Began = time.Unix(int64(r.U64()), 0).UTC()
			s.Answers = r.U8() != 0
		case 3:
			r.Fixed(s.transcript[:])
		case 4:
			s.start = append([]byte{}, r.Rest()...)
			seen--
		case 5:
			r.Fixed(s.root[:])
		case 6:
			s.mine, err = ecdh.X25519().NewPrivateKey(r.Rest())
		case 7:
			r.Fixed(s.theirs[:])
		case 8:
			s.sending, s.receiving = readChain(r), readChain(r)
		case 9:
			s.previous = r.U32()
		case 10:
			for r.Len() > 0 && r.Err() == nil {
				s.retired = append(s.retired, [32]byte(read(r, 32)))
			}
		case 11:
			for r.Len() > 0 && r.Err() == nil {
				s.tags = append(s.tags, [8]byte(read(r, 8)))
			}
		case 12:
			for r.Len() > 0 && r.Err() == nil {
				chains = append(chains, [32]byte(read(r, 32)))
			}
		case 13:
			s.skipped, err = readSkipped(r, chains)
		default:
			r.Rest()
			return nil
		}
		seen++
		return err
	})
	if err == nil && (seen != 12 || len(s.skipped) > MaxSkipped || len(s.retired) > maxRetired || len(s.tags) > maxTags) {
		err = wire.ErrField
	}
	if err != nil {
		return nil, fmt.Errorf("%w: session: %w", ErrMessage, err)
	}
	return s, nil
}

// read returns exactly n bytes, zeros when they are not there.
func read(r *wire.Reader, n int) []byte {
	b := make([]byte, n)
	r.Fixed(b)
	return b
}

func stateFields(b []byte, visit func(tag uint8, r *wire.Reader) error) error {
	if len(b) == 0 || b[0] != stateVersion {
		return fmt.Errorf("%w: unknown version", wire.ErrField)
	}
	return wire.Fields(b[1:], func(tag uint8, v []byte) error {
		r := wire.NewReader(v)
		if err := visit(tag, r); err != nil {
			return err
		}
		return r.Done()
	})
}

// Append adds the keyring's state to b. It holds secrets.
func (k *Keyring) Append(b []byte) []byte {
	b = append(b, stateVersion)
	for i, list := range [][]*generation{k.published, k.handed} {
		var v []byte
		for _, g := range list {
			v = wire.AppendVec16(v, g.append(nil))
		}
		b = wire.AppendField(b, uint8(i+1), v)
	}
	return b
}

func (g *generation) append(b []byte) []byte {
	b = append(b, g.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(g.created.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(g.expires.Unix()))
	b = append(b, g.base.Bytes()...)
	b = append(b, byte(len(g.keys)))
	for _, p := range g.keys {
		seed := make([]byte, 32)
		if p.key != nil {
			seed = seedOf(p.key)
		}
		b = append(append(b, flag(p.key != nil)), seed...)
		var used uint64
		if !p.used.IsZero() {
			used = uint64(p.used.Unix())
		}
		b = binary.BigEndian.AppendUint64(b, used)
		b = append(b, byte(len(p.starts)))
		for _, s := range p.starts {
			b = append(b, s[:]...)
		}
	}
	return wire.AppendVec16(b, g.raw)
}

func seedOf(k hpke.PrivateKey) []byte {
	b, err := k.Bytes()
	if err != nil || len(b) != 32 {
		panic("ratchet: hybrid key without a seed") // X-Wing's always have one
	}
	return b
}

// ParseKeyring reads a state. The error is ErrMessage.
func ParseKeyring(b []byte) (*Keyring, error) {
	k := &Keyring{}
	err := stateFields(b, func(tag uint8, r *wire.Reader) (err error) {
		var list []*generation
		for tag <= 2 && r.Len() > 0 && r.Err() == nil {
			g, err := parseGeneration(r.Vec16())
			if err != nil {
				return err
			}
			list = append(list, g)
		}
		switch tag {
		case 1:
			k.published = list
		case 2:
			k.handed = list
		default:
			r.Rest()
		}
		return nil
	})
	if err == nil && (len(k.published) > maxPublished || len(k.handed) > maxHanded) {
		err = wire.ErrField
	}
	if err != nil {
		return nil, fmt.Errorf("%w: keyring: %w", ErrMessage, err)
	}
	return k, nil
}

func parseGeneration(b []byte) (*generation, error) {
	r := wire.NewReader(b)
	g := &generation{}
	r.Fixed(g.id[:])
	g.created = time.Unix(int64(r.U64()), 0).UTC()
	g.expires = time.Unix(int64(r.U64()), 0).UTC()
	var err error
	if g.base, err = ecdh.X25519().NewPrivateKey(read(r, 32)); err != nil {
		return nil, err
	}
	n := int(r.U8())
	if n > maxKeys {
		return nil, wire.ErrField
	}
	for range n {
		var p prekey
		present := r.U8() != 0
		seed := read(r, 32)
		if present && r.Err() == nil {
			if p.key, err = hpke.MLKEM768X25519().NewPrivateKey(seed); err != nil {
				return nil, err
			}
		}
		if used := r.U64(); used != 0 {
			p.used = time.Unix(int64(used), 0).UTC()
		}
		m := int(r.U8())
		if m > maxStarts {
			return nil, wire.ErrField
		}
		for range m {
			p.starts = append(p.starts, [8]byte(read(r, 8)))
		}
		g.keys = append(g.keys, p)
	}
	if raw := r.Vec16(); len(raw) > 0 {
		g.raw = append([]byte(nil), raw...)
	}
	return g, r.Done()
}
