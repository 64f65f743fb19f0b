// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package session

import "github.com/pion/srtp/v2"

// replayWindow is how many packets may overtake one that is still accepted:
// 256 are 5 s of voice, more than two paths of one call ever differ by
// (RFC 3711 §3.3.2 asks for at least 64).
const replayWindow = 256

// window is the replay list of one SSRC (RFC 3711 §3.3.2), as a ring of bits
// (RFC 6479). It does what srtp's own does but allocates nothing: that one
// makes a closure for each packet, the second of two allocations on the
// receiving path.
type window struct {
	bits    [replayWindow / 64]uint64
	top     uint64 // highest index accepted
	pending uint64 // index that Check was last asked about
	accept  func() // marks pending; made once
}

func newWindow() *window {
	w := new(window)
	w.accept = w.mark
	return w
}

func ignore() {}

// Check tells whether a packet of this index, if genuine, is new. After its tag
// was verified srtp calls the function returned, before the next Check.
func (w *window) Check(index uint64) (accept func(), ok bool) {
	if index <= w.top && (w.top-index >= replayWindow || w.bits[index%replayWindow/64]&(1<<(index%64)) != 0) {
		return ignore, false
	}
	w.pending = index
	return w.accept, true
}

func (w *window) mark() {
	if w.pending > w.top {
		if w.pending-w.top >= replayWindow {
			w.bits = [len(w.bits)]uint64{}
		} else {
			for i := w.top + 1; i < w.pending; i++ {
				w.bits[i%replayWindow/64] &^= 1 << (i % 64)
			}
		}
		w.top = w.pending
	}
	w.bits[w.pending%replayWindow/64] |= 1 << (w.pending % 64)
}

// detector gives srtp a window for each SSRC. D is the interface that srtp's
// option wants; inferring it spares a dependency on the module it lives in.
func detector[D any](option func(func() D) srtp.ContextOption) srtp.ContextOption {
	return option(func() D { return any(newWindow()).(D) })
}
