// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"errors"
	"maps"
	"sync/atomic"
)

// MaxSSRCs bounds the allow-list: eight calls with voice and video each way
// and their successors while keys change, doubled.
const MaxSSRCs = 64

var (
	errSSRCTaken = errors.New("session: SSRC in use")
	errSSRCFull  = errors.New("session: SSRC list full")
)

// SSRCs is the list of SSRCs that calls have agreed on, with what belongs to
// each of them. A media packet whose SSRC is not on it is dropped and counted;
// it leaves no trace. Lookups take no lock and never wait: each change
// publishes a new map. All methods are safe for concurrent use. The zero value
// is an empty list.
type SSRCs[T any] struct {
	list    atomic.Pointer[map[uint32]T]
	dropped atomic.Uint64
}

// Lookup returns what belongs to the SSRC of an SRTP or SRTCP packet; else it
// counts the packet as dropped.
func (s *SSRCs[T]) Lookup(pkt []byte) (v T, ok bool) {
	if ssrc, valid := SSRCOf(pkt); valid {
		if m := s.list.Load(); m != nil {
			if v, ok = (*m)[ssrc]; ok {
				return v, true
			}
		}
	}
	s.dropped.Add(1)
	return v, false
}

// Dropped returns how many packets Lookup has refused.
func (s *SSRCs[T]) Dropped() uint64 { return s.dropped.Load() }

// Len returns how many SSRCs are listed.
func (s *SSRCs[T]) Len() int {
	if m := s.list.Load(); m != nil {
		return len(*m)
	}
	return 0
}

// Add lists ssrc. It fails when ssrc is listed already or the list is full.
func (s *SSRCs[T]) Add(ssrc uint32, v T) error {
	for {
		old := s.list.Load()
		next := make(map[uint32]T, 1)
		if old != nil {
			if _, taken := (*old)[ssrc]; taken {
				return errSSRCTaken
			}
			if len(*old) >= MaxSSRCs {
				return errSSRCFull
			}
			maps.Copy(next, *old)
		}
		next[ssrc] = v
		if s.list.CompareAndSwap(old, &next) {
			return nil
		}
	}
}

// Remove takes ssrc off the list.
func (s *SSRCs[T]) Remove(ssrc uint32) {
	for {
		old := s.list.Load()
		if old == nil {
			return
		}
		next := maps.Clone(*old)
		delete(next, ssrc)
		if s.list.CompareAndSwap(old, &next) {
			return
		}
	}
}
