// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos_test

import (
	"os"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/p2pos/p2pos/internal/tools/house"
)

// layers is the architecture: what each package may import. Dependencies
// point one way, identity ← nat ← overlay ← session → media, and the top
// composes them. Changing a row is a design decision and a commit of its own.
// Test files are free, except that only external tests import the top.
var layers = house.Layers{
	Module: "github.com/p2pos/p2pos",
	Internal: map[string][]string{
		"internal/wire":   {},
		"internal/sock":   {"internal/wire"},
		"internal/drive":  {},
		"internal/simnet": {"internal/wire"},
		"internal/natlab": {"internal/wire", "internal/simnet"}, // one NAT model for both laboratories
		"internal/store":  {},
		"internal/order":  {}, // sorting in few bytes, for whoever sorts
		"metric":          {},

		"identity":          {"internal/order", "internal/wire"},
		"media":             {"internal/wire"},
		"media/ogg":         {"media", "internal/wire"},
		"media/opus":        {"media"},
		"media/libopus":     {"media"},
		"media/voice":       {"media"},
		"media/wav":         {},
		"media/webrtc":      {"media", "internal/sock"}, // the STUN filter before pion
		"nat":               {"identity", "internal/order", "internal/wire", "internal/sock"},
		"nat/portmap":       {"internal/wire"},
		"overlay/mesh":      {"identity", "internal/wire"},
		"overlay/directory": {"identity", "internal/order", "internal/wire"},
		"overlay/mailbox":   {"identity", "overlay/directory", "internal/order", "internal/wire"}, // who holds a key is the directory's rule
		"overlay/relay":     {"identity", "internal/order", "internal/wire", "internal/sock"},     // the STUN filter before TURN
		"overlay/lan":       {"internal/drive", "internal/order"},
		"internal/carrier":  {"internal/wire"},
		"overlay":           {"identity", "nat", "overlay/mesh", "overlay/directory", "overlay/mailbox", "overlay/relay", "internal/order", "internal/wire", "internal/sock", "internal/carrier", "internal/drive"},
		"session/files":     {"identity", "internal/order", "internal/wire"},
		"session/ratchet":   {"identity", "internal/wire"},
		"session/book":      {"identity", "internal/order", "internal/wire"},
		"session/chat":      {"identity", "session/ratchet", "internal/order", "internal/wire"},
		"session":           {"identity", "nat", "overlay", "media", "session/chat", "session/ratchet", "internal/order", "internal/wire", "internal/drive"},

		"session/chat/storetest": {"session/chat"},

		// An embedder pays for what it uses: never media/webrtc or media/libopus.
		".": {
			"identity", "nat", "nat/portmap", "overlay", "overlay/lan", "overlay/relay", "session", "session/book", "session/chat", "session/files", "media", "media/ogg", "media/opus", "metric",
			"internal/order", "internal/wire", "internal/sock", "internal/drive", "internal/store",
		},

		"examples/*":        {".", "identity", "media", "media/ogg", "media/opus", "nat"},
		"examples/webphone": {".", "identity", "media/webrtc"},
		"examples/demo":     {".", "identity", "media", "media/ogg", "media/opus", "nat", "internal/simnet"},
		"internal/tools":    {}, "internal/tools/*": {},
		"internal/tools/meshsim": {"identity", "overlay/mesh", "overlay/directory", "internal/wire"},
		"internal/tools/voicebench": {
			"media", "media/libopus", "media/ogg", "media/voice", "session", "internal/simnet", "internal/tools/estoi",
		},
		"scripts/*": {},
	},
	// Each foreign module has one room, so that it can be replaced there.
	External: map[string][]string{
		"filippo.io/edwards25519":       {"identity"},
		"github.com/hraban/opus":        {"media/libopus"},
		"github.com/huin/goupnp":        {"nat/portmap"},
		"github.com/jackpal/go-nat-pmp": {"nat/portmap"},
		"github.com/pion/ice/v2":        {"media/webrtc"}, // types in pion/webrtc's configuration
		"github.com/pion/interceptor":   {"media/webrtc", "internal/tools/voicebench"},
		"github.com/pion/logging":       {"overlay/relay", "media/webrtc"}, // to keep pion/turn and pion/webrtc silent
		"github.com/pion/opus":          {"media/opus"},
		"github.com/pion/rtcp":          {"media", "session", "media/webrtc"},
		"github.com/pion/rtp":           {"media", "session", "media/webrtc", "internal/tools/voicebench"},
		"github.com/pion/srtp/v2":       {"session"},
		"github.com/pion/stun":          {"nat", "internal/sock"},
		"github.com/pion/transport/v2":  {"overlay/relay"}, // a type in pion/turn's configuration
		"github.com/pion/turn/v2":       {"overlay/relay"},
		"github.com/pion/webrtc/v3":     {"media/webrtc"},
		"github.com/quic-go/quic-go":    {"overlay"},
		"go.etcd.io/bbolt":              {"internal/store"},
		"rsc.io/qr":                     {"examples/softphone"},
		"golang.org/x/crypto":           {"identity", "session", "session/ratchet", "internal/store"},
		"golang.org/x/net":              {"nat", "nat/portmap", "overlay/lan", "internal/sock", "internal/natlab"},
		"golang.org/x/sys":              {"nat", "nat/portmap", "internal/sock", "internal/natlab"},
	},
}

// purity lists the files that may touch the world, with the reason; a pattern
// as in path.Match will do. Everything else holds rules: see house.Purity.
var purity = house.Purity{
	Drivers: map[string]string{
		"*.go":                      "the top composes drivers; it holds no protocol rule",
		"internal/drive/drive.go":   "the one loop: its goroutine, its timer",
		"internal/natlab/*.go":      "real namespaces",
		"internal/simnet/conn.go":   "deadlines of simulated connections",
		"internal/simnet/net.go":    "moves simulated packets in real time",
		"internal/sock/deadline.go": "read deadlines of the path socket",
		"internal/sock/local.go":    "a local socket and its reader goroutine",
		"internal/sock/socket.go":   "starts readers, default clock",
		"internal/store/*.go":       "the database on disk: its file, its lock, logs",
		"media/out.go":              "asks how long the app was silent",
		"media/sound.go":            "reads the clock when a sound card asks",
		"media/track.go":            "paces the application's reads",
		"media/video_in.go":         "spaces the reader's wishes",
		"media/video_out.go":        "the clock between one source and the next",
		"media/ogg/play.go":         "plays a file in real time",
		"media/ogg/tape.go":         "records beside a call: its lock and clock",
		"media/webrtc/bridge.go":    "moves packets in real time",
		"media/webrtc/door.go":      "an HTTP handler; draws its token",
		"media/webrtc/edge.go":      "socket, goroutines and timer of a PeerConnection; logs",
		"media/webrtc/pion.go":      "opens pion's PeerConnection",
		"media/voice/copy.go":       "moves sound in real time",
		"nat/interfaces.go":         "asks the system for its addresses",
		"nat/watch*.go":             "listens to the system's news of its network",
		"nat/portmap/client.go":     "opens and closes the client's goroutine; logger",
		"nat/portmap/config.go":     "carries the logger",
		"nat/portmap/exchange.go":   "one question and answer with a router over UDP",
		"nat/portmap/fence.go":      "an HTTP client that talks to the router alone",
		"nat/portmap/gateway*.go":   "asks the system for its router",
		"nat/portmap/loop.go":       "runs the race; timers",
		"nat/portmap/pmp.go":        "wraps go-nat-pmp",
		"nat/portmap/search.go":     "SSDP search",
		"nat/portmap/session.go":    "sockets of one run",
		"nat/portmap/upnp.go":       "wraps goupnp",
		"overlay/admit.go":          "asks the application on a goroutine of its own",
		"overlay/appoint.go":        "dials who keeps an appointment",
		"overlay/connect.go":        "waits for a link, with a time limit",
		"overlay/dial.go":           "dials and accepts in the background; links drain for a while",
		"overlay/knock.go":          "works and waits for holders, with a time limit",
		"overlay/lan/config.go":     "carries the logger; draws the instance's name",
		"overlay/lan/interfaces.go": "asks the system for its interfaces",
		"overlay/lan/service.go":    "goroutines, loop and clock; logs",
		"overlay/lan/socket.go":     "sockets in mDNS's groups",
		"overlay/link.go":           "goroutines and deadlines of a QUIC connection",
		"overlay/roster_link.go":    "handshakes with a roster, the clock it is held against; logs",
		"overlay/overlay.go":        "opens socket, transport and loop; logs",
		"overlay/peer.go":           "a peer as the application sees it; the age of its link",
		"overlay/queue.go":          "counts the goroutines of the package",
		"overlay/reach.go":          "dials and asks in the background, with time limits",
		"overlay/relay/endpoint.go": "read deadlines and times of use of a relayed connection",
		"session/call.go":           "a call's goroutines, as the application sees it",
		"session/files/desk.go":     "holds all transfers: lock, clock, goroutines; logs",
		"session/files/disk.go":     "files that are sent and received",
		"session/files/hear.go":     "reads lanes; disk work",
		"session/files/lane.go":     "writes lanes, with pauses",
		"session/files/transfer.go": "a transfer as the application sees it; disk work",
		"session/lanes.go":          "takes streams in the background, with a time limit",
		"session/flow.go":           "a call's packets between tracks and sockets, its reports",
		"session/video_flow.go":     "a call's picture between tracks and sockets, its feedback",
		"overlay/tcp.go":            "dials and accepts TCP in the background",
		"session/kin_hub.go":        "searches for own devices in the background, with a time limit",
		"overlay/turn.go":           "holds addresses at TURN servers in the background",
		"session/courier.go":        "runs the machine of text on a loop of its own; logs",
		"session/courier_mail.go":   "asks mailboxes in the background, with time limits",
		"session/legs.go":           "searches for further devices in the background, with a time limit",
		"session/summon.go":         "links with a person's devices in the background, with a time limit",
		"session/met.go":            "lets go of nodes after a while",
		"session/follow.go":         "transfers calls: waits for the other side, asks the application on a goroutine of its own",
		"session/search.go":         "searches for a person's devices in the background, with time limits",
		"session/hub.go":            "runs the call machine on the loop; logs",
		"session/screen.go":         "asks the application on a goroutine of its own",
		"session/remote.go":         "proves identities over links, with time limits",

		"session/conference.go":      "a room as the application sees it: its lock, its track",
		"session/conference_legs.go": "searches for members in the background, with time limits",

		"internal/carrier/conn.go":   "a TCP connection: deadlines, the time a datagram came",
		"internal/carrier/dial.go":   "dials, with a time limit; asks the environment for the proxy",
		"internal/carrier/listen.go": "accepts and greets in the background",
		"internal/carrier/proxy.go":  "asks an HTTP proxy",
		"internal/carrier/write.go":  "the writer's goroutine, its timer",

		"overlay/relay/turn_conn.go":   "an address at a TURN server: keepalives, deadlines",
		"overlay/relay/turn_peer.go":   "asks a TURN server for permissions in the background",
		"overlay/relay/turn_server.go": "the TURN server; clock of its credentials",
		"overlay/relay/turn_socket.go": "sockets of the TURN server",
		"overlay/relay/turn_wire.go":   "the connection to a TURN server",
	},
	Files: map[string]string{
		"identity/store*.go": "the key store on disk",
	},
	Exempt: []string{"examples", "scripts", "internal/tools"},
}

// source loads the project's own files once for all tests of this package.
var source = sync.OnceValues(func() (*house.Tree, error) { return house.Load(os.DirFS(".")) })

func own(t *testing.T) *house.Tree {
	t.Helper()
	tree, err := source()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func report(t *testing.T, list []house.Finding) {
	t.Helper()
	for _, f := range list {
		t.Error(f)
	}
}

func TestLayers(t *testing.T) { report(t, own(t).Layers(layers)) }

func TestPurity(t *testing.T) {
	broken, idle := own(t).Pure(purity)
	report(t, broken)
	for _, pattern := range idle {
		t.Logf("the driver list's %s excuses nothing today", pattern)
	}
}

// plant checks a tree of one file: a rule that finds nothing there guards
// nothing.
func plant(t *testing.T, p, src string, check func(*house.Tree) []house.Finding) {
	t.Helper()
	tree, err := house.Load(fstest.MapFS{p: {Data: []byte("// SPDX-License-Identifier: " + licenceOf(p) + "\n\n" + src)}})
	if err != nil {
		t.Fatal(err)
	}
	found := check(tree)
	if len(found) == 0 {
		t.Errorf("nothing found in a planted %s:\n%s", p, src)
	}
	for _, f := range found {
		t.Log("found, as it should be: ", f)
	}
}

func TestLayersFindsPlanted(t *testing.T) {
	for _, c := range []struct{ path, pkg, imports string }{
		{"nat/planted.go", "nat", "github.com/p2pos/p2pos/session"},
		{"media/planted.go", "media", "github.com/p2pos/p2pos/session"},
		{"identity/planted.go", "identity", "github.com/p2pos/p2pos"},
		{"session/planted_test.go", "session", "github.com/p2pos/p2pos"},
		{"session/planted_windows.go", "session", "github.com/quic-go/quic-go"},
		{"overlay/relay/planted.go", "relay", "github.com/quic-go/quic-go"},
		{"overlay/planted.go", "overlay", "golang.org/x/crypto/hkdf"},
		{"nat/planted.go", "nat", "github.com/pion/stun/v3"},
		{"planted.go", "p2pos", "github.com/p2pos/p2pos/media/libopus"},
		{"planted.go", "p2pos", "github.com/p2pos/p2pos/internal/simnet"},
		{"examples/planted/main.go", "main", "github.com/p2pos/p2pos/internal/sock"},
		{"util/planted.go", "util", "fmt"},
	} {
		src := "package " + c.pkg + "\n\nimport _ \"" + c.imports + "\"\n"
		plant(t, c.path, src, func(tree *house.Tree) []house.Finding { return tree.Layers(layers) })
	}
}

func TestPurityFindsPlanted(t *testing.T) {
	for _, c := range []struct{ path, imports, body string }{
		{"nat/planted.go", "sync", "go new(sync.Mutex).Lock()"},
		{"overlay/planted.go", "time", "time.Now()"},
		{"session/planted.go", "net", "net.ListenPacket(``, ``)"},
		{"media/planted.go", "math/rand/v2", "rand.IntN(5)"},
		{"identity/planted.go", "os", "os.ReadFile(``)"},
		{"identity/store.go", "time", "time.Now()"},
		{"internal/sock/filter.go", "time", "time.Now()"},
		{"session/machine.go", "context", "context.WithTimeout(nil, 1)"},
		{"internal/wire/planted.go", "log/slog", "slog.Info(``)"},
	} {
		src := "package planted\n\nimport \"" + c.imports + "\"\n\nfunc f() { " + c.body + " }\n"
		plant(t, c.path, src, func(tree *house.Tree) []house.Finding { broken, _ := tree.Pure(purity); return broken })
	}
}
