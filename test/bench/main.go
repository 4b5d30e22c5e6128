// Command bench makes docs/benchmarks.md of what "go test -bench" prints.
//
//	go test -run '^$' -bench . ./... | go run ./test/bench -o docs/benchmarks.md -json docs/benchmarks.json
//
// A benchmark that stands beside a peer reports the medians of both and their
// ratio, by pairs, as metrics; what the bars are is written here.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	table := flag.String("o", "docs/benchmarks.md", "the page to write")
	data := flag.String("json", "docs/benchmarks.json", "the same for programs")
	drawing := flag.String("svg", "docs/run-time.svg", "where the time of a run goes")
	flag.Parse()
	if err := run(os.Stdin, *table, *data, *drawing); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, table, data, drawing string) error {
	results, err := parse(io.TeeReader(in, os.Stderr))
	if err != nil {
		return err
	}
	machine, err := describe()
	if err != nil {
		return err
	}
	r := report{Machine: machine, Results: results}
	page, err := r.page()
	if err != nil {
		return err
	}
	raw, err := r.json()
	if err != nil {
		return err
	}
	if err := os.WriteFile(data, raw, 0o644); err != nil {
		return err
	}
	for _, one := range results {
		if one.Name != "RunOverFloor" {
			continue
		}
		if err := os.WriteFile(drawing, []byte(picture(one.Metrics)), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(table, page, 0o644)
}
