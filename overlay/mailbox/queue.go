// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mailbox

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

const (
	// periodHours is the length of a period: 14 days, as long as mail lives, so
	// that a reader looks into two queues of a pair and not into fourteen.
	periodHours = 14 * 24

	// Life is how long a blob is kept.
	Life = periodHours * time.Hour
)

// The sizes of blobs. All that is stored has one of them, so that its length
// tells little.
const (
	Small  = 1 << 10
	Medium = 4 << 10
	Large  = 16 << 10
)

var errSize = errors.New("mailbox: a blob has 1, 4 or 16 KiB")

// ID names a blob: the first 16 bytes of its SHA-256.
type ID [16]byte

// IDOf returns the name of a blob.
func IDOf(blob []byte) ID {
	h := sha256.Sum256(blob)
	return ID(h[:16])
}

// Period returns the number of the period that t lies in.
func Period(t time.Time) uint64 { return hour(t) / periodHours }

// hour returns the number of whole hours from the Unix epoch to t; 0 before.
func hour(t time.Time) uint64 { return uint64(max(t.Unix(), 0) / 3600) }

// Queue is where mail of one pair waits in one period. Writer and reader make
// the same one from their secret. It prints without its secrets.
type Queue struct {
	key    ed25519.PrivateKey
	period uint64
}

// NewQueue returns the queue of a secret that two people share, in a period.
func NewQueue(secret [32]byte, period uint64) Queue {
	info := binary.BigEndian.AppendUint64([]byte("p2pos mail queue v1"), period)
	seed, err := hkdf.Key(sha256.New, secret[:], nil, string(info), ed25519.SeedSize)
	if err != nil {
		panic(err) // only for lengths above 255 hashes
	}
	return Queue{ed25519.NewKeyFromSeed(seed), period}
}

// Queues returns the queues in which mail under a secret may wait at now: of
// this and the last period, and of the next when it is at most an hour away,
// since the writer's clock may be fast. The first one is the one to write to.
func Queues(secret [32]byte, now time.Time) []Queue {
	p := Period(now)
	list := []Queue{NewQueue(secret, p)}
	if p > 0 {
		list = append(list, NewQueue(secret, p-1))
	}
	if Period(now.Add(time.Hour)) != p {
		list = append(list, NewQueue(secret, p+1))
	}
	return list
}

// Place returns the queue's place in the overlay.
func (q Queue) Place() [32]byte { return placeOf(q.public()) }

// IsZero tells whether q is no queue.
func (q Queue) IsZero() bool { return q.key == nil }

// Period returns the period that the queue belongs to.
func (q Queue) Period() uint64 { return q.period }

// String names the queue by its period, which is no secret.
func (q Queue) String() string { return fmt.Sprintf("queue of period %d", q.period) }

// Format prints String under every verb, so that no key is ever printed.
func (q Queue) Format(f fmt.State, _ rune) { io.WriteString(f, q.String()) }

// LogValue keeps the key out of logs.
func (q Queue) LogValue() slog.Value { return slog.StringValue(q.String()) }

func (q Queue) public() [32]byte { return [32]byte(q.key.Public().(ed25519.PublicKey)) }

func placeOf(key [32]byte) [32]byte {
	return sha256.Sum256(append([]byte("p2pos mail place v1"), key[:]...))
}

// sizeClass returns the class of a blob's length.
func sizeClass(n int) (class uint8, ok bool) {
	switch n {
	case Small:
		return 0, true
	case Medium:
		return 1, true
	case Large:
		return 2, true
	}
	return 0, false
}

// parts returns in how many pieces a blob of a class is cut.
func parts(class uint8) int {
	return [...]int{1, 2, 5}[class]
}

// partSize returns the length of one piece's data.
func partSize(class, part uint8) int {
	switch {
	case class == 0:
		return Small
	case class == 1:
		return Medium / 2
	case part == 4:
		return Large - 4*3277
	}
	return 3277
}

// join puts a blob together of its pieces' data. It returns nil when that is not
// the blob of this name.
func join(id ID, data [][]byte) []byte {
	blob := bytes.Join(data, nil)
	if IDOf(blob) != id {
		return nil
	}
	return blob
}
