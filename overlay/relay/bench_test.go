// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/internal/sock"
	"github.com/p2pos/p2pos/overlay/relay"
)

// The forwarders that are compared run each in a process of its own, so that
// the processor time they use can be told from the driver's: this test binary
// again, with modeVar set, or coturn.
const modeVar = "P2POS_TEST_FORWARDER"

// plenty are rates that never refuse.
var plenty = relay.Rates{Promised: 1 << 40, Peak: 1 << 40}

const (
	benchCalls  = 500
	benchWindow = 32     // packets under way, half each way
	benchRound  = 20_000 // packets
	voice       = 160    // bytes of an inner datagram: 24 kbit/s with a copy of each frame
)

// TestForwarderProcess is one of those processes. It reads the callers'
// addresses and, as the last, the callees' from its input, says where it
// listens, and runs until its input ends. Call i has label i on either side.
func TestForwarderProcess(t *testing.T) {
	mode := os.Getenv(modeVar)
	if mode == "" {
		t.Skip("a process of BenchmarkForwarders")
	}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var ends []netip.AddrPort
	for _, a := range strings.Fields(line) {
		ends = append(ends, netip.MustParseAddrPort(a))
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := c.LocalAddr()
	switch mode {
	case "bare":
		go bareForwarder(c, ends)
	case "label":
		go labelForwarder(c, ends)
	case "node":
		nodeForwarder(c, ends)
	}
	fmt.Printf("\n%v\n", addr)
	_, _ = io.Copy(io.Discard, in)
	os.Exit(0)
}

// bareForwarder is what any relay must do at least: read, look up, write. Since
// all callees are one here, it finds the caller of what they send in the packet.
func bareForwarder(c *net.UDPConn, ends []netip.AddrPort) {
	last := len(ends) - 1
	to := make(map[netip.AddrPort]netip.AddrPort)
	for _, e := range ends[:last] {
		to[e] = ends[last]
	}
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if to, ok := to[from]; ok {
			_, _ = c.WriteToUDPAddrPort(b[:n], to)
		} else if i := binary.BigEndian.Uint32(b[1:]); from == ends[last] && int(i) < last {
			_, _ = c.WriteToUDPAddrPort(b[:n], ends[i])
		}
	}
}

// calls opens all calls between the callers and the last of the ends.
func calls[P comparable](f *relay.Forwarder[P], ends []P) {
	last := len(ends) - 1
	for i, e := range ends[:last] {
		a, b := relay.End[P]{Peer: e, Label: relay.Label(i)}, relay.End[P]{Peer: ends[last], Label: relay.Label(i)}
		if err := f.Open(a, b, plenty); err != nil {
			panic(err)
		}
	}
}

// labelForwarder is the same with a Forwarder in it.
func labelForwarder(c *net.UDPConn, ends []netip.AddrPort) {
	f := relay.NewForwarder[*netip.AddrPort](1 << 40)
	peers := make(map[netip.AddrPort]*netip.AddrPort)
	var list []*netip.AddrPort
	for i := range ends {
		peers[ends[i]] = &ends[i]
		list = append(list, &ends[i])
	}
	calls(f, list)
	start := time.Now()
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if to, ok := f.Forward(time.Since(start), peers[from], b[:n]); ok {
			_, _ = c.WriteToUDPAddrPort(b[:n], *to)
		}
	}
}

// nodeForwarder is the whole of it: the node's socket, its peers and paths.
func nodeForwarder(c *net.UDPConn, ends []netip.AddrPort) {
	f := relay.NewForwarder[*sock.Peer](1 << 40)
	peers := make(map[sock.Path]*sock.Peer)
	start, ready := time.Now(), make(chan struct{})
	s := sock.Open(sock.Config{Conns: []net.PacketConn{c}, Relay: func(p sock.Path, b []byte) {
		<-ready
		if to, ok := f.Forward(time.Since(start), peers[p], b); ok {
			_ = to.Send(b)
		}
	}})
	var list []*sock.Peer
	for _, e := range ends {
		p := s.NewPeer()
		p.Use(sock.Path{Remote: e})
		peers[sock.Path{Remote: e}] = p
		list = append(list, p)
	}
	calls(f, list)
	close(ready)
}

// rival is a forwarder under test. The driver has a socket for each caller, as
// they would be at different places, and one for all callees.
type rival struct {
	name    string
	pid     int
	callees *net.UDPConn
	calls   []benchCall
	next    int

	cpu     time.Duration
	packets int
	lost    int
}

// benchCall is what the two ends of a call send, and where.
type benchCall struct {
	caller      *net.UDPConn
	there, back netip.AddrPort
	out, in     []byte
}

func listen(b *testing.B) *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func startRival(b *testing.B, mode string, n int) *rival {
	r := &rival{name: mode, callees: listen(b)}
	var addrs []string
	for i := range n {
		p := relay.AppendFrame(nil, relay.Label(i), make([]byte, voice))
		r.calls = append(r.calls, benchCall{caller: listen(b), out: p, in: p})
		addrs = append(addrs, addrOf(r.calls[i].caller).String())
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestForwarderProcess$")
	cmd.Env = append(os.Environ(), modeVar+"="+mode, "GOMAXPROCS=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() }) // it was told to end
	fmt.Fprintln(in, strings.Join(addrs, " "), addrOf(r.callees))
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if a, err := netip.ParseAddrPort(lines.Text()); err == nil {
			for i := range r.calls {
				r.calls[i].there, r.calls[i].back = a, a
			}
			break
		}
	}
	r.pid = cmd.Process.Pid
	return r
}

// startCoturn returns nil when there is none here.
func startCoturn(b *testing.B, n int) *rival {
	bin, err := exec.LookPath("turnserver")
	if err != nil {
		return nil
	}
	r := &rival{name: "coturn", callees: listen(b)}
	server := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(20000+rand.IntN(10000)))
	dir := b.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-n", "-z", "-L", "127.0.0.1", "--listening-port", fmt.Sprint(server.Port()), "--relay-threads", "1",
		"--allow-loopback-peers", "--no-tcp", "--no-tls", "--no-dtls", "--no-cli", "--log-file", "stdout",
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"))
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stop(); _ = cmd.Wait() }) // killed
	r.pid = cmd.Process.Pid
	// Allocate, CreatePermission, ChannelBind (RFC 8656 §7, §9, §12), unauthenticated.
	peer := []byte{0, 1, 0, 0, 127 ^ 0x21, 0x12, 0xa4, 1 ^ 0x42}
	binary.BigEndian.PutUint16(peer[2:], addrOf(r.callees).Port()^0x2112)
	address := append([]byte{0, 0x12, 0, 8}, peer...)
	for range n {
		c := benchCall{
			caller: listen(b), there: server, in: make([]byte, voice),
			out: append([]byte{0x40, 0, 0, voice}, make([]byte, voice)...), // RFC 8656 §12.4
		}
		allocated := turnAsk(c, 3, []byte{0, 0x19, 0, 4, 17, 0, 0, 0})
		if allocated == nil || turnAsk(c, 8, address) == nil ||
			turnAsk(c, 9, append([]byte{0, 0x0c, 0, 4, 0x40, 0, 0, 0}, address...)) == nil {
			b.Log("coturn refuses")
			return nil
		}
		i := strings.Index(string(allocated), "\x00\x16\x00\x08") // XOR-RELAYED-ADDRESS
		c.back = netip.AddrPortFrom(server.Addr(), binary.BigEndian.Uint16(allocated[i+6:])^0x2112)
		r.calls = append(r.calls, c)
	}
	return r
}

// turnAsk sends one request until it is answered, and returns a success.
func turnAsk(c benchCall, typ byte, attrs []byte) []byte {
	m := append([]byte{0, typ, 0, byte(len(attrs)), 0x21, 0x12, 0xa4, 0x42}, "transaction"...)
	m = append(append(m, typ), attrs...)
	buf := make([]byte, 1500)
	for range 50 {
		_, _ = c.caller.WriteToUDPAddrPort(m, c.there)
		_ = c.caller.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := c.caller.Read(buf); err == nil && n > 20 && buf[19] == typ {
			if buf[0] != 1 || buf[1] != typ {
				return nil
			}
			return buf[:n]
		}
	}
	return nil
}

// cpuOf returns the processor time of all threads of a process.
func cpuOf(b *testing.B, pid int) (d time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // a thread has ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		d += time.Duration(ns)
	}
	return d
}

// round drives packets both ways through all calls in turn, benchWindow at a
// time.
func (r *rival) round(b *testing.B) {
	buf := make([]byte, 1500)
	read := func(c *net.UDPConn) {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(buf); err != nil {
			r.lost++
		} else {
			r.packets++
		}
	}
	start := cpuOf(b, r.pid)
	for range benchRound / benchWindow {
		window := make([]benchCall, benchWindow/2)
		for i := range window {
			c := r.calls[r.next]
			r.next = (r.next + 1) % len(r.calls)
			window[i] = c
			_, err := c.caller.WriteToUDPAddrPort(c.out, c.there)
			if err == nil {
				_, err = r.callees.WriteToUDPAddrPort(c.in, c.back)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range window {
			read(c.caller)
			read(r.callees)
		}
	}
	r.cpu += cpuOf(b, r.pid) - start
}

func (r *rival) each() float64 {
	return float64(r.cpu.Nanoseconds()) / 1e3 / float64(max(r.packets, 1))
}

// BenchmarkForwarders prints what a voice packet costs a relay in processor
// time, with one call and with 500: a bare forwarder over loopback, the same
// with labels, rates and counts, a node's whole socket, and coturn, turn by turn
// in one run. Linux only.
func BenchmarkForwarders(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("processor time of another process is read from /proc")
	}
	if cpuOf(b, os.Getpid()) == 0 {
		b.Skip("this kernel keeps no schedstat")
	}
	for _, n := range []int{1, benchCalls} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { compareForwarders(b, n) })
	}
}

func compareForwarders(b *testing.B, n int) {
	bare, label, node := startRival(b, "bare", n), startRival(b, "label", n), startRival(b, "node", n)
	rivals := []*rival{bare, label, node}
	turn := startCoturn(b, n)
	if turn != nil {
		rivals = append(rivals, turn)
	}
	for _, r := range rivals { // caches, tables, first sight of an address
		r.round(b)
		r.cpu, r.packets = 0, 0
	}
	for b.Loop() {
		for _, r := range rivals {
			r.round(b)
		}
	}
	for _, r := range rivals {
		if r.lost > 0 {
			b.Logf("%s lost %d packets", r.name, r.lost)
		}
		b.ReportMetric(r.each(), r.name+"-µs/packet")
	}
	b.ReportMetric(label.each()/bare.each(), "label/bare")
	b.ReportMetric(node.each()/bare.each(), "node/bare")
	if turn != nil {
		b.ReportMetric(turn.each()/node.each(), "coturn/node")
	}
	// A call sends 50 packets a second each way.
	b.ReportMetric(node.each()*benchCalls*50*2/1e6*100, "node-%core/500calls")
	b.ReportMetric(0, "ns/op")
}
