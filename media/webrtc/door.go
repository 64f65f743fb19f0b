// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package webrtc

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxBody bounds the body of a request to the API: an offer and some words.
const maxBody = 128 << 10

// A Door lets one page of this program in, on this computer, and nobody else: no
// other page in the same browser, no other computer, and no other user of this
// one, who does not know the token.
//
//   - Host must be the address that is listened on, so that a name which somebody
//     else's DNS turned into 127.0.0.1 gets nothing (DNS rebinding).
//   - Origin and Sec-Fetch-Site, where a browser sends them, must be the page's own.
//   - The API needs the token: 128 random bits in the URL's fragment, which
//     browsers send to nobody. The page sends it as "Authorization: Bearer TOKEN".
//   - The page may load nothing from elsewhere, and be in nobody's frame.
type Door struct {
	token string
	hosts []string
}

// NewDoor returns the Door of a server that listens at addr, as
// net.Listener.Addr gives it. It fails for an address that other computers
// reach.
func NewDoor(addr net.Addr) (*Door, error) {
	a, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return nil, fmt.Errorf("webrtc: door at %v: %w", addr, err)
	}
	if !a.Addr().IsLoopback() {
		return nil, fmt.Errorf("webrtc: door at %v: other computers could come in; listen on 127.0.0.1", addr)
	}
	var token [16]byte
	rand.Read(token[:])
	return &Door{
		token: base64.RawURLEncoding.EncodeToString(token[:]),
		hosts: []string{a.String(), fmt.Sprintf("localhost:%d", a.Port())},
	}, nil
}

// URL returns the page's address with the token in it. It is a secret: show it
// to the person at this computer, and write it into no log.
func (d *Door) URL() string { return "http://" + d.hosts[0] + "/#" + d.token }

// Handler serves the files of page, and api below /api/ to whoever shows the
// token. Bodies of requests to the API end after 128 KiB.
func (d *Door) Handler(page fs.FS, api http.Handler) http.Handler {
	files := http.FileServerFS(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch isAPI := strings.HasPrefix(r.URL.Path, "/api/"); {
		case !slices.Contains(d.hosts, r.Host):
			http.Error(w, "this is not "+d.hosts[0], http.StatusMisdirectedRequest)
		case !d.own(r):
			http.Error(w, "another page has no business here", http.StatusForbidden)
		case isAPI && !d.knows(r):
			http.Error(w, "the token is missing or wrong: open the address that the program printed", http.StatusUnauthorized)
		case isAPI:
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			api.ServeHTTP(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "the page is only to be read", http.StatusMethodNotAllowed)
		default:
			files.ServeHTTP(w, r)
		}
	})
}

// own says whether a browser that tells where a request comes from says: from
// the page itself.
func (d *Door) own(r *http.Request) bool {
	if o := r.Header.Get("Origin"); o != "" && o != "http://"+r.Host {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // none: typed, or opened from another program
		return true
	}
	return false
}

func (d *Door) knows(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(d.token))
	return ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
