package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// A Result is one line of "go test -bench".
type Result struct {
	Package string             `json:"package"`
	Name    string             `json:"name"` // without "Benchmark" and the number of processors
	Runs    int                `json:"runs"`
	Metrics map[string]float64 `json:"metrics"` // by unit
}

var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+(\d+)\s+(.+)$`)

// parse reads what go test prints. A package that failed fails the whole.
func parse(r io.Reader) ([]Result, error) {
	var list []Result
	pkg := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text := lines.Text()
		switch {
		case strings.HasPrefix(text, "pkg: "):
			pkg = strings.TrimPrefix(text, "pkg: holdfast/")
		case strings.HasPrefix(text, "FAIL") || strings.HasPrefix(text, "--- FAIL"):
			return nil, fmt.Errorf("a benchmark failed: %s", text)
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		one := Result{Package: pkg, Name: m[1], Metrics: map[string]float64{}}
		one.Runs, _ = strconv.Atoi(m[2])
		words := strings.Fields(m[3])
		for i := 0; i+1 < len(words); i += 2 {
			value, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", text, err)
			}
			one.Metrics[words[i+1]] = value
		}
		list = append(list, one)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("no benchmark's line came in")
	}
	return list, nil
}
