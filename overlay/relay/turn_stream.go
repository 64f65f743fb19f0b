// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"encoding/binary"
	"errors"
)

// errTURNStream reports a stream from a TURN server in which no message can be
// found any more.
var errTURNStream = errors.New("relay: TURN server sends what is no TURN message")

// turnStream finds the messages in a TCP stream (RFC 8656 §3.1: STUN messages
// as they are, ChannelData padded to four bytes).
type turnStream struct {
	buf  [2 * maxTURNMessage]byte
	r, w int // what is between them has been read and not returned
}

// next returns the next message and whether it is complete; it is valid until
// room is called.
func (s *turnStream) next() (b []byte, whole bool, err error) {
	have := s.buf[s.r:s.w]
	if len(have) < channelHeader {
		return nil, false, nil
	}
	n := int(binary.BigEndian.Uint16(have[2:]))
	switch {
	case have[0] < 4:
		n += stunHeader
	case have[0]>>6 == 1:
		n = (channelHeader + n + 3) &^ 3
	default:
		return nil, false, errTURNStream
	}
	if n > maxTURNMessage {
		return nil, false, errTURNStream
	}
	if len(have) < n {
		return nil, false, nil
	}
	s.r += n
	return have[:n], true, nil
}

// room returns where to read to; filled then says how much was. It is never
// empty when next has found no whole message.
func (s *turnStream) room() []byte {
	if s.r > 0 {
		s.w = copy(s.buf[:], s.buf[s.r:s.w])
		s.r = 0
	}
	return s.buf[s.w:]
}

func (s *turnStream) filled(n int) { s.w += n }
