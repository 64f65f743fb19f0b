// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p2pos/p2pos/internal/order"
	"github.com/p2pos/p2pos/metric"
)

const (
	// scrapeAge is how long one measurement serves every scrape: Prometheus asks
	// every 10 to 60 s, so it never notices, and a storm of scrapes costs the
	// node one look a second.
	scrapeAge = time.Second
	// maxScrapes bounds the responses that are written at a time; each holds a
	// connection of the embedder's server, and a slow reader holds it long.
	maxScrapes = 32
)

// Metrics returns what the node has measured, in families that are listed in
// docs/metrics.md. None names a person, an address or another node. It asks the
// node's loop, which takes microseconds; after Close only counters are left.
func (n *Node) Metrics() []metric.Family {
	s, t := n.Status(), n.tally.copy()
	gauge := func(name, unit, help string, v float64) metric.Family {
		return metric.Family{Name: name, Kind: metric.Gauge, Unit: unit, Help: help, Points: []metric.Point{{Value: v}}}
	}
	counter := func(name, unit, help string, v uint64) metric.Family {
		return metric.Family{Name: name, Kind: metric.Counter, Unit: unit, Help: help, Points: []metric.Point{{Value: float64(v)}}}
	}
	histogram := func(name, unit, help string, b metric.Buckets) metric.Family {
		return metric.Family{Name: name, Kind: metric.Histogram, Unit: unit, Help: help, Points: []metric.Point{{Buckets: b}}}
	}
	healthy := 0.0
	if n.Health() == nil {
		healthy = 1
	}
	number, expires := 0.0, 0.0
	if r := s.Roster; r != nil {
		number, expires = float64(r.Number), float64(r.Expires.Unix())
	}
	return []metric.Family{
		{Name: "p2pos_build", Kind: metric.Info, Help: "The version of the library and of Go.", Points: []metric.Point{{
			Labels: []metric.Label{{Name: "version", Value: version()}, {Name: "go", Value: runtime.Version()}}, Value: 1,
		}}},
		gauge("p2pos_start_time_seconds", "seconds", "When the node started, in Unix time.", float64(n.started.UnixMilli())/1000),
		gauge("p2pos_healthy", "", "1 while Node.Health returns nil.", healthy),
		{Name: "p2pos_nat", Kind: metric.Info, Help: "How the NAT around the node maps, and the protocol that keeps a port open.", Points: []metric.Point{{
			Labels: []metric.Label{{Name: "mapping", Value: n.NAT().Behaviour.Mapping.String()}, {Name: "portmap", Value: cmp.Or(n.NAT().PortMap, "none")}}, Value: 1,
		}}},
		gauge("p2pos_roster_number", "", "Number of the network's roster in force here, 0 without one.", number),
		gauge("p2pos_roster_expires_seconds", "seconds", "When it expires, in Unix time.", expires),
		n.linkFamily(s),
		gauge("p2pos_links_relayed", "", "Links that another node carries.", float64(s.Relayed)),
		gauge("p2pos_siblings", "", "Links to the eight nearest nodes.", float64(s.Siblings)),
		gauge("p2pos_links_carried", "", "Links of neighbours that this node carries.", float64(s.Carrying)),
		gauge("p2pos_records_held", "", "Reach records held for others.", float64(s.Records)),
		counter("p2pos_messages_forwarded", "", "Messages of others passed on.", s.Forwarded),
		counter("p2pos_introductions", "", "Nodes introduced to each other.", s.Introduced),
		counter("p2pos_network_receive_bytes", "bytes", "UDP payload received.", s.BytesIn),
		counter("p2pos_network_transmit_bytes", "bytes", "UDP payload sent.", s.BytesOut),
		labelled("p2pos_dropped", "reason", "Datagrams, frames and messages refused.", s.Dropped),
		n.callFamily(),
		t.endings(),
		counter("p2pos_calls_missed", "", "Incoming calls that nobody answered.", t.missed),
		histogram("p2pos_call_ring_seconds", "seconds", "From the invitation to the word that it rings, outgoing calls.", t.ring),
		histogram("p2pos_call_first_media_seconds", "seconds", "From the answer to the first sound.", t.first),
		histogram("p2pos_call_duration_seconds", "seconds", "Time talked, of calls that have ended.", t.talked),
		histogram("p2pos_call_mos", "", "Estimated opinion score, 1 to 4.5, of each second of calls that have ended, the last minute of each.", t.mos),
		histogram("p2pos_call_loss_ratio", "ratio", "Packets lost on their way here, of the same seconds.", t.loss),
		histogram("p2pos_call_concealed_ratio", "ratio", "Playout time that was concealed, of the same seconds.", t.concealed),
		histogram("p2pos_call_round_trip_seconds", "seconds", "Round trip, of the same seconds.", t.rtt),
		labelled("p2pos_call_warnings", "warning", "Warnings about a call's sound that began.", t.warnings),
		labelled("p2pos_texts", "event", "Texts received, and own ones stored in the network, delivered and read.", t.texts),
		t.transfers(),
		gauge("go_goroutines", "", "Goroutines of the process.", float64(s.Goroutines)),
		gauge("go_memstats_heap_alloc_bytes", "bytes", "Heap in use by the process.", float64(s.Heap)),
	}
}

// linkFamily tells links apart by the NAT at their other ends.
func (n *Node) linkFamily(s Status) metric.Family {
	f := metric.Family{Name: "p2pos_links", Kind: metric.Gauge, Help: "Links to other nodes, by what the other end is behind."}
	known := 0
	for _, class := range natClasses {
		if class == "unknown" {
			continue
		}
		known += s.LinksByNAT[class]
		f.Points = append(f.Points, metric.Point{Labels: []metric.Label{{Name: "nat", Value: class}}, Value: float64(s.LinksByNAT[class])})
	}
	// What has not said it yet, so that the sum is the number of links.
	f.Points = append(f.Points, metric.Point{Labels: []metric.Label{{Name: "nat", Value: "unknown"}}, Value: float64(max(0, s.Links-known))})
	return f
}

// callFamily tells the calls of this moment apart by state and path.
func (n *Node) callFamily() metric.Family {
	n.mu.Lock()
	calls := make([]*Call, 0, len(n.handles))
	for _, c := range n.handles {
		calls = append(calls, c)
	}
	n.mu.Unlock()
	count := make(map[[2]string]int)
	for _, c := range calls {
		state := "ringing"
		if c.c.Talking() {
			state = "talking"
			if me, peer := c.Held(); me || peer {
				state = "held"
			}
		}
		count[[2]string{state, cmp.Or(c.Path().Kind, "none")}]++
	}
	f := metric.Family{Name: "p2pos_calls", Kind: metric.Gauge, Help: "Calls now, by state and by how the other side is reached."}
	kinds := slices.Collect(maps.Keys(count))
	order.Sort(kinds, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, k := range kinds {
		f.Points = append(f.Points, metric.Point{Labels: []metric.Label{{Name: "state", Value: k[0]}, {Name: "path", Value: k[1]}}, Value: float64(count[k])})
	}
	return f
}

// endings tells ended calls apart.
func (t *tally) endings() metric.Family {
	f := metric.Family{Name: "p2pos_calls_ended", Kind: metric.Counter, Help: "Calls that have ended, by direction, the stage they reached and why."}
	kinds := slices.Collect(maps.Keys(t.ended))
	order.Sort(kinds, func(a, b outcome) int {
		return cmp.Or(strings.Compare(a.direction, b.direction), strings.Compare(a.stage, b.stage), strings.Compare(a.reason, b.reason))
	})
	for _, e := range kinds {
		f.Points = append(f.Points, metric.Point{
			Labels: []metric.Label{{Name: "direction", Value: e.direction}, {Name: "stage", Value: e.stage}, {Name: "reason", Value: e.reason}},
			Value:  float64(t.ended[e]),
		})
	}
	return f
}

// transfers tells ended transfers of files apart.
func (t *tally) transfers() metric.Family {
	f := metric.Family{Name: "p2pos_transfers_ended", Kind: metric.Counter, Help: "Transfers of files that have ended, by direction and how."}
	for _, direction := range []string{"incoming", "outgoing"} {
		for _, state := range []TransferState{FileComplete, FileFailed} {
			f.Points = append(f.Points, metric.Point{
				Labels: []metric.Label{{Name: "direction", Value: direction}, {Name: "state", Value: string(state)}},
				Value:  float64(t.files[[2]string{direction, string(state)}]),
			})
		}
	}
	return f
}

// labelled is a counter with one label.
func labelled(name, label, help string, m map[string]uint64) metric.Family {
	f := metric.Family{Name: name, Kind: metric.Counter, Help: help}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		f.Points = append(f.Points, metric.Point{Labels: []metric.Label{{Name: label, Value: k}}, Value: float64(m[k])})
	}
	return f
}

// MetricsHandler returns an HTTP handler that answers each request with the
// families of Metrics, as OpenMetrics or as Prometheus' older text, whichever
// the client accepts. A measurement serves all requests of a second, and at most
// 32 answers are written at a time; others get 503. It asks for no password:
// show it to your monitoring alone.
func (n *Node) MetricsHandler() http.Handler {
	s := &scrape{n: n, slots: make(chan struct{}, maxScrapes)}
	return http.HandlerFunc(s.serve)
}

// scrape is one measurement for many readers.
type scrape struct {
	n     *Node
	slots chan struct{} // held while an answer is written

	mu         sync.Mutex // guards what follows, and is held while it is made
	at         time.Time
	open, text []byte
}

func (s *scrape) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many scrapes at a time", http.StatusServiceUnavailable)
		return
	}
	open, text := s.measure()
	if accept := r.Header.Get("Accept"); accept == "" || strings.Contains(accept, "application/openmetrics-text") {
		w.Header().Set("Content-Type", metric.OpenMetricsType)
		w.Write(open)
		return
	}
	w.Header().Set("Content-Type", metric.TextType)
	w.Write(text)
}

// measure returns what is not older than a second.
func (s *scrape) measure() (open, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil || time.Since(s.at) >= scrapeAge {
		list := s.n.Metrics()
		s.open, s.text, s.at = metric.OpenMetrics(list), metric.Text(list), time.Now()
	}
	return s.open, s.text
}

// version returns the library's own version, as the main module or in the one
// that imports it; "(devel)" in a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const path = "github.com/p2pos/p2pos"
	if info.Main.Path == path {
		return cmp.Or(info.Main.Version, "(devel)")
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return cmp.Or(d.Version, "(devel)")
		}
	}
	return "unknown"
}
