// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

// Meshsim measures the overlay in a simulated Internet: the machines of
// overlay/mesh and overlay/directory run unchanged, as many as fit the memory,
// under a driver for which a link is a delay and a punch a coin. It prints a
// table beside the figures of the simulation behind the design and the targets,
// and with -out draws pictures.
//
// A run depends on its seed alone and names its trace by a hash: same seed,
// same trace, on every machine.
//
// # The model
//
// Five regions and log-normal lines give delays; no loss, no jitter, no limit
// of bandwidth. Which pairs can punch is a fixed coin by their NATs (public
// 99 %, EIM–EIM 95 %, EIM–hard 70 %, hard–hard never; -punching has others); a
// carrier's NAT counts as hard. A new link takes two and a half round trips
// after the introduction, up to 1.5 s more where a port must be found. A node
// dies without a word; neighbours notice within 2 to 17 s. Who joins knows one
// living node, who starts again up to 64 that it had. No mobile
// sleep, no wrong clocks.
//
// Networks of up to 10,000 grow node by node for the steady figures; for others
// tables are planted by the machines' rules and left alone for five minutes. The
// compact form is planted tables and nothing else, for a million nodes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "meshsim:", err)
		os.Exit(1)
	}
}

// run does what the arguments say.
func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("meshsim", flag.ContinueOnError)
	sizes := fs.String("n", "1000", "numbers of nodes, separated by commas")
	mixes := fs.String("mix", "10/45/30/15", "percent public/EIM/EDM/CGN, several separated by commas")
	names := fs.String("run", "steady", "scenarios, separated by commas: "+strings.Join(scenarios(), ", ")+"; all; standard, which has its own sizes and mixes")
	seeds := fs.Int("seeds", 1, "how many seeds, from -seed on")
	seed := fs.Uint64("seed", 1, "the first seed")
	punching := fs.String("punching", "reference", "odds of punching: reference, pessimistic or lab")
	form := fs.String("form", "auto", "how networks begin: grow, plant, or auto")
	rest := fs.Duration("rest", calm, "how long a new network is left alone before it is measured")
	rings := fs.Int("rings", 0, "messages behind a figure; 0 = by size")
	owners := fs.Int("owners", 0, fmt.Sprintf("how many nodes publish records, one device each; 0 = all, up to %d", ownersMost))
	parallel := fs.Int("parallel", 2, "runs at a time")
	asJSON := fs.Bool("json", false, "print JSON")
	pictures := fs.String("out", "", "folder for pictures and table.txt, what was printed; empty writes none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	o, err := oddsOf(*punching)
	if err != nil {
		return err
	}
	jobs, err := standard(*seed), error(nil)
	if *names != "standard" {
		jobs, err = jobsOf(*sizes, *mixes, *names, *seed, *seeds)
	}
	if err != nil {
		return err
	}
	if *pictures != "" && !*asJSON {
		if err := os.MkdirAll(*pictures, 0o755); err != nil {
			return err
		}
		table, err := os.Create(filepath.Join(*pictures, "table.txt"))
		if err != nil {
			return err
		}
		defer table.Close()
		out = io.MultiWriter(out, table)
	}
	b := &bench{odds: o, oddsBy: *punching, form: *form, rings: *rings, rest: *rest}
	if *owners == 0 {
		for _, j := range jobs {
			if j.name != "compact" {
				*owners = min(max(*owners, j.n), ownersMost)
			}
		}
	}
	if b.devices, err = makeDevices(*owners); err != nil {
		return err
	}
	reports, err := b.runAll(jobs, *parallel, func(r *report) {
		if !*asJSON {
			r.print(out)
		}
	})
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "\t")
		if err := e.Encode(reports); err != nil {
			return err
		}
	}
	if *pictures == "" {
		return nil
	}
	return b.draw(*pictures, reports)
}

// ownersMost is how many nodes publish unless more are asked for: signing and
// checking records is most of the work then.
const ownersMost = 10_000

// jobsOf makes a job of each scenario, size, mix and seed.
func jobsOf(sizes, mixes, names string, seed uint64, seeds int) (jobs []job, err error) {
	list := strings.Split(names, ",")
	if names == "all" {
		list = scenarios()
	}
	for _, size := range strings.Split(sizes, ",") {
		n, err := strconv.ParseFloat(size, 64) // 1e4 will do
		if err != nil || n < 10 || n > 1e7 {
			return nil, fmt.Errorf("no number of nodes: %q", size)
		}
		for _, m := range strings.Split(mixes, ",") {
			x, err := parseMix(m)
			if err != nil {
				return nil, err
			}
			for _, name := range list {
				for s := range seeds {
					jobs = append(jobs, job{name: name, n: int(n), mix: x, seed: seed + uint64(s)})
				}
			}
		}
	}
	return jobs, nil
}

// runAll runs jobs, some at a time, and hands out the reports in the order of
// the jobs. Each run has one thread and its own world.
func (b *bench) runAll(jobs []job, parallel int, each func(*report)) ([]*report, error) {
	type done struct {
		r   *report
		err error
	}
	results := make([]chan done, len(jobs))
	for i := range results {
		results[i] = make(chan done, 1)
	}
	next := make(chan int, len(jobs))
	for i := range jobs {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range max(1, parallel) {
		wg.Go(func() {
			for i := range next {
				r, err := b.run(jobs[i])
				results[i] <- done{r, err}
			}
		})
	}
	var list []*report
	for _, c := range results {
		d := <-c
		if d.err != nil {
			return nil, d.err
		}
		list = append(list, d.r)
		each(d.r)
	}
	return list, nil
}
