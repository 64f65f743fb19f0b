// SPDX-License-Identifier: 0BSD

// Webphone is a phone whose face is a page in the browser of the same computer,
// which brings microphone, camera, echo cancelling, and loudspeaker:
//
//	go run ./examples/webphone
//
// prints the address to open. Nobody else can open it: see webrtc.Door.
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/p2pos/p2pos"
	"github.com/p2pos/p2pos/identity"
	"github.com/p2pos/p2pos/media/webrtc"
)

//go:embed page
var files embed.FS

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], func(url string) { fmt.Println("open in a browser on this computer:", url) }); err != nil {
		log.Fatalln("webphone:", err)
	}
}

// run is the whole program; ready is told where the page is.
func run(ctx context.Context, args []string, ready func(url string)) error {
	var cfg p2pos.Config
	f := flag.NewFlagSet("webphone", flag.ContinueOnError)
	f.StringVar(&cfg.Dir, "dir", "", "where the identity is kept; two phones on one computer need two")
	f.StringVar(&cfg.Name, "name", "", "what people see whom you call")
	f.StringVar(&cfg.Listen, "listen", "", "UDP address of the node; any port by default")
	http := f.String("http", "127.0.0.1:0", "where the page is; an address of this computer alone")
	network := f.String("network", "", "secret of a private network")
	f.Func("join", "a ticket or host:port to start from; may be repeated", func(s string) error {
		cfg.Join = append(cfg.Join, s)
		return nil
	})
	f.BoolVar(&cfg.NoLAN, "nolan", false, "don't look for phones on the LAN")
	err := f.Parse(args)
	if err == nil && *network != "" {
		cfg.Network, err = identity.ParseNetwork(*network)
	}
	if err != nil {
		return err
	}
	node, err := p2pos.New(cfg)
	if err != nil {
		return err
	}
	defer func() {
		goodbye, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		node.Shutdown(goodbye)
	}()
	go node.Join(ctx) // tries on until it works; a lone phone can be called all the same
	return serve(ctx, newPhone(node), *http, ready)
}

// serve shows the page until ctx ends.
func serve(ctx context.Context, p *phone, address string, ready func(url string)) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	door, err := webrtc.NewDoor(l.Addr())
	if err != nil {
		return err
	}
	page, err := fs.Sub(files, "page")
	if err != nil {
		return err
	}
	go p.follow(ctx)
	defer p.close()
	srv := &http.Server{
		Handler:           door.Handler(page, p.api()),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // the page's streams end with the program
		ReadHeaderTimeout: 10 * time.Second,
	}
	context.AfterFunc(ctx, func() { srv.Close() })
	ready(door.URL())
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// plain takes the packages' names off an error, for people.
func plain(err error) string {
	return strings.NewReplacer("p2pos: ", "", "identity: ", "", "webrtc: ", "").Replace(err.Error())
}
