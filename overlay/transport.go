// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package overlay

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/p2pos/p2pos/identity"
)

// alpn names the protocol inside TLS; its number is versionMajor.
const alpn = "p2pos/1"

// serverName is the same everywhere: a name derived from the virtual address
// would stand in clear in every Initial.
const serverName = "p2pos"

// retryAbove is the number of provisional sources from which on quic-go asks
// newcomers for a round trip first (RFC 9000 §8.1.2).
const retryAbove = 256

// nodeCertificate wraps the node key for TLS. It says nothing but the key.
func nodeCertificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(253402300799, 0), // the end of year 9999: node keys live for one run
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("overlay: node certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// nodeKeyOf returns the key that the other side proved to hold.
func nodeKeyOf(cs tls.ConnectionState) (ed25519.PublicKey, error) {
	if len(cs.PeerCertificates) != 1 {
		return nil, errors.New("overlay: want exactly one node certificate")
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("overlay: node key is not Ed25519")
	}
	return key, nil
}

// tlsConfig verifies in VerifyConnection, which unlike VerifyPeerCertificate
// also runs on resumption. Curves stay at Go's default, X25519MLKEM768 first.
// want is nil when any node may answer.
func tlsConfig(cert tls.Certificate, self identity.NodeID, want *identity.NodeID) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{cert},
		NextProtos:             []string{alpn},
		ServerName:             serverName,
		InsecureSkipVerify:     true, // there is no authority: the key is the name
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			key, err := nodeKeyOf(cs)
			if err != nil {
				return err
			}
			switch id := identity.NodeIDOf(key); {
			case id == self:
				return ErrSelf
			case want != nil && id != *want:
				return ErrPeer
			}
			return nil
		},
	}
}

// resetKey makes the stateless reset key (RFC 9000 §10.3) out of the
// installation's secret. It lets neighbours notice a restart at once; a
// stranger can ask for a token, so the key changes with the node's addresses
// and the day: tokens then link no more starts than the address itself does.
func resetKey(secret [32]byte, addrs []netip.AddrPort, now time.Time) (key [32]byte) {
	h := hmac.New(sha256.New, secret[:])
	fmt.Fprintf(h, "p2pos reset v1 %v %d", addrs, now.Unix()/86400)
	h.Sum(key[:0])
	return key
}

// quicConfig holds the settings that design §4 fixes, each for a measured
// reason: quic-go has no MTU black-hole detection, so packets stay at 1,200
// bytes; NAT mappings are kept alive by the paths, not by QUIC. Windows are
// limits, not allocations; small first ones keep idle links small.
func quicConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize:              1200,
		DisablePathMTUDiscovery:        true,
		MaxIdleTimeout:                 5 * time.Minute,
		KeepAlivePeriod:                2 * time.Minute,
		HandshakeIdleTimeout:           5 * time.Second,
		InitialStreamReceiveWindow:     64 << 10,
		MaxStreamReceiveWindow:         4 << 20,
		InitialConnectionReceiveWindow: 128 << 10,
		MaxConnectionReceiveWindow:     8 << 20,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          -1,
		Allow0RTT:                      false,
	}
}

// maxStreams is what one peer may open at once: the control stream and a few
// transfers.
const maxStreams = 16
