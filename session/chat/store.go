// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package chat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/p2pos/p2pos/identity"
)

// A Store keeps what a Machine must not forget. Package chat/storetest holds
// implementations to this.
type Store interface {
	// Get returns the value under a name, nil when there is none.
	Get(name []byte) ([]byte, error)
	// Commit makes all writes, or none when it fails. When it returns nil they
	// outlast a crash. events are what the app will see with them: a store that
	// keeps a history adds them in the same transaction. Commit keeps nothing
	// that it was given.
	Commit(writes []Write, events []Event) error
}

// IDRoom begins the names under which the places of texts are kept, followed by a
// text's ID: when one is deleted the machine has forgotten the text.
const IDRoom = 'I'

// Write puts a value under a name, or deletes the name when Value is nil.
type Write struct {
	Name, Value []byte
}

// Memory is a Store that forgets everything when the process ends. It may be
// used from any goroutine.
type Memory struct {
	mu sync.Mutex // guards m
	m  map[string][]byte
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{m: make(map[string][]byte)} }

// Get implements Store.
func (s *Memory) Get(name []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.m[string(name)]), nil
}

// Commit implements Store.
func (s *Memory) Commit(writes []Write, _ []Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range writes {
		if w.Value == nil {
			delete(s.m, string(w.Name))
		} else {
			s.m[string(w.Name)] = bytes.Clone(w.Value)
		}
	}
	return nil
}

// Len returns how many names there are.
func (s *Memory) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.m)
}

// Copy returns a Memory with the same content: a backup.
func (s *Memory) Copy() *Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Memory{m: maps.Clone(s.m)} // values are never changed in place
}

// What is under which name; numbers are 8 bytes, big endian.
//
//	"p"                            IDs of all people (32 each)
//	"k"                            keyring (ratchet.Keyring)
//	"b"                            first 8 bytes of SHA-256 of the bundle that was published last
//	"o"                            first and next number of "O"
//	"P" identity                   person: see person.append
//	"S" identity device session    state of a session (ratchet.Session)
//	"E" identity number            entry number of the conversation with this person
//	"I" entry's ID                 its conversation (32) and number (8)
//	"H" identity                   entries that wait for one before them: vec16 each
//	"O" number                     conversation (32) and number (8) of an own entry, for own devices
func nameOf(room byte, parts ...[]byte) []byte {
	b := []byte{room}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func personName(id identity.ID) []byte          { return nameOf('P', id[:]) }
func heldName(id identity.ID) []byte            { return nameOf('H', id[:]) }
func entryName(id identity.ID, n uint64) []byte { return nameOf('E', id[:], number(n)) }
func idName(id ID) []byte                       { return nameOf(IDRoom, id[:]) }
func ownName(n uint64) []byte                   { return nameOf('O', number(n)) }
func sessionName(id identity.ID, device [16]byte, session [8]byte) []byte {
	return nameOf('S', id[:], device[:], session[:])
}

// tx gathers the writes of one input, and reads through them.
type tx struct {
	store  Store
	writes map[string][]byte // nil value = delete
	order  []string
}

func (t *tx) put(name, value []byte) {
	k := string(name)
	if _, ok := t.writes[k]; !ok {
		t.order = append(t.order, k)
	}
	t.writes[k] = value
}

func (t *tx) remove(name []byte) { t.put(name, nil) }

// storeFailure ends an input: the machine has to be read anew.
type storeFailure struct{ err error }

// get panics with a storeFailure when the store can't be read; the machine
// catches it where the input began.
func (t *tx) get(name []byte) []byte {
	if v, ok := t.writes[string(name)]; ok {
		return v
	}
	v, err := t.store.Get(name)
	if err != nil {
		panic(storeFailure{err})
	}
	return v
}

func (t *tx) list() (list []Write) {
	for _, k := range t.order {
		list = append(list, Write{[]byte(k), t.writes[k]})
	}
	return list
}

func (t *tx) clear() {
	t.writes, t.order = make(map[string][]byte), nil
}

// entry returns an entry of a conversation, nil when it is not kept (any more)
// or can't be read.
func (t *tx) entry(id identity.ID, n uint64) *entry {
	b := t.get(entryName(id, n))
	if b == nil {
		return nil
	}
	e, _, err := parseEntry(b)
	if err != nil {
		return nil
	}
	return e
}

// find returns where an entry is.
func (t *tx) find(id ID) (conversation identity.ID, n uint64, ok bool) {
	return readPlace(t.get(idName(id)))
}

func readPlace(b []byte) (conversation identity.ID, n uint64, ok bool) {
	if len(b) != 40 {
		return conversation, 0, false
	}
	return identity.ID(b[:32]), binary.BigEndian.Uint64(b[32:]), true
}

func place(conversation identity.ID, n uint64) []byte {
	return append(slices.Clone(conversation[:]), number(n)...)
}

func damaged(what string) error { return fmt.Errorf("%w: %s is damaged", ErrStore, what) }
