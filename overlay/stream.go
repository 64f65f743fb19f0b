// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"context"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"
)

// A Stream is a QUIC stream of a link beside its control stream, reliable and
// in order in both directions. Reading and writing may go on at the same time.
type Stream struct{ s *quic.Stream }

// Read and Write are those of io.Reader and io.Writer. Write returns when QUIC
// has taken the bytes to send, which it does as the other side reads.
func (s *Stream) Read(b []byte) (int, error)  { return s.s.Read(b) }
func (s *Stream) Write(b []byte) (int, error) { return s.s.Write(b) }

// SetReadDeadline bounds reads; the zero time takes the bound away.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.s.SetReadDeadline(t) }

// Abort ends both directions at once. What was written may be lost.
func (s *Stream) Abort() {
	s.s.CancelRead(codeUnused)
	s.s.CancelWrite(codeUnused)
}

// OpenStream opens a stream on exactly this link. It ends with the link. It
// waits while the other side has as many as it takes. Errors: ctx's, ErrDown.
func (l *Link) OpenStream(ctx context.Context) (*Stream, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, l.streamError(ctx, err)
	}
	return &Stream{s}, nil
}

// AcceptStream waits for a stream that the other side opens. Those that nobody
// accepts wait, sixteen at most, with what fits their first window. Errors: as
// OpenStream.
func (l *Link) AcceptStream(ctx context.Context) (*Stream, error) {
	s, err := l.conn.AcceptStream(ctx)
	if err != nil {
		return nil, l.streamError(ctx, err)
	}
	return &Stream{s}, nil
}

func (l *Link) streamError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrDown, err)
}

// Traffic is what QUIC counts on a link.
type Traffic struct {
	RTT      time.Duration // the latest sample; 0 = none yet
	Lost     uint64        // packets
	Received uint64        // packets
}

// Traffic returns what QUIC has counted so far.
func (l *Link) Traffic() Traffic {
	s := l.conn.ConnectionStats()
	return Traffic{s.LatestRTT, s.PacketsLost, s.PacketsReceived}
}
