// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/identity"
)

// strangeConn has an address that is none of UDP.
type strangeConn struct{ net.PacketConn }

func (strangeConn) LocalAddr() net.Addr { return &net.UnixAddr{Name: "x"} }
func (strangeConn) Close() error        { return nil }

// Each field that can be wrong is, in turn: the error names it and says what to
// write instead.
func TestConfigErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := t.TempDir()
	if _, err := identity.Open(locked, time.Now(), "", func() ([]byte, error) { return []byte("right"), nil }); err != nil {
		t.Fatal(err)
	}
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	network, err := identity.NewNetwork("acme")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field string
		set   func(*Config)
		fix   string
	}{
		{"Dir", func(c *Config) { c.Dir = file }, "may write to"},
		{"Dir", func(c *Config) { c.Dir = filepath.Join(file, "below") }, "may write to"},
		{"Name", func(c *Config) { c.Name = strings.Repeat("x", 65) }, "at most 64"},
		{"Name", func(c *Config) { c.Name = "An\x00n" }, "printable"},
		{"Name", func(c *Config) { c.Name = "An\xffn" }, "printable"},
		{"Passphrase", func(c *Config) {
			c.Dir, c.Passphrase = locked, func() ([]byte, error) { return []byte("wrong"), nil }
		}, "that it was made with"},
		{"Passphrase", func(c *Config) { c.Dir = locked }, "that it was made with"},
		{"Network", func(c *Config) { c.Network = Network{Name: "acme"} }, "identity.NewNetwork"},
		{"Admin", func(c *Config) { c.Admin = identity.NewAdminKey().Admin() }, "network of your own"},
		{"Join[1]", func(c *Config) { c.Join = []string{"192.0.2.1:4000", "nonsense"} }, "192.0.2.1:4000"},
		{"Join[0]", func(c *Config) { c.Join = []string{""} }, "give a ticket"},
		{"Join[0]", func(c *Config) { c.Join = []string{":4000"} }, "give a ticket"},
		{"Join[0]", func(c *Config) { c.Join = []string{"p2pos:abc"} }, "whole text"},
		{"Listen", func(c *Config) { c.Listen = "nonsense" }, "such as :4000"},
		{"Listen", func(c *Config) { c.Listen = "127.0.0.1:70000" }, "such as :4000"},
		{"Listen", func(c *Config) { c.Listen = taken.LocalAddr().String() }, "free port"},
		{"Listen", func(c *Config) { c.Listen = "192.0.2.1:4000" }, "of this computer"},
		{"ListenTCP", func(c *Config) { c.ListenTCP = "443" }, "such as :4000"},
		{"PacketConn", func(c *Config) { c.PacketConn = strangeConn{} }, "*net.UDPAddr"},
		{"Relay", func(c *Config) { c.Relay = RelayLimits{Rate: 100_000, CallRate: 200_000} }, "CallRate at most Rate"},
		{"MaxLinks", func(c *Config) { c.MaxLinks = 3 }, "16 to 1000"},
		{"MaxLinks", func(c *Config) { c.MaxLinks = -1 }, "16 to 1000"},
		{"Ports", func(c *Config) { c.Ports = [2]uint16{5000, 4000} }, "at least 8"},
		{"Ports", func(c *Config) { c.Ports = [2]uint16{4000, 4001} }, "at least 8"},
		{"Ports", func(c *Config) { c.Ports = [2]uint16{0, 100} }, "at least 8"},
		{"Interfaces", func(c *Config) { c.Listen, c.Interfaces = "", []string{"no-such-0"} }, "choose among"},
		{"Interfaces", func(c *Config) { c.Interfaces = []string{"lo"} }, "set one of them"},
		{"DSCP", func(c *Config) { c.DSCP = 64 }, "0 to 63"},
		{"DSCP", func(c *Config) { c.DSCP = -1 }, "0 to 63"},
		{"PortShare", func(c *Config) { c.PortShare = 0.6 }, "0 to 0.5"},
		{"PortShare", func(c *Config) { c.PortShare = math.NaN() }, "0 to 0.5"},
		{"STUN[0]", func(c *Config) { c.STUN = []string{"stun.example.org"} }, "stun.example.org:3478"},
		{"TURN[0]", func(c *Config) { c.TURN = []TURNServer{{URL: "nonsense"}} }, "turn:relay.example.org"},
		{"TURN", func(c *Config) { c.TURN = make([]TURNServer, 9) }, "at most 2"},
		{"ServeTURN", func(c *Config) { c.ServeTURN = &TURNService{} }, "public IPv4"},
		{"MaxCalls", func(c *Config) { c.MaxCalls = 9 }, "1 to 8"},
		{"MaxCalls", func(c *Config) { c.MaxCalls = -1 }, "1 to 8"},
		{"StoreSize", func(c *Config) { c.StoreSize = 1000 }, "1048576"},
		{"StoreSize", func(c *Config) { c.StoreSize = -1 }, "1048576"},
	} {
		cfg := Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", NoLAN: true, NoPortMap: true, Network: network}
		c.set(&cfg)
		if c.field == "Admin" {
			cfg.Network = Network{}
		}
		n, err := New(cfg)
		if err == nil {
			n.Close()
		}
		var e *ConfigError
		if !errors.As(err, &e) || e.Field != c.field || !strings.Contains(e.Fix, c.fix) || !strings.HasPrefix(err.Error(), "p2pos: Config."+c.field+": ") {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

// Every field of Config stands in the table above, or can't be wrong.
func TestConfigErrorsComplete(t *testing.T) {
	cannot := []string{
		"NoLAN", "NoPortMap", "Knocks", "KnockRings", "Policy", "MayRelay", "Audit", "Logger", // no value of theirs is wrong
		"HoldSize", // negative means none
	}
	src, err := os.ReadFile("config_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		name := reflect.TypeFor[Config]().Field(i).Name
		in := strings.Contains(string(src), `{"`+name+`"`) || strings.Contains(string(src), `{"`+name+`[`)
		if not := slices.Contains(cannot, name); in == not {
			t.Errorf("%s: in the table %v, can't be wrong %v", name, in, not)
		}
	}
}

// The node's sockets stay in the range that it was given, those of a search too.
func TestPorts(t *testing.T) {
	c := Config{Ports: [2]uint16{42000, 42040}}
	conns, err := c.sockets(42007)
	if err != nil {
		t.Fatal(err)
	}
	open := c.opener(conns)
	for range 5 {
		conn, err := open(true, 0)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		defer conn.Close()
		if p := conn.LocalAddr().(*net.UDPAddr).Port; p < 42000 || p > 42040 {
			t.Errorf("port %d", p)
		}
	}
	if _, err := open(true, 50000); !errors.Is(err, errOutside) {
		t.Errorf("%v", err)
	}
}

// A node on one interface has its sockets there and nowhere else.
func TestInterfaces(t *testing.T) {
	list, err := net.Interfaces()
	if err != nil {
		t.Skip(err)
	}
	lo := slices.IndexFunc(list, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 })
	if lo < 0 {
		t.Skip("no loopback interface")
	}
	name := list[lo].Name
	n, err := New(Config{Dir: t.TempDir(), Interfaces: []string{name}, Ports: [2]uint16{42100, 42140}, NoPortMap: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, a := range n.Status().Listen {
		if !a.Addr().IsLoopback() || a.Port() < 42100 || a.Port() > 42140 {
			t.Errorf("listens at %v", a)
		}
	}
	for _, c := range []struct {
		list []string
		name string
		want bool
	}{
		{[]string{"eth0"}, "eth0", true}, {[]string{"eth0"}, "tun0", false},
		{[]string{"-tun0"}, "eth0", true}, {[]string{"-tun0"}, "tun0", false},
		{[]string{"eth0", "-tun0"}, "wlan0", false}, {nil, "eth0", true},
	} {
		if got := (&Config{Interfaces: c.list}).mayUse(c.name); got != c.want {
			t.Errorf("%v, %s: %v", c.list, c.name, got)
		}
	}
}
