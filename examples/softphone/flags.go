// SPDX-License-Identifier: 0BSD

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/p2pos/p2pos/identity"
)

const usage = `softphone is a phone without a window: people type commands, programs do the
same with -json and read one JSON object a line.

  softphone [flags]            start a phone; type help for its commands
  softphone -new-network NAME  print the secret of a new private network

  -dir DIR            where the identity is kept (made if missing);
                      default: p2pos in the user's configuration directory.
                      Two phones on one machine need two directories
  -name NAME          what people see whom you call
  -network SECRET     be in a private network; default: the public one
  -join WHERE         a ticket or host:port to start from; may be repeated
  -stun HOST:PORT     a STUN server to ask where we are seen; may be repeated
  -listen ADDR:PORT   UDP address; default :0, any free port
  -answer             answer every call at once, and take every file
  -accept             take every offered file, into DIR/received
  -play FILE.ogg      what the microphone says, looped (Opus); default: a tone
  -record FILE.ogg    what the ear hears; the others are told. The second call
                      goes to FILE-2.ogg and so on; files that are there
                      already are replaced
  -tcp ADDR:PORT      also accept links over TCP there, best at port 443
  -relay=false        don't relay for others
  -lan=false          don't look for phones on the LAN, nor tell it of this one
  -knocks             strangers who know your ID may leave a line; nothing rings
  -knocks-ring        the same, and their lines ring
  -portmap=false      don't have the router open a port (UPnP, NAT-PMP, PCP)
  -json               commands in, events out, for programs
  -v                  log to stderr what the node does
`

// options is the command line.
type options struct {
	dir, name    string
	network      identity.Network
	join, stun   []string
	listen, tcp  string
	relay        bool
	answer       bool
	accept       bool
	lan, portmap bool
	knocks       bool
	knocksRing   bool
	play, record string
	json         bool
	verbose      bool
	newNetwork   string // not empty: print a secret and exit
}

func parseFlags(args []string) (options, error) {
	var o options
	var secret string
	f := flag.NewFlagSet("softphone", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run prints the error, on one line
	f.StringVar(&o.dir, "dir", "", "")
	f.StringVar(&o.name, "name", "", "")
	f.StringVar(&secret, "network", "", "")
	f.Func("join", "", func(s string) error {
		o.join = append(o.join, s)
		return checkJoin(s)
	})
	f.Func("stun", "", func(s string) error { o.stun = append(o.stun, s); return checkAddr(s) })
	f.StringVar(&o.listen, "listen", "", "")
	f.StringVar(&o.tcp, "tcp", "", "")
	f.BoolVar(&o.answer, "answer", false, "")
	f.BoolVar(&o.accept, "accept", false, "")
	f.StringVar(&o.play, "play", "", "")
	f.StringVar(&o.record, "record", "", "")
	f.BoolVar(&o.relay, "relay", true, "")
	f.BoolVar(&o.lan, "lan", true, "")
	f.BoolVar(&o.portmap, "portmap", true, "")
	f.BoolVar(&o.knocks, "knocks", false, "")
	f.BoolVar(&o.knocksRing, "knocks-ring", false, "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	f.StringVar(&o.newNetwork, "new-network", "", "")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	given := make(map[string]bool)
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: commands are typed once the phone runs", clip(f.Arg(0), 40))
	}
	if given["network"] {
		var err error
		if o.network, err = identity.ParseNetwork(secret); err != nil {
			return o, fmt.Errorf("-network: %s", plain(err))
		}
	}
	if given["new-network"] && o.newNetwork == "" {
		return o, errors.New("-new-network needs a name")
	}
	for _, a := range []struct{ flag, addr string }{{"listen", o.listen}, {"tcp", o.tcp}} {
		if err := checkAddr(a.addr); given[a.flag] && err != nil {
			return o, fmt.Errorf("-%s: %w", a.flag, err)
		}
	}
	return o, nil
}

// checkJoin refuses what can never be joined. A ticket that has expired is not
// the command line's fault: other entries may do.
func checkJoin(s string) error {
	if identity.IsTicket(s) {
		_, err := identity.ParseTicket(s, time.Now())
		if err != nil && !errors.Is(err, identity.ErrTicketExpired) {
			return errors.New(plain(err))
		}
		return nil
	}
	if err := checkAddr(s); err != nil {
		return fmt.Errorf("neither a ticket nor host:port: %w", err)
	}
	return nil
}

// checkAddr judges the form of host:port; who has the name is asked later.
func checkAddr(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q is not a number up to 65535", port)
	}
	return nil
}

// plain returns an error's text without the names of Go packages in front,
// which say nothing to somebody at a phone.
func plain(err error) string {
	s := err.Error()
	for {
		head, rest, ok := strings.Cut(s, ": ")
		switch head {
		case "p2pos", "identity", "session", "overlay", "ogg", "media":
		default:
			ok = false
		}
		if !ok {
			return s
		}
		s = rest
	}
}

// clip shortens what others wrote to n runes at most.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
