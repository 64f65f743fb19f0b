// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Vuln judges what govulncheck has found: its JSON comes in, and it fails for
// each hole in code that is called and that no line of the list of exceptions
// names. It tells of the others, and of lines that nothing needed.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	except := flag.String("except", "", "the list of exceptions: a number and the reason in each line")
	flag.Parse()
	if err := run(os.Stdin, *except); err != nil {
		fmt.Fprintln(os.Stderr, "vuln:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, except string) error {
	f, err := os.Open(except)
	if err != nil {
		return err
	}
	defer f.Close()
	excepted, err := readExceptions(f)
	if err != nil {
		return err
	}
	holes, err := read(in)
	if err != nil {
		return err
	}
	return errors.Join(judge(holes, excepted)...)
}

// hole is an entry of the database that concerns a module we have.
type hole struct {
	id      string
	aliases []string
	summary string
	module  string
	called  string // a function that our code reaches; "" = none
}

// read takes the parts of govulncheck's output that matter, in the order of
// their first appearance.
func read(in io.Reader) ([]hole, error) {
	var list []hole
	known := make(map[string]hole)
	for dec := json.NewDecoder(in); ; {
		var m struct {
			OSV *struct {
				ID      string
				Aliases []string
				Summary string
			}
			Finding *struct {
				OSV   string
				Trace []struct{ Module, Package, Function, Receiver string }
			}
		}
		if err := dec.Decode(&m); err == io.EOF {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("govulncheck's output: %w", err)
		}
		if o := m.OSV; o != nil {
			known[o.ID] = hole{id: o.ID, aliases: o.Aliases, summary: o.Summary}
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		i := slices.IndexFunc(list, func(h hole) bool { return h.id == m.Finding.OSV })
		if i < 0 {
			h := known[m.Finding.OSV]
			h.id = m.Finding.OSV
			i, list = len(list), append(list, h)
		}
		top := m.Finding.Trace[0]
		list[i].module = top.Module
		if top.Function != "" && list[i].called == "" {
			list[i].called = top.Package + "." + top.Function
		}
	}
}

// exception is a line of the list.
type exception struct{ id, reason string }

func readExceptions(in io.Reader) (list []exception, err error) {
	s := bufio.NewScanner(in)
	for s.Scan() {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if reason = strings.TrimSpace(reason); reason == "" {
			return nil, fmt.Errorf("no reason for %s", id)
		}
		list = append(list, exception{id, reason})
	}
	return list, s.Err()
}

// judge returns what is wrong, and prints the rest.
func judge(holes []hole, excepted []exception) (wrong []error) {
	used := make(map[string]bool)
	for _, h := range holes {
		i := slices.IndexFunc(excepted, func(e exception) bool { return e.id == h.id || slices.Contains(h.aliases, e.id) })
		name := strings.Join(append([]string{h.id}, h.aliases...), ", ")
		if i >= 0 {
			used[excepted[i].id] = true
		}
		switch {
		case h.called == "":
			fmt.Printf("not called: %s in %s: %s\n", name, h.module, h.summary)
		case i >= 0:
			fmt.Printf("excepted: %s in %s: %s\n", name, h.module, excepted[i].reason)
		default:
			wrong = append(wrong, fmt.Errorf("%s in %s: %s; called: %s", name, h.module, h.summary, h.called))
		}
	}
	for _, e := range excepted {
		if len(holes) > 0 && !used[e.id] {
			fmt.Printf("not found: %s is excepted, but nothing of it was found\n", e.id)
		}
	}
	return wrong
}
