// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package portmap

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// fakeIGD is the UPnP part of a router: answers searches sent to it alone,
// serves a description and the actions of one WANIPConnection.
type fakeIGD struct {
	version  int  // 1 or 2; 0 means 1
	rude     bool // AddPortMapping overwrites a neighbour's entry
	location func(usual string) string
	describe func(w http.ResponseWriter, usual string) // nil serves the usual one
	// fault answers an action with an error code; 0 lets it pass.
	fault func(action string, args map[string]string) int
	reply func(w http.ResponseWriter, action string) bool // true: it has answered
}

func (g *fakeIGD) start(r *router) {
	r.t.Helper()
	if g.version == 0 {
		g.version = 1
	}
	web, err := net.Listen("tcp4", netip.AddrPortFrom(r.addr, 0).String())
	if err != nil {
		r.t.Skipf("no router on loopback: %v", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { g.web(r, w, q) })}
	go srv.Serve(web)
	r.t.Cleanup(func() { srv.Close() })
	at := "http://" + web.Addr().String() + "/desc.xml"
	if g.location != nil {
		at = g.location(at)
	}
	go r.serve(r.listen(ssdpPort), func(b []byte, _ netip.AddrPort) (string, []byte) {
		target := fmt.Sprintf("urn:schemas-upnp-org:device:InternetGatewayDevice:%d", g.version)
		if !strings.HasPrefix(string(b), "M-SEARCH * HTTP/1.1\r\n") || !strings.Contains(string(b), "ST: "+target+"\r\n") {
			return "ssdp", nil
		}
		return "ssdp", []byte("HTTP/1.1 200 OK\r\nST: " + target + "\r\nUSN: uuid:1\r\nLOCATION: " + at + "\r\n\r\n")
	})
}

func (g *fakeIGD) web(r *router, w http.ResponseWriter, q *http.Request) {
	if q.Method == http.MethodGet {
		r.note("description")
		usual := strings.Replace(goodDescription, "WANIPConnection:1", fmt.Sprintf("WANIPConnection:%d", g.version), 1)
		if g.describe != nil {
			g.describe(w, usual)
			return
		}
		io.WriteString(w, usual)
		return
	}
	_, action, _ := strings.Cut(strings.Trim(q.Header.Get("SOAPACTION"), `"`), "#")
	r.note(action)
	args := arguments(q.Body)
	if g.reply != nil && g.reply(w, action) {
		return
	}
	code, out := 0, ""
	if g.fault != nil {
		code = g.fault(action, args)
	}
	if code == 0 {
		code, out = g.act(r, action, args)
	}
	if code != 0 {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`, code)
		return
	}
	fmt.Fprintf(w, `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:%sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:%d">%s</u:%sResponse></s:Body></s:Envelope>`, action, g.version, out, action)
}

func (g *fakeIGD) act(r *router, action string, args map[string]string) (code int, out string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number := func(name string) uint16 {
		n, err := strconv.ParseUint(args[name], 10, 16)
		if err != nil {
			code = 402
		}
		return uint16(n)
	}
	switch action {
	case "GetExternalIPAddress":
		return 0, "<NewExternalIPAddress>" + r.outside.String() + "</NewExternalIPAddress>"
	case "AddPortMapping", "AddAnyPortMapping":
		port, inside := number("NewExternalPort"), number("NewInternalPort")
		who, err := netip.ParseAddr(args["NewInternalClient"])
		if err != nil || code != 0 || args["NewProtocol"] != "UDP" || args["NewEnabled"] != "1" {
			return 402, ""
		}
		client := netip.AddrPortFrom(who, inside)
		old := r.table[port].client
		if action == "AddAnyPortMapping" && g.version == 2 {
			port = r.mapPort(client, port, "upnp")
			return 0, fmt.Sprintf("<NewReservedPort>%d</NewReservedPort>", port)
		}
		if action == "AddAnyPortMapping" {
			return 401, ""
		}
		if old.IsValid() && old != client && !g.rude {
			return 718, ""
		}
		r.table[port] = entryOf{client, "upnp"}
		return 0, ""
	case "DeletePortMapping":
		port := number("NewExternalPort")
		if !r.table[port].client.IsValid() {
			return 714, ""
		}
		delete(r.table, port)
		return 0, ""
	case "GetSpecificPortMappingEntry":
		e := r.table[number("NewExternalPort")]
		if !e.client.IsValid() {
			return 714, ""
		}
		return 0, fmt.Sprintf("<NewInternalPort>%d</NewInternalPort><NewInternalClient>%v</NewInternalClient><NewEnabled>1</NewEnabled><NewPortMappingDescription>x</NewPortMappingDescription><NewLeaseDuration>60</NewLeaseDuration>",
			e.client.Port(), e.client.Addr())
	}
	return 401, ""
}

func (r *router) note(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[kind]++
}

// arguments returns the leaf elements of a request.
func arguments(body io.Reader) map[string]string {
	args := map[string]string{}
	d := xml.NewDecoder(body)
	name := ""
	for {
		tok, err := d.Token()
		if err != nil {
			return args
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			name = tok.Name.Local
			args[name] = ""
		case xml.CharData:
			args[name] += string(tok)
		case xml.EndElement:
			name = ""
		}
	}
}
