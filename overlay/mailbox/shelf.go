// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

// Shelf keeps the bytes of pieces for a Store, which keeps everything else in
// memory. It is called from the store's goroutine and must not wait for a disk:
// one that has a disk writes behind. What it loses, other holders have. Pieces
// are not wanted after a restart: the node has another place then.
type Shelf interface {
	// Put keeps b under a number that is not in use.
	Put(n uint64, b []byte) error
	// Get returns what was put under n, or nil when it is lost.
	Get(n uint64) []byte
	// Delete forgets n. Deleting what is not there is no error.
	Delete(n uint64)
}

// Memory is a Shelf in memory. Its zero value is ready.
type Memory struct{ m map[uint64][]byte }

// Put keeps b, without a copy.
func (m *Memory) Put(n uint64, b []byte) error {
	if m.m == nil {
		m.m = make(map[uint64][]byte)
	}
	m.m[n] = b
	return nil
}

// Get returns what was put under n.
func (m *Memory) Get(n uint64) []byte { return m.m[n] }

// Delete forgets n.
func (m *Memory) Delete(n uint64) { delete(m.m, n) }
