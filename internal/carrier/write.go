// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"encoding/binary"
	"fmt"
	"time"
)

// write hands what waits to the line until the connection is down; then the
// rest, if Close wants that.
func (c *Conn) write() {
	idle := time.NewTimer(keepalive)
	defer idle.Stop()
	limit := maxBatch
	b := make([]byte, frameHeader, 2*MaxDatagram) // the first frame is empty: the greeting
	for {
		if len(b) > 0 {
			took, err := c.flush(b)
			if err != nil {
				c.down(err)
				return
			}
			limit = nextBatch(limit, took)
			idle.Reset(keepalive)
		}
		var more bool
		if b, more = c.next(b[:0], limit); more {
			continue
		}
		select {
		case <-c.more:
		case <-idle.C:
			b = append(b, make([]byte, frameHeader)...)
		case <-c.done:
			if b, more = c.next(b, limit); !more { // something may have come before it was down
				return
			}
		}
	}
}

// next takes frames from the queue and reports whether there are any.
func (c *Conn) next(b []byte, limit int) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b = c.out.pop(time.Since(c.start), b, limit)
	return b, len(b) > 0
}

// flush writes frames and counts them.
func (c *Conn) flush(b []byte) (took time.Duration, err error) {
	start := time.Now()
	_ = c.raw.SetWriteDeadline(start.Add(maxWriteTime)) // when it is closed the write says so
	if _, err := c.tls.Write(b); err != nil {
		return 0, fmt.Errorf("carrier: write: %w", err)
	}
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint16(b))
		if n > 0 {
			c.sent.Add(1)
		}
		b = b[frameHeader+n:]
	}
	return time.Since(start), nil
}

// nextBatch returns the size of the next batch, when one of at most this size
// took so long.
func nextBatch(limit int, took time.Duration) int {
	switch {
	case took > slowWrite:
		return frameHeader + MaxDatagram
	case took < quickWrite:
		return min(limit+frameHeader+MaxDatagram, maxBatch)
	}
	return limit
}
