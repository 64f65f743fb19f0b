// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package carrier

import (
	"net/url"
	"time"
)

const (
	// maxWait is how long a datagram may wait for its turn: older voice is
	// useless, and QUIC has it repeated anyway.
	maxWait = 100 * time.Millisecond

	// maxQueue bounds the bytes that wait: maxWait at 40 Mbit/s. Faster lines
	// are used less than fully, which QUIC finds out by itself.
	maxQueue = 512 << 10

	// maxBatch is what one write hands to TLS at most: one record of 16 KiB
	// less its inner content type and what padding could want.
	maxBatch = 16 << 10

	// quickWrite and slowWrite steer the size of batches: while the line is
	// slow a batch is one datagram, so that the rest still can be dropped; it
	// grows back by one at a time.
	quickWrite = 2 * time.Millisecond
	slowWrite  = 20 * time.Millisecond

	// unsentLimit is what the kernel may hold beyond what it has sent: three
	// full datagrams, 32 ms at 1 Mbit/s. Half of it costs half the throughput
	// of loopback and gains nothing that could be measured.
	unsentLimit = 4 << 10

	// keepalive is the silence after which an empty frame is sent. Proxies
	// give up after 30 s at the earliest, and TCP's own probes end at them.
	keepalive = 15 * time.Second

	// maxSilence is the silence after which the other end counts as gone:
	// three keepalives.
	maxSilence = 45 * time.Second

	// maxFrameTime is how long one frame may take to arrive once its first
	// byte has: a link too slow for 1,500 bytes in that is no use.
	maxFrameTime = 10 * time.Second

	// graceTime is how long the first read may take after nobody had read.
	graceTime = time.Second

	// maxWriteTime is how long the other end may accept nothing at all. By then
	// a call has long found another path.
	maxWriteTime = 20 * time.Second

	// flushTime is what Close gives to datagrams that wait, and to the goodbye:
	// a QUIC close usually is among them. A live line needs none of it.
	flushTime = 50 * time.Millisecond

	// dialTime bounds Dial from name to hello, when its context doesn't:
	// four round trips through a proxy, repeated once.
	dialTime = 15 * time.Second

	// handshakeTime bounds what a stranger may take from the first packet to
	// the hello.
	handshakeTime = 10 * time.Second
)

// Config is how connections are made and taken. The zero value works; Dial and
// Listen copy it.
type Config struct {
	// Proxy returns the HTTP proxy for a URL https://host:port, or nil for
	// none. nil means the environment: HTTPS_PROXY and NO_PROXY, or in lower
	// case, read once in a process and never applied to loopback addresses (see
	// http.ProxyFromEnvironment).
	Proxy func(*url.URL) (*url.URL, error)

	// ServerName is the name Dial asks for in TLS (SNI). "" means the host
	// dialled where that is a name, and none where it is an address: what
	// browsers do (RFC 6066 §3 forbids addresses there).
	ServerName string

	// MaxConns bounds the connections of a Listener, those in their handshake
	// included; MaxPerPrefix those from one IPv4 /24 or IPv6 /48. 0 means 256
	// and 32: at most 64 MiB of TLS and queues where all do their worst, and
	// no household needs more.
	MaxConns, MaxPerPrefix int

	// MaxHandshakes bounds handshakes under way, MaxHandshakesPerPrefix those
	// from one prefix. 0 means 64 and 8: each costs about 1 ms of CPU, and
	// honest ones last half a second.
	MaxHandshakes, MaxHandshakesPerPrefix int
}

func or(value, standard int) int {
	if value > 0 {
		return value
	}
	return standard
}

func (c Config) conns() *quota { return newQuota(or(c.MaxConns, 256), or(c.MaxPerPrefix, 32)) }

func (c Config) handshakes() *quota {
	return newQuota(or(c.MaxHandshakes, 64), or(c.MaxHandshakesPerPrefix, 8))
}
