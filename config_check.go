// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package p2pos

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/p2pos/p2pos/identity"
)

// ConfigError reports a field of Config that New can't work with, and what to
// write there instead.
type ConfigError struct {
	Field   string // such as "Listen"
	Problem string
	Fix     string
	Err     error // what lies below it, or nil
}

func (e *ConfigError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("p2pos: Config.%s: %s (%v): %s", e.Field, e.Problem, e.Err, e.Fix)
	}
	return fmt.Sprintf("p2pos: Config.%s: %s: %s", e.Field, e.Problem, e.Fix)
}

// Unwrap returns Err.
func (e *ConfigError) Unwrap() error { return e.Err }

func wrong(field, problem, fix string, err error) error {
	return &ConfigError{Field: field, Problem: problem, Fix: fix, Err: err}
}

const (
	// maxName bounds the display name (design/001-wire.md).
	maxName = 64
	// minStore holds a thousand contacts and a few thousand messages.
	minStore = 1 << 20
	// maxPortShare leaves a household enough ports to browse with.
	maxPortShare = 0.5
	// maxCalls is session's.
	maxCalls = 8
	// minLinks is what the table of the network needs: siblings and a way out;
	// maxLinks what is of use.
	minLinks, maxLinks = 16, 1000
	// minPorts is the node's own port, the second one, and a few to look for a
	// direct path with.
	minPorts = 8
	maxDSCP  = 63
)

func (c *Config) check() error {
	for _, check := range []func(*Config) error{checkName, checkNetwork, checkJoin, checkSockets, checkLimits} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// storeError says which field makes the key store useless, if one does.
func storeError(dir string, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, identity.ErrPassphrase):
		return wrong("Passphrase", "the key store can't be opened with it", "return the passphrase that it was made with", err)
	case errors.As(err, &path):
		return wrong("Dir", fmt.Sprintf("%q can't be used", dir), "give a directory that this user may write to", err)
	}
	return fmt.Errorf("p2pos: %w", err)
}

func checkName(c *Config) error {
	switch {
	case len(c.Name) > maxName:
		return wrong("Name", fmt.Sprintf("%d bytes", len(c.Name)), fmt.Sprintf("give at most %d", maxName), nil)
	case !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl):
		return wrong("Name", fmt.Sprintf("%q can't be shown", c.Name), "give printable UTF-8", nil)
	}
	return nil
}

func checkNetwork(c *Config) error {
	if err := c.Network.Check(); err != nil {
		return wrong("Network", "it has no secret", "use what identity.NewNetwork or identity.ParseNetwork returns, or leave it zero", err)
	}
	if !c.Admin.IsZero() && c.Network.IsPublic() {
		return wrong("Admin", "the public network has none", "set Network to a network of your own, or leave Admin zero", nil)
	}
	return nil
}

func checkJoin(c *Config) error {
	for i, entry := range c.Join {
		field := fmt.Sprintf("Join[%d]", i)
		if identity.IsTicket(entry) {
			// One that has expired, or is of another network, is Join's to tell of.
			if _, err := identity.ParseTicket(entry, time.Unix(0, 0)); err != nil {
				return wrong(field, "a ticket that can't be read", "copy the whole text that Node.Ticket gave", err)
			}
			continue
		}
		if err := checkHostPort(entry); err != nil {
			return wrong(field, fmt.Sprintf("%q is neither a ticket nor host:port", entry), "give a ticket, or an address such as 192.0.2.1:4000", err)
		}
	}
	for i, s := range c.STUN {
		if err := checkHostPort(s); err != nil {
			return wrong(fmt.Sprintf("STUN[%d]", i), fmt.Sprintf("%q is not host:port", s), "give a server such as stun.example.org:3478", err)
		}
	}
	return nil
}

// checkHostPort looks at the form alone; names are looked up later.
func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err == nil && n == 0 || port == "" {
		return errors.New("host or port is missing")
	}
	return nil
}

func checkSockets(c *Config) error {
	for field, addr := range map[string]string{"Listen": c.Listen, "ListenTCP": c.ListenTCP} {
		if addr == "" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return wrong(field, fmt.Sprintf("%q is not address:port", addr), `give an address such as :4000 or 192.0.2.1:4000, or leave it ""`, err)
		}
	}
	if c.PacketConn != nil {
		if _, ok := c.PacketConn.LocalAddr().(*net.UDPAddr); !ok {
			return wrong("PacketConn", fmt.Sprintf("its address is a %T", c.PacketConn.LocalAddr()), "give a net.PacketConn with *net.UDPAddr addresses", nil)
		}
	}
	if p := c.Ports; p != [2]uint16{} && (p[0] == 0 || int(p[1])-int(p[0])+1 < minPorts) {
		return wrong("Ports", fmt.Sprintf("%d to %d", p[0], p[1]), fmt.Sprintf("give the first and the last of at least %d ports, or leave it zero", minPorts), nil)
	}
	if err := c.checkTURN(); err != nil {
		return err
	}
	return checkInterfaces(c)
}

func checkInterfaces(c *Config) error {
	if len(c.Interfaces) == 0 {
		return nil
	}
	if c.Listen != "" || c.PacketConn != nil {
		return wrong("Interfaces", "Listen or PacketConn says already where the node is", "set one of them", nil)
	}
	list, err := net.Interfaces()
	if err != nil {
		return wrong("Interfaces", "this system's can't be listed", "leave it nil", err)
	}
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	for _, s := range c.Interfaces {
		if s == "" || !strings.HasPrefix(s, "-") && !slices.Contains(names, s) {
			return wrong("Interfaces", fmt.Sprintf("there is no %q here", s), "choose among "+strings.Join(names, ", "), nil)
		}
	}
	return nil
}

func checkLimits(c *Config) error {
	switch {
	case !(c.PortShare >= 0 && c.PortShare <= maxPortShare): // NaN too
		return wrong("PortShare", fmt.Sprint(c.PortShare), fmt.Sprintf("give 0 to %v; 0 means 0.25", maxPortShare), nil)
	case c.MaxCalls < 0 || c.MaxCalls > maxCalls:
		return wrong("MaxCalls", fmt.Sprint(c.MaxCalls), fmt.Sprintf("give 1 to %d, or 0 for %d", maxCalls, maxCalls), nil)
	case c.StoreSize != 0 && c.StoreSize < minStore:
		return wrong("StoreSize", fmt.Sprintf("%d bytes", c.StoreSize), fmt.Sprintf("give at least %d, or 0 for 256 MiB", minStore), nil)
	case c.MaxLinks != 0 && (c.MaxLinks < minLinks || c.MaxLinks > maxLinks):
		return wrong("MaxLinks", fmt.Sprint(c.MaxLinks), fmt.Sprintf("give %d to %d, or 0 for what suits the NAT", minLinks, maxLinks), nil)
	case c.DSCP < 0 || c.DSCP > maxDSCP:
		return wrong("DSCP", fmt.Sprint(c.DSCP), fmt.Sprintf("give 0 to %d, such as 46", maxDSCP), nil)
	case c.Relay.Rate > 0 && c.Relay.CallRate > c.Relay.Rate:
		return wrong("Relay", fmt.Sprintf("a call may use %d bit/s of %d", c.Relay.CallRate, c.Relay.Rate), "give CallRate at most Rate, or leave it 0", nil)
	}
	return nil
}
