// SPDX-License-Identifier: 0BSD

package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/p2pos/p2pos/nat"
)

// Before any verdict the command says that nothing is known, linked or not: a
// neighbour on this computer sees nothing of a NAT.
func TestNATCommand(t *testing.T) {
	t.Parallel()
	b := start(t)
	a := start(t, "-join", b.ticket())
	a.wait("joined")
	b.wait("joined")
	for _, r := range []*rig{a, b, start(t)} {
		r.say("nat")
		e := r.wait("nat")
		for field, want := range map[string]any{
			"mapping": "unknown", "filtering": "unknown", "ports": "unknown", "block": nil, "public": []any{}, "cgn": false,
			"hairpin": nil, "lifetime_s": nil, "ipv6": "unknown", "portmap": "none", "confidence": 0.0,
		} {
			if got, ok := e[field]; !ok || !reflect.DeepEqual(got, want) {
				t.Errorf("%s is %v, want %v", field, got, want)
			}
		}
	}
}

// arg returns a zero argument of f: a value of the library's without its name,
// since tests inside a package don't import the library's top.
func arg[T, R any](func(T) R) (zero T) { return zero }

// told returns what a phone writes when its node tells of a NAT.
func told(t *testing.T, json bool, b nat.Behaviour, why ...string) string {
	t.Helper()
	n := arg(natOf)
	n.Behaviour, n.Evidence = b, why
	var out bytes.Buffer
	p := &phone{out: newPrinter(&out, json, time.Now())}
	p.handle(t.Context(), n)
	p.out.close(patience)
	return out.String()
}

// Every field of the event comes from where it should.
func TestNATEvent(t *testing.T) {
	ip := netip.MustParseAddr
	for name, c := range map[string]struct {
		b    nat.Behaviour
		want object
	}{
		"nothing": {nat.Behaviour{}, object{
			"mapping": "unknown", "filtering": "unknown", "ports": "unknown", "block": nil, "public": []any{}, "cgn": false,
			"hairpin": nil, "lifetime_s": nil, "ipv6": "unknown", "portmap": "none", "confidence": 0.0,
		}},
		"home": {nat.Behaviour{
			Mapping: nat.EndpointIndependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Preserved,
			Public: []netip.Addr{ip("46.1.2.3")}, Hairpin: nat.Yes, Carrier: nat.No,
			Unreplied: 29 * time.Second, Replied: 118 * time.Second, IPv6: nat.FirewalledIPv6, Confidence: 0.9376,
		}, object{
			"mapping": "endpoint-independent", "filtering": "address-and-port-dependent", "ports": "preserved", "block": nil,
			"public": []any{"46.1.2.3"}, "cgn": false, "hairpin": true, "lifetime_s": 118.0, "ipv6": "firewalled", "portmap": "none", "confidence": 0.938,
		}},
		"carrier": {nat.Behaviour{
			Mapping: nat.AddressDependent, Filtering: nat.AddressDependent, Ports: nat.BlockPorts, Block: [2]uint16{40960, 41471},
			Public: []netip.Addr{ip("46.1.2.3"), ip("46.1.2.4")}, Hairpin: nat.No, Carrier: nat.Yes,
			Replied: 290 * time.Second, Absolute: 60 * time.Second, IPv6: nat.NoIPv6, Confidence: 1,
		}, object{
			"mapping": "address-dependent", "filtering": "address-dependent", "ports": "block", "block": []any{40960.0, 41471.0},
			"public": []any{"46.1.2.3", "46.1.2.4"}, "cgn": true, "hairpin": false, "lifetime_s": 60.0, "ipv6": "none", "portmap": "none", "confidence": 1.0,
		}},
		"symmetric": {nat.Behaviour{
			Mapping: nat.AddressAndPortDependent, Filtering: nat.EndpointIndependent, Ports: nat.RandomPorts,
			Unreplied: 29 * time.Second, Absolute: 50 * time.Second, IPv6: nat.OpenIPv6, Confidence: 0.5,
		}, object{
			"mapping": "address-and-port-dependent", "filtering": "endpoint-independent", "ports": "random", "block": nil,
			"public": []any{}, "cgn": false, "hairpin": nil, "lifetime_s": 50.0, "ipv6": "open", "portmap": "none", "confidence": 0.5,
		}},
		"sequential": {nat.Behaviour{
			Mapping: nat.AddressAndPortDependent, Ports: nat.Sequential, Step: 1, Replied: 29 * time.Second, Absolute: 50 * time.Second,
		}, object{
			"mapping": "address-and-port-dependent", "filtering": "unknown", "ports": "sequential", "block": nil,
			"public": []any{}, "cgn": false, "hairpin": nil, "lifetime_s": 29.0, "ipv6": "unknown", "portmap": "none", "confidence": 0.0,
		}},
		"open": {nat.Behaviour{Mapping: nat.NoNAT, Filtering: nat.NoNAT, Ports: nat.Preserved, Confidence: 0.8}, object{
			"mapping": "none", "filtering": "none", "ports": "preserved", "block": nil,
			"public": []any{}, "cgn": false, "hairpin": nil, "lifetime_s": nil, "ipv6": "unknown", "portmap": "none", "confidence": 0.8,
		}},
		"blocked": {nat.Behaviour{Mapping: nat.UDPBlocked, Filtering: nat.UDPBlocked, Confidence: 0.92}, object{
			"mapping": "udp-blocked", "filtering": "udp-blocked", "ports": "unknown", "block": nil,
			"public": []any{}, "cgn": false, "hairpin": nil, "lifetime_s": nil, "ipv6": "unknown", "portmap": "none", "confidence": 0.92,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var o object
			line := told(t, true, c.b, "seen")
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			checkEvent(t, o)
			c.want["ev"], c.want["t"] = "nat", o["t"]
			if !reflect.DeepEqual(o, c.want) {
				t.Errorf("is   %v\nwant %v", o, c.want)
			}
		})
	}
}

// The protocol that opened the router's port is shown.
func TestNATPortMap(t *testing.T) {
	n := arg(natOf)
	n.PortMap = "upnp"
	if got := natOf(n).PortMap; got != "upnp" {
		t.Errorf("portmap is %q", got)
	}
}

func TestNATText(t *testing.T) {
	b := nat.Behaviour{
		Mapping: nat.AddressDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.BlockPorts, Block: [2]uint16{40960, 41471},
		Public: []netip.Addr{netip.MustParseAddr("46.1.2.3")}, Hairpin: nat.No, Carrier: nat.Yes,
		Replied: 118 * time.Second, IPv6: nat.NoIPv6, Confidence: 0.93,
	}
	got := told(t, false, b, "five peers said so", "one came back")
	for _, want := range []string{
		"NAT: mapping address-dependent, filtering address-and-port-dependent, ports block from 40960 to 41471 (93 % sure)\n",
		"outside address 46.1.2.3, IPv6 none, a second NAT behind the router's, no hairpin, mappings last 118 s\n",
		"because five peers said so\n", "because one came back\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if got := told(t, false, nat.Behaviour{}); !strings.Contains(got, "not known yet") {
		t.Error(got)
	}
}
