// Command predict measures how good the plan is: it draws questions over the
// whole range of sizes, machines, links, overlap and load, has the plan predict
// and choose, and simulates every option, event by event.
//
// The simulation knows nothing of the plan's formulas: cores are shared by tasks
// of single packages, links by transfers, a chain passes pieces on, all with the
// spread that was measured of this project's runs. What the plan knows comes from
// simulated runs that were watched as real ones are, and from three transfers
// over each link.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := start(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "predict:", err)
		os.Exit(1)
	}
}

// siteEvery is how many questions one site is asked.
const siteEvery = 30

func start(args []string, out io.Writer) error {
	f := flag.NewFlagSet("predict", flag.ContinueOnError)
	points := f.Int("points", 240, "how many questions")
	draws := f.Int("draws", 5, "how often each option is simulated")
	seed := f.Uint64("seed", 1, "of all that is drawn")
	results := f.String("results", "", "folder for the raw rows and the summary; default: none are kept")
	if err := f.Parse(args); err != nil {
		return err
	}
	begun := time.Now()
	all, err := answers(*points, *draws, *seed)
	if err != nil {
		return err
	}
	s := summarize(all)
	s.tell(out)
	fmt.Fprintf(out, "took %.1f s\n", time.Since(begun).Seconds())
	if *results == "" {
		return nil
	}
	return keep(*results, all, s)
}

// answers puts questions to one site after another.
func answers(points, draws int, seed uint64) ([]answer, error) {
	if points < 1 || draws < 1 {
		return nil, fmt.Errorf("%d points, %d draws: at least one of each is needed", points, draws)
	}
	var all []answer
	var taught asker
	for i := range points {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		if i%siteEvery == 0 {
			taught = teach(rand.New(rand.NewPCG(seed, 1<<32+uint64(i))), i/siteEvery)
		}
		all = append(all, taught.ask(rng, draws))
	}
	return all, nil
}

// keep writes the raw rows and the summary.
func keep(dir string, all []answer, s summary) error {
	name := filepath.Join(dir, time.Now().UTC().Format("2006-01-02-150405")+"-predict")
	raw, err := os.Create(name + ".jsonl")
	if err != nil {
		return err
	}
	defer raw.Close()
	e := json.NewEncoder(raw)
	for _, a := range all {
		if err := e.Encode(a); err != nil {
			return err
		}
	}
	page, err := os.Create(name + ".md")
	if err != nil {
		return err
	}
	defer page.Close()
	s.tell(page)
	return nil
}
