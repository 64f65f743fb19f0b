// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/internal/wire"
	"github.com/p2pos/p2pos/overlay"
)

// The state file is what a node keeps from one start to the next beside its
// identity: the port it had, the nodes it can meet again, and the reach secrets
// of people it has called. It is sealed with a key from the key store.
//
//	"p2pos state\n" version(1)=1 || nonce(24) || XChaCha20-Poly1305( fields )
//	 1 port(2)   2 memories (nat.AppendMemories, ≤ 32 KiB)   3 known people: ID(32) reach secret(16) each, ≤ 1,024
const (
	stateFile    = "state"
	stateMagic   = "p2pos state\n"
	stateVersion = 1
	// maxState bounds what is read: 64 memories of 512 bytes and 1,024 people.
	maxState = 128 << 10
	// saveEvery is how much a crash may forget.
	saveEvery = time.Minute
)

var errState = errors.New("p2pos: damaged state file")

type state struct {
	port     uint16
	memories []byte
	known    []overlay.Target
}

func (s *state) append(b []byte) []byte {
	b = wire.AppendField(b, 1, binary.BigEndian.AppendUint16(nil, s.port))
	b = wire.AppendField(b, 2, s.memories)
	var known []byte
	for _, t := range s.known[:min(len(s.known), maxKnown)] {
		known = append(append(known, t.ID[:]...), t.Secret[:]...)
	}
	return wire.AppendField(b, 3, known)
}

func parseState(b []byte) (s state, err error) {
	err = wire.Fields(b, func(tag uint8, v []byte) error {
		switch tag {
		case 1:
			if len(v) != 2 {
				return errState
			}
			s.port = binary.BigEndian.Uint16(v)
		case 2:
			s.memories = bytes.Clone(v)
		case 3:
			for r := wire.NewReader(v); r.Len() > 0; {
				var t overlay.Target
				r.Fixed(t.ID[:])
				r.Fixed(t.Secret[:])
				if r.Err() != nil || len(s.known) == maxKnown {
					return errState
				}
				s.known = append(s.known, t)
			}
		}
		return nil
	})
	return s, err
}

// loadState reads the state file. A missing one is an empty state; one that
// can't be used is kept aside, and the node starts without.
func loadState(dir string, key [32]byte) (state, error) {
	path := filepath.Join(dir, stateFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	b := make([]byte, maxState+1)
	n := readFull(f, b)
	s, err := openState(b[:n], key)
	if err == nil {
		return s, nil
	}
	f.Close()
	if e := os.Rename(path, path+".bad"); e != nil {
		return state{}, fmt.Errorf("%w; it could not be kept aside: %w", err, e)
	}
	return state{}, fmt.Errorf("%w; it is kept as %s", err, stateFile+".bad")
}

func openState(b []byte, key [32]byte) (state, error) {
	head := len(stateMagic) + 1
	if len(b) > maxState || len(b) < head || string(b[:len(stateMagic)]) != stateMagic {
		return state{}, errState
	}
	if v := b[head-1]; v != stateVersion {
		return state{}, fmt.Errorf("%w: version %d", errState, v)
	}
	plain, err := identity.OpenSecret(key, b[:head], b[head:])
	if err != nil {
		return state{}, fmt.Errorf("%w: %w", errState, err)
	}
	return parseState(plain)
}

// saveState replaces the state file. A crash leaves the old one or the new one.
func saveState(dir string, key [32]byte, s state) error {
	head := append([]byte(stateMagic), stateVersion)
	return replaceFile(dir, stateFile, append(head, identity.SealSecret(key, head, s.append(nil))...))
}

// replaceFile puts bytes in the place of what a file held.
func replaceFile(dir, name string, b []byte) error {
	f, err := os.CreateTemp(dir, name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	return err
}

// readFull reads to the end of the file or of b. A read error shows as damage.
func readFull(f *os.File, b []byte) (n int) {
	for n < len(b) {
		m, err := f.Read(b[n:])
		n += m
		if m == 0 || err != nil {
			break
		}
	}
	return n
}

// keepState saves the state every now and then, and once more at the end.
func (n *Node) keepState() {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n.saveNow(n.ctx)
		case <-n.ctx.Done():
			return
		}
	}
}

// saveNow writes the state file if anything has changed.
func (n *Node) saveNow(ctx context.Context) {
	memories, err := n.ov.Memories(ctx)
	if err != nil {
		return
	}
	s := state{port: n.port, memories: memories}
	n.mu.Lock()
	for _, t := range n.known {
		s.known = append(s.known, overlay.Target{ID: t.ID, Secret: t.Secret})
	}
	n.mu.Unlock()
	order.Sort(s.known, func(a, b overlay.Target) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	plain := s.append(nil)
	n.saving.Lock()
	defer n.saving.Unlock()
	if bytes.Equal(plain, n.saved) || n.replaced.Load() {
		return
	}
	if err := saveState(n.dir, n.dev.Derive(stateLabel), s); err != nil {
		if !n.unsaved {
			n.log.Warn("state not saved", "err", err) // once: it is tried every minute
		}
		n.unsaved = true
		return
	}
	n.saved, n.unsaved = plain, false
}

// recall gives the overlay what it needs to meet nodes of an earlier start.
func (n *Node) recall(memories []byte) {
	if len(memories) == 0 {
		return
	}
	if err := n.ov.Remember(n.ctx, memories); err != nil {
		n.log.Warn("remembered nodes not read", "err", err)
		return
	}
	known, _, err := n.ov.Remembered(n.ctx)
	n.recalls = err == nil && known > 0
}

const stateLabel = "p2pos state v1"
