package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/gateway"
)

// gatewaySpecs are the suite's groups that a gateway without names must pass;
// some have checks only together.
var gatewaySpecs = []string{
	"trustless-block-gateway", "trustless-car-gateway", "trustless-car-gateway-optional",
	"path-unixfs-gateway,path-range-gateway", "path-raw-gateway", "path-dag-gateway", "path-tar-gateway",
	"subdomain-ipfs-gateway",
}

// metadata is the suite's account of itself, which checks nothing.
const metadata = "TestMetadata"

// A tally is how the checks of one group ended.
type tally struct {
	name   string
	passed int
	failed []string
}

// runGateway runs the groups of gateway-conformance, built from a checkout, against our
// gateway over its fixtures.
func runGateway(ctx context.Context, suite, work string) (string, error) {
	program := filepath.Join(work, "suite")
	if _, err := command(ctx, suite, nil, "go", "build", "-o", program, "./cmd/gateway-conformance"); err != nil {
		return "", fmt.Errorf("build the suite: %w", err)
	}
	store, err := fixtures(ctx, suite, work)
	if err != nil {
		return "", err
	}
	defer store.Close()
	handler, err := gateway.New(gateway.Config{Blocks: store})
	if err != nil {
		return "", err
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	var tallies []tally
	for _, spec := range gatewaySpecs {
		t, err := checkSpec(ctx, suite, work, program, server.URL, spec)
		if err != nil {
			return "", err
		}
		tallies = append(tallies, t)
	}
	commit, _ := command(ctx, suite, nil, "git", "log", "-1", "--format=%H of %cs") // a checkout need not be a repository
	return gatewaySection(strings.TrimSpace(commit), tallies), failures(tallies)
}

// fixtures imports what the suite asks for.
func fixtures(ctx context.Context, suite, work string) (*ipfs.Store, error) {
	p, err := pool.New(filepath.Join(work, "registry", pool.Dir))
	if err != nil {
		return nil, err
	}
	store, err := ipfs.New(ipfs.Config{Pool: p, Dir: filepath.Join(work, "registry", ipfs.Dir)})
	if err != nil {
		return nil, err
	}
	return store, filepath.WalkDir(filepath.Join(suite, "fixtures"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".car" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = store.Import(ctx, f)
		return err
	})
}

func checkSpec(ctx context.Context, suite, work, program, url, spec string) (tally, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	report := filepath.Join(work, spec+".json")
	said, ran := command(ctx, suite, nil, program, "test", "--gateway-url", url,
		"--subdomain-url", strings.Replace(url, "127.0.0.1", "localhost", 1), "--json", report, "--specs", spec)
	raw, err := os.ReadFile(report)
	if err != nil {
		return tally{}, fmt.Errorf("%s left no results: %w: %s", spec, err, said)
	}
	t, err := countGateway(spec, raw)
	if err == nil && t.passed == 0 {
		err = fmt.Errorf("%s checked nothing: %s", spec, said)
	}
	if err == nil && len(t.failed) == 0 {
		err = ran
	}
	return t, err
}

// countGateway counts the checks that hold no others, from the lines of
// go test -json.
func countGateway(spec string, raw []byte) (tally, error) {
	ended, parents := map[string]string{}, map[string]bool{}
	for line := range bytes.Lines(raw) {
		var e struct{ Action, Test string }
		if err := json.Unmarshal(line, &e); err != nil {
			return tally{}, fmt.Errorf("%s: %w", spec, err)
		}
		switch e.Action {
		case "pass", "fail", "skip":
			ended[e.Test] = e.Action
		}
		for at := strings.LastIndexByte(e.Test, '/'); at > 0; at = strings.LastIndexByte(e.Test[:at], '/') {
			parents[e.Test[:at]] = true
		}
	}
	t := tally{name: spec}
	for name, action := range ended {
		switch {
		case name == "" || name == metadata || parents[name]:
		case action == "pass":
			t.passed++
		case action == "skip":
			continue // of other groups
		default:
			t.failed = append(t.failed, name)
		}
	}
	return t, nil
}

func failures(tallies []tally) error {
	n := 0
	for _, t := range tallies {
		n += len(t.failed)
	}
	if n > 0 {
		return fmt.Errorf("%d checks fail", n)
	}
	return nil
}

// gatewayTitle heads the gateway's part of docs/conformance.md.
const gatewayTitle = "# Conformance to the IPFS gateway specifications"

func gatewaySection(commit string, tallies []tally) string {
	var b strings.Builder
	fmt.Fprintf(&b, gatewayTitle+`

Written by `+"`make conformance SUITE=DIR`"+`, DIR being a checkout of
https://github.com/ipfs/gateway-conformance. Its groups run against a gateway of this program on loopback over the
suite's fixtures, which are imported as `+"`holdfast blob import`"+` does it. Not run are the groups about IPNS, DNSLink and
`+"`_redirects`"+`, since this gateway resolves no names, and about HTTP proxies, which it is not.

- suite: %s

| group | passed | failed |
|---|---|---|
`, or(commit, "a checkout that is no repository"))
	for _, t := range tallies {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", strings.ReplaceAll(t.name, ",", ", "), t.passed, len(t.failed))
	}
	for _, t := range tallies {
		for _, name := range t.failed {
			fmt.Fprintf(&b, "\n%s fails: %s\n", t.name, name)
		}
	}
	return b.String()
}
