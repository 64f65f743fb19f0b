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
	benchFlows  = 500 // calls
	benchWindow = 32  // packets under way
	benchRound  = 20_000
)

// TestForwarderProcess is one of those processes. It reads the addresses of
// the two ends from its input, says where it listens, and runs until its input
// ends.
func TestForwarderProcess(t *testing.T) {
	mode := os.Getenv(modeVar)
	if mode == "" {
		t.Skip("a process of BenchmarkForwarders")
	}
	in := bufio.NewReader(os.Stdin)
	var ends [2]netip.AddrPort
	for i := range ends {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = netip.MustParseAddrPort(strings.TrimSpace(line))
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr := c.LocalAddr()
	switch mode {
	case "bare":
		go bareForwarder(c, map[netip.AddrPort]netip.AddrPort{ends[0]: ends[1], ends[1]: ends[0]})
	case "label":
		go labelForwarder(c, ends)
	case "node":
		nodeForwarder(c, ends)
	}
	fmt.Printf("\n%v\n", addr)
	_, _ = io.Copy(io.Discard, in)
	os.Exit(0)
}

// bareForwarder is what any relay must do at least: read, look up, write.
func bareForwarder(c *net.UDPConn, to map[netip.AddrPort]netip.AddrPort) {
	b := make([]byte, 1500)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		if to, ok := to[from]; ok {
			_, _ = c.WriteToUDPAddrPort(b[:n], to)
		}
	}
}

// labelForwarder is the same with a Forwarder in it.
func labelForwarder(c *net.UDPConn, ends [2]netip.AddrPort) {
	f := relay.NewForwarder[*netip.AddrPort](1 << 40)
	peers := map[netip.AddrPort]*netip.AddrPort{ends[0]: &ends[0], ends[1]: &ends[1]}
	for i := range benchFlows {
		a, b := relay.End[*netip.AddrPort]{Peer: &ends[0], Label: relay.Label(i)}, relay.End[*netip.AddrPort]{Peer: &ends[1], Label: relay.Label(i)}
		if err := f.Open(a, b, plenty); err != nil {
			panic(err)
		}
	}
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
func nodeForwarder(c *net.UDPConn, ends [2]netip.AddrPort) {
	f := relay.NewForwarder[*sock.Peer](1 << 40)
	peers := make(map[sock.Path]*sock.Peer)
	start, ready := time.Now(), make(chan struct{})
	s := sock.Open(sock.Config{Conns: []net.PacketConn{c}, Relay: func(p sock.Path, b []byte) {
		<-ready
		if to, ok := f.Forward(time.Since(start), peers[p], b); ok {
			_ = to.Send(b)
		}
	}})
	for _, e := range ends {
		p := s.NewPeer()
		p.Use(sock.Path{Remote: e})
		peers[sock.Path{Remote: e}] = p
	}
	for i := range benchFlows {
		a := relay.End[*sock.Peer]{Peer: peers[sock.Path{Remote: ends[0]}], Label: relay.Label(i)}
		b := relay.End[*sock.Peer]{Peer: peers[sock.Path{Remote: ends[1]}], Label: relay.Label(i)}
		if err := f.Open(a, b, plenty); err != nil {
			panic(err)
		}
	}
	close(ready)
}

// rival is a forwarder under test between two sockets of the driver.
type rival struct {
	name     string
	a, b     *net.UDPConn
	at       netip.AddrPort // where a sends to
	pid      int
	packet   func(flow int) []byte
	cpu      time.Duration
	packets  int
	lost     int
	previous time.Duration
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

const voice = 160 // bytes of an inner datagram: 24 kbit/s with a copy of each frame

func startRival(b *testing.B, mode string) *rival {
	r := &rival{name: mode, a: listen(b), b: listen(b), packet: func(flow int) []byte {
		return relay.AppendFrame(nil, relay.Label(flow), make([]byte, voice))
	}}
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
	fmt.Fprintf(in, "%v\n%v\n", addrOf(r.a), addrOf(r.b))
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if a, err := netip.ParseAddrPort(lines.Text()); err == nil {
			r.at = a
			break
		}
	}
	r.pid = cmd.Process.Pid
	return r
}

// startCoturn returns nil when there is none here.
func startCoturn(b *testing.B) *rival {
	bin, err := exec.LookPath("turnserver")
	if err != nil {
		return nil
	}
	r := &rival{name: "coturn", a: listen(b), b: listen(b), packet: func(int) []byte {
		return append([]byte{0x40, 0, 0, voice}, make([]byte, voice)...) // RFC 8656 §12.4
	}}
	port := 20000 + rand.IntN(20000)
	r.at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	dir := b.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "-n", "-z", "-L", "127.0.0.1", "--listening-port", fmt.Sprint(port), "--relay-threads", "1",
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
	binary.BigEndian.PutUint16(peer[2:], addrOf(r.b).Port()^0x2112)
	address := append([]byte{0, 0x12, 0, 8}, peer...)
	for _, m := range []struct {
		typ   byte
		attrs []byte
	}{{3, []byte{0, 0x19, 0, 4, 17, 0, 0, 0}}, {8, address}, {9, append([]byte{0, 0x0c, 0, 4, 0x40, 0, 0, 0}, address...)}} {
		if !turnAsk(r, m.typ, m.attrs) {
			b.Logf("coturn refuses request %d", m.typ)
			return nil
		}
	}
	return r
}

// turnAsk sends one request until it is answered, and reports a success.
func turnAsk(r *rival, typ byte, attrs []byte) bool {
	m := append([]byte{0, typ, 0, byte(len(attrs)), 0x21, 0x12, 0xa4, 0x42}, "transaction"...)
	m = append(append(m, typ), attrs...)
	buf := make([]byte, 1500)
	for range 50 {
		_, _ = r.a.WriteToUDPAddrPort(m, r.at)
		_ = r.a.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := r.a.Read(buf); err == nil && n > 20 && buf[19] == typ {
			_ = r.a.SetReadDeadline(time.Time{})
			return buf[0] == 1 && buf[1] == typ
		}
	}
	return false
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

// round drives packets of so many flows through, benchWindow at a time.
func (r *rival) round(b *testing.B, flows int) {
	packets := make([][]byte, flows)
	for i := range packets {
		packets[i] = r.packet(i)
	}
	buf := make([]byte, 1500)
	start := cpuOf(b, r.pid)
	for sent := 0; sent < benchRound; {
		for range benchWindow {
			if _, err := r.a.WriteToUDPAddrPort(packets[sent%flows], r.at); err != nil {
				b.Fatal(err)
			}
			sent++
		}
		_ = r.b.SetReadDeadline(time.Now().Add(time.Second))
		for range benchWindow {
			if _, err := r.b.Read(buf); err != nil {
				r.lost++ // and the window is over
				break
			}
			r.packets++
		}
	}
	r.cpu += cpuOf(b, r.pid) - start
}

func (r *rival) each() float64 {
	return float64(r.cpu.Nanoseconds()) / 1e3 / float64(max(r.packets, 1))
}

// BenchmarkForwarders prints what a voice packet costs a relay in processor
// time: a bare forwarder over loopback, the same with labels, rates and counts,
// a node's whole socket, and coturn, turn by turn in one run. Linux only.
func BenchmarkForwarders(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("processor time of another process is read from /proc")
	}
	if cpuOf(b, os.Getpid()) == 0 {
		b.Skip("this kernel keeps no schedstat")
	}
	bare, label, node := startRival(b, "bare"), startRival(b, "label"), startRival(b, "node")
	rivals := []*rival{bare, label, node}
	turn := startCoturn(b)
	if turn != nil {
		rivals = append(rivals, turn)
	}
	for _, r := range rivals { // caches, tables, first sight of an address
		r.round(b, 1)
		r.cpu, r.packets = 0, 0
	}
	for b.Loop() {
		for _, r := range rivals {
			r.round(b, 1)
		}
	}
	for _, r := range rivals {
		if r.lost > 0 {
			b.Logf("%s lost packets %d times", r.name, r.lost)
		}
		b.ReportMetric(r.each(), r.name+"-µs/packet")
	}
	b.ReportMetric(label.each()/bare.each(), "label/bare")
	b.ReportMetric(node.each()/bare.each(), "node/bare")
	if turn != nil {
		b.ReportMetric(turn.each()/node.each(), "coturn/node")
	}
	for _, r := range []*rival{label, node} {
		r.cpu, r.packets = 0, 0
		for range 3 {
			r.round(b, benchFlows)
		}
		// 500 calls send 50 packets a second each way.
		b.ReportMetric(r.each()*benchFlows*50*2/1e6*100, r.name+"-%core/500calls")
	}
	b.ReportMetric(0, "ns/op")
}
