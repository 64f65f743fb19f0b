// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"
)

// clientTLS offers what browsers offer. The certificate isn't looked at: it
// couldn't say who the peer is, and the QUIC inside does.
func clientTLS(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		InsecureSkipVerify:          true,
		ServerName:                  serverName,
		NextProtos:                  []string{"h2", "http/1.1"},
		SessionTicketsDisabled:      true, // a ticket would link two visits
		DynamicRecordSizingDisabled: true, // a frame is not cut in two
	}
}

// serverName returns the name to ask for: none for an address.
func serverName(cfg Config, host string) string {
	if cfg.ServerName != "" {
		return cfg.ServerName
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// serverTLS makes a certificate, P-256 as on the Web, for this start alone. Of
// the ALPN offers it takes http/1.1: then a browser that comes by mistake, or a
// censor who tries, can be answered without speaking HTTP/2.
func serverTLS(now time.Time) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("carrier: making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("carrier: making a serial number: %w", err)
	}
	day := now.UTC().Truncate(24 * time.Hour) // the moment of the start is nobody's business
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		NotBefore:    day.AddDate(0, -1, 0),
		NotAfter:     day.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("carrier: making a certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:                  []string{"http/1.1"},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}, nil
}

// plainAnswer is what Go's web server says to HTTP where it expects HTTPS.
const plainAnswer = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

// emptyAnswer is what Go's web server says when it has no pages, as our
// handshake looks like its.
func emptyAnswer(now time.Time) string {
	return strings.Join([]string{
		"HTTP/1.1 404 Not Found",
		"Content-Type: text/plain; charset=utf-8",
		"X-Content-Type-Options: nosniff",
		"Date: " + now.UTC().Format("Mon, 02 Jan 2006 15:04:05") + " GMT",
		"Content-Length: 19",
		"Connection: close",
		"", "404 page not found\n",
	}, "\r\n")
}
