// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"testing"
	"time"
)

// The application is asked about every neighbour, also where more come at a time than
// questions may be open.
func TestAsksAboutAll(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		const many = maxRelayAsked + 4
		asked, answer := make(chan RelayAsk, 2*many), make(chan struct{})
		hub := l.node(Config{MayRelay: func(a RelayAsk) error {
			asked <- a
			<-answer
			return nil
		}})
		for range many {
			if _, err := l.node(Config{}).Dial(t.Context(), addrOf(hub)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n := len(asked); n != maxRelayAsked {
			t.Fatalf("%d questions at a time", n)
		}
		close(answer)
		time.Sleep(time.Second)
		hub.loop.Do(t.Context(), func(time.Time) {
			yes := 0
			for _, p := range hub.core.order {
				if p.state.relay && p.state.admitted == admitYes {
					yes++
				}
			}
			if n := len(asked); n != many || yes != many || hub.core.relays.asked != 0 {
				t.Errorf("%d questions, %d neighbours admitted, %d open", n, yes, hub.core.relays.asked)
			}
		})
	})
}
