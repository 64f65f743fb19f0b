// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package mesh

import "time"

// tokens is a bucket of permits that fills with time.
type tokens struct {
	spent float32       // permits missing from a full bucket
	at    time.Duration // when spent was true, see core.since
}

// rate says how a bucket of tokens fills.
type rate struct{ perSecond, burst float32 }

// take uses one permit, if there is one.
func (t *tokens) take(now time.Duration, r rate) bool {
	t.fill(now, r)
	if t.spent > r.burst-1 {
		return false
	}
	t.spent++
	return true
}

// wait returns when the next permit will be there.
func (t *tokens) wait(now time.Duration, r rate) time.Duration {
	t.fill(now, r)
	if over := t.spent - (r.burst - 1); over > 0 {
		return now + time.Duration(float64(over)/float64(r.perSecond)*float64(time.Second)) + time.Millisecond
	}
	return now
}

func (t *tokens) fill(now time.Duration, r rate) {
	t.spent = max(0, t.spent-float32((now-t.at).Seconds())*r.perSecond)
	t.at = now
}
