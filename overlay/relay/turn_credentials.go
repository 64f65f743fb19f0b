// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package relay

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

const (
	// maxTURNName bounds the name in a user name: an ID with room to spare.
	maxTURNName = 64

	// maxTURNSession is how long after their expiry credentials renew what
	// they have opened: a call is not cut off because it is long, and nobody
	// stays for good.
	maxTURNSession = 12 * time.Hour
)

// TURNCredentials are what a guest needs: the fields of an RTCIceServer.
type TURNCredentials struct {
	URL                string
	Username, Password string
	Expires            time.Time // for new allocations
}

// turnUser returns the user name of somebody whose right ends then:
// "expiry:name", as coturn and the services that work like it have it.
func turnUser(expires time.Time, name string) string {
	return strconv.FormatInt(expires.Unix(), 10) + ":" + name
}

// turnPassword returns the password of a user name: nobody has to keep a list.
// SHA-1 is what the convention names; as an HMAC it is unbroken.
func turnPassword(secret []byte, user string) string {
	m := hmac.New(sha1.New, secret)
	m.Write([]byte(user))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// turnExpiry takes a user name apart; ok is false for one that turnUser never
// returns.
func turnExpiry(user string) (expires time.Time, name string, ok bool) {
	digits, name, ok := strings.Cut(user, ":")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || len(name) > maxTURNName {
		return time.Time{}, "", false
	}
	expires = time.Unix(seconds, 0)
	return expires, name, turnUser(expires, name) == user
}
