// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/huin/goupnp"
)

const goodReply = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\n" +
	"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nUSN: uuid:1::urn:x\r\nEXT:\r\n" +
	"LOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"

func TestSearchReplies(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"usual", goodReply, "http://192.168.1.1:5000/rootDesc.xml"},
		{"without the last empty line", strings.TrimSuffix(goodReply, "\r\n"), "http://192.168.1.1:5000/rootDesc.xml"},
		{"other case", strings.Replace(goodReply, "LOCATION", "location", 1), "http://192.168.1.1:5000/rootDesc.xml"},
		{"bare line feeds", strings.ReplaceAll(goodReply, "\r\n", "\n"), "http://192.168.1.1:5000/rootDesc.xml"},
		{"not found", strings.Replace(goodReply, "200 OK", "404 No", 1), ""},
		{"a search", "M-SEARCH * HTTP/1.1\r\nHOST: 1.2.3.4:1900\r\n\r\n", ""},
		{"a printer", strings.Replace(goodReply, "InternetGatewayDevice", "Printer", 1), ""},
		{"no location", strings.Replace(goodReply, "LOCATION", "X", 1), ""},
		{"https", strings.Replace(goodReply, "http://", "https://", 1), ""},
		{"a file", strings.Replace(goodReply, "http://192.168.1.1:5000", "file://", 1), ""},
		{"credentials", strings.Replace(goodReply, "http://", "http://a:b@", 1), ""},
		{"a hundred lines", strings.Replace(goodReply, "EXT:", strings.Repeat("X: y\r\n", 100), 1), ""},
		{"too long", strings.Replace(goodReply, "EXT:", "EXT: "+strings.Repeat("x", maxSSDP), 1), ""},
		{"empty", "", ""},
		{"binary", "\x00\xff\x80", ""},
	} {
		u, err := parseSearchReply([]byte(c.in))
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestOnlyTheLinkIsNear(t *testing.T) {
	for _, c := range []struct {
		net  network
		url  string
		want bool
	}{
		{home4, "http://192.168.1.1:5000/x", true},
		{home4, "http://192.168.1.1/x", true},
		{home4, "http://10.0.0.1:5000/x", true}, // answered by the router all the same
		{home4, "http://127.0.0.1:5000/x", false},
		{home4, "http://203.0.113.9/x", false},
		{home4, "http://router.lan/x", false},
		{home4, "http://[fe80::1]/x", false},
		{home4, "https://192.168.1.1/x", false},
		{home4, "http://me@192.168.1.1/x", false},
		{home6, "http://[fe80::1]:5000/x", true},
		{home6, "http://[fe80::2]:5000/x", true},
		{home6, "http://[2001:db8::1]:5000/x", true},
		{home6, "http://[2001:db8:0:1::1]:5000/x", false},
		{home6, "http://192.168.1.1:5000/x", false},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.net.onLAN(u); got != c.want {
			t.Errorf("%s from %v: %v", c.url, c.net.gateway, got)
		}
	}
}

func FuzzSSDP(f *testing.F) {
	f.Add([]byte(goodReply))
	f.Add([]byte("HTTP/1.1 200\r\nST: upnp:rootdevice\r\nLOCATION: http://[fe80::1%25eth0]:1/\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\nA"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseSearchReply(b)
		if err == nil && (u.Scheme != "http" || u.Host == "" || len(b) > maxSSDP) {
			t.Fatalf("%q gave %v", b, u)
		}
		if err == nil && home4.onLAN(u) {
			if a, err := netip.ParseAddr(u.Hostname()); err != nil || !home4.near(a) {
				t.Fatalf("%v is on the LAN", u)
			}
		}
	})
}

const goodDescription = `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>x</serviceId><controlURL>/ctl</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>`

// FuzzDescription proves that whatever a router describes, we would talk only
// to places the fence lets through.
func FuzzDescription(f *testing.F) {
	at, err := url.Parse("http://192.168.1.1:5000/rootDesc.xml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(goodDescription))
	f.Add([]byte(strings.Replace(goodDescription, "<controlURL>/ctl", "<controlURL>http://203.0.113.9/ctl", 1)))
	f.Add([]byte(strings.Replace(goodDescription, "<specVersion>", "<URLBase>http://203.0.113.9</URLBase><specVersion>", 1)))
	f.Add([]byte(strings.Replace(goodDescription, `"1.0"?>`, `"1.0" encoding="latin1"?>`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := parseDescription(b, at)
		if err != nil {
			return
		}
		d := newIGD(home4, new(counters))
		d.take(root, at)
		if len(d.wans) > maxServices {
			t.Fatalf("%d services", len(d.wans))
		}
		for _, w := range d.wans {
			c := w.(interface{ GetServiceClient() *goupnp.ServiceClient }).GetServiceClient()
			if !home4.onLAN(&c.SOAPClient.EndpointURL) || c.SOAPClient.HTTPClient.CheckRedirect == nil {
				t.Fatalf("would talk to %v", &c.SOAPClient.EndpointURL)
			}
		}
	})
}
