// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import (
	"context"
	"io"
	"time"

	"github.com/p2pos/p2pos/overlay"
)

// A Session is what stands with a proved device while there is a link to its
// node: streams can be opened. It may be used from anywhere.
type Session struct {
	peer Peer
	ov   *overlay.Peer
}

// SessionUp and SessionDown report that a session with a device stands, and
// that it is gone: its last link has ended, or the person was dropped.
type (
	SessionUp   struct{ Session *Session }
	SessionDown struct{ Session *Session }
)

// StreamOpened brings a stream that the other device has opened. Whoever takes
// the event owns the stream; it ends with its link.
type StreamOpened struct {
	Session *Session
	Kind    StreamKind
	Stream  *overlay.Stream
}

func (SessionUp) hubEvent()    {}
func (SessionDown) hubEvent()  {}
func (StreamOpened) hubEvent() {}

// StreamKind is the first byte of a stream and says what it is for.
type StreamKind uint8

const (
	// FileStream carries messages of session/files.
	FileStream StreamKind = 1
	// BookStream carries frames of session/book, between own devices alone.
	BookStream StreamKind = 2
)

// kindTime is how long a stream may be without its first byte.
const kindTime = 30 * time.Second

// Peer returns the device at the other end.
func (s *Session) Peer() Peer { return s.peer }

// Open opens a stream on the link in use. Errors: overlay.ErrDown, ctx's.
func (s *Session) Open(ctx context.Context, k StreamKind) (*overlay.Stream, error) {
	l := s.ov.Link()
	if l == nil {
		return nil, overlay.ErrDown
	}
	st, err := l.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := st.Write([]byte{byte(k)}); err != nil {
		st.Abort()
		return nil, overlay.ErrDown
	}
	return st, nil
}

// Traffic returns what QUIC counts on the link in use; zero without one.
func (s *Session) Traffic() overlay.Traffic {
	if l := s.ov.Link(); l != nil {
		return l.Traffic()
	}
	return overlay.Traffic{}
}

// Path returns how the device is reached now.
func (s *Session) Path() overlay.PathInfo { return s.ov.Path() }

// openSession tells of a proved device on a link, and takes the streams that it
// opens on each of its links.
func (h *Hub) openSession(r *remote) {
	l := r.ov.Link()
	if !r.proved || l == nil {
		return
	}
	if r.session == nil {
		r.session = &Session{peer: r.peer, ov: r.ov}
		h.emit(SessionUp{r.session})
	}
	if !r.heard[l] {
		if r.heard == nil {
			r.heard = make(map[*overlay.Link]bool)
		}
		r.heard[l] = true
		s := r.session
		h.wg.Go(func() {
			h.acceptOn(s, l)
			h.loop.Do(h.ctx, func(time.Time) { delete(r.heard, l) }) // it may be closed by now, which is no harm
		})
	}
}

func (h *Hub) closeSession(r *remote) {
	if r.session != nil {
		h.emit(SessionDown{r.session})
		r.session, r.heard = nil, nil
	}
}

// acceptOn takes the streams of a link until it ends.
func (h *Hub) acceptOn(s *Session, l *overlay.Link) {
	for {
		st, err := l.AcceptStream(h.ctx)
		if err != nil {
			return
		}
		h.wg.Go(func() {
			var kind [1]byte
			st.SetReadDeadline(time.Now().Add(kindTime))
			if _, err := io.ReadFull(st, kind[:]); err != nil {
				st.Abort()
				return
			}
			st.SetReadDeadline(time.Time{})
			switch k := StreamKind(kind[0]); {
			case k == FileStream, k == BookStream && s.peer.Identity == h.cfg.Self.ID():
			default:
				st.Abort() // of a later program, or none of theirs
				return
			}
			h.emit(StreamOpened{s, StreamKind(kind[0]), st})
		})
	}
}
