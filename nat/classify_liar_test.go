// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package nat

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/simnet"
)

// lies are what a peer may answer instead of the truth; the zero address means
// not at all.
var lies = map[string]func(h *helper, truth netip.AddrPort) netip.AddrPort{
	"any address": func(h *helper, _ netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{45, byte(h.rng.Uint32()), 3, 9}), uint16(1024+h.rng.IntN(60000)))
	},
	"any port": func(h *helper, truth netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(truth.Addr(), uint16(1024+h.rng.IntN(60000)))
	},
	"agreed address": func(*helper, netip.AddrPort) netip.AddrPort {
		return netip.MustParseAddrPort("45.6.7.8:9999")
	},
	"agreed port": func(_ *helper, truth netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(truth.Addr(), 7777)
	},
	"next port": func(h *helper, truth netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(truth.Addr(), truth.Port()^1)
	},
	"silence":      nil,
	"no favours":   nil,
	"wrong favour": nil,
}

// liar makes a helper lie.
func liar(h *helper, name string) {
	h.lie = func(h *helper, d *Datagram) bool {
		m, x, ok := parseTest(d.B)
		switch {
		case !ok:
			return true
		case name == "silence":
			return false
		case name == "no favours": // neither from its second port nor through others
			return !m.request && d.Path.Local == 0
		case name == "wrong favour": // answers itself instead of asking another
			if m.request {
				in, _ := parse(x.forward)
				d.Path.Remote = in.mapped
				d.B = append([]byte(nil), x.forward...)
			}
			return true
		case m.request:
			return true
		}
		d.B = appendAnswer(nil, m.tx, lies[name](h, m.mapped), x.able, h.mac)
		return true
	}
}

// A minority of liars does not move the verdict: it is the truth, or at least
// not believed.
func TestClassifyLiars(t *testing.T) {
	seeds := uint64(6)
	switch {
	case os.Getenv("P2POS_LONG") != "":
		seeds = 100
	case testing.Short() || raceOn:
		seeds = 2
	}
	for name := range lies {
		for _, n := range []struct{ peers, liars int }{{3, 1}, {5, 1}, {5, 2}} {
			bad, runs := 0, 0
			for m := simnet.EndpointIndependent; m <= simnet.AddressAndPortDependent; m++ {
				for f := simnet.EndpointIndependent; f <= simnet.AddressAndPortDependent; f++ {
					for _, p := range ports {
						for seed := range seeds {
							rng := rand.New(rand.NewPCG(seed, uint64(m)<<8|uint64(f)<<4|uint64(p)))
							c, w := drawBox(rng, m, f, p)
							c.Pool, c.Arbitrary, w.Arbitrary = pool[:1], false, No
							l := newLab(t, labConfig{seed: rng.Uint64(), box: &c, peers: n.peers, seconds: n.peers,
								link: simnet.Profile{Delay: 20 * ms}, options: ClassifierOptions{NoLifetimes: true}})
							for i := range n.liars {
								liar(l.helpers[(i*2+int(seed))%n.peers], name)
							}
							l.run(3 * time.Second)
							b := l.s.c.Behaviour()
							runs++
							if why := w.wrong(b); why != "" {
								bad++
								if b.Confidence >= 0.9 && !strings.HasSuffix(why, "unknown") {
									t.Errorf("%s, %d of %d: %v/%v/%v seed %d: wrong with confidence %.2f: %s %q", name, n.liars, n.peers, m, f, p, seed, b.Confidence, why, l.s.c.Evidence())
								}
								if testing.Verbose() && bad < 12 {
									t.Logf("%s, %d of %d: %v/%v/%v seed %d: %.2f: %s %q", name, n.liars, n.peers, m, f, p, seed, b.Confidence, why, l.s.c.Evidence())
								}
							}
							if l.s.c.Probes() > maxProbes {
								t.Errorf("%d probes", l.s.c.Probes())
							}
						}
					}
				}
			}
			t.Logf("%-15s %d of %d: %d of %d not found", name, n.liars, n.peers, bad, runs)
		}
	}
}
