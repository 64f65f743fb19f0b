// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Package carrier takes datagrams over TLS on TCP, for nodes whose network
// lets no UDP pass, and through an HTTP proxy where the environment names one.
//
//   - Dial makes a connection, Listen and Listener.Accept take them.
//   - Conn is one of them: a net.PacketConn with a single remote address, to
//     be handed to sock.Socket.Add. QUIC and SRTP inside are what they are over
//     UDP, loss included.
//
// On the wire, inside TLS 1.3, each datagram is two bytes of length and itself,
// at most 1,500 bytes; a length of 0 says "still here" (RFC 4571 §2 frames the
// same way). Both sides send one at once, and every 15 s of silence.
//
// TLS is here to get through middleboxes and for nothing else: the certificate
// is made at each start and nobody verifies it. Who the peer is, is proved by
// the QUIC inside, which is encrypted once more, so whoever breaks the outer
// TLS open, a company's inspecting proxy say, learns what any router on a UDP
// path would.
//
// TCP keeps order and repeats what is lost, so what waits gets old. A Conn lets
// a datagram wait 100 ms for its turn; then it is dropped and counted, oldest
// first. What has been handed to the kernel is beyond recall: what it has not
// sent is kept to 4 KiB where the system can be told (Linux, macOS), what it has
// is TCP's business. On a line of 1 Mbit/s that is offered four times as much,
// datagrams arrive 0.35 s old (0.87 s without that limit); voice alone, 0.1 ms.
//
// All methods may be called from any goroutine. Close waits for the goroutines
// of what it closes.
//
// To an observer it is ordinary HTTPS: TLS 1.3 with the ALPN offer of a
// browser, SNI only for a name, and to whoever sends HTTP the answer of a web
// server that has no pages. The sizes and times of packets are not disguised,
// and the fingerprint of the handshake is that of Go's crypto/tls. Not here:
// SOCKS proxies, proxies that ask for anything but Basic authentication, and
// when to use a carrier at all (package overlay).
package carrier
