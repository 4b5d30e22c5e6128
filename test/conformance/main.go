// Command conformance runs the conformance suites of the OCI distribution API
// and of IPFS gateways, from a checkout that somebody brings, against a
// registry or a gateway that it starts, and Kubernetes' end-to-end tests, which
// it builds, against a cluster; and keeps the result.
//
// The suite's code stays where it is. What is written is a table of how its
// checks ended, with the version that they are of.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/registry"
)

func main() {
	suite := flag.String("suite", "", "checkout of opencontainers/distribution-spec or ipfs/gateway-conformance")
	out := flag.String("out", "docs/conformance.md", "where the result goes")
	var k kubernetesFlags
	k.register(flag.CommandLine)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	do := func() error { return run(ctx, *suite, *out) }
	switch {
	case k.inside != "":
		do = func() error { return k.critestInside(ctx) }
	case k.cri:
		do = func() error { return k.critest(ctx, *out) }
	case k.on:
		do = func() error { return k.run(ctx, *out) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, suite, out string) error {
	work, err := os.MkdirTemp("", "conformance-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	section, failed := "", error(nil)
	if _, err := os.Stat(filepath.Join(suite, "cmd", "gateway-conformance")); err == nil {
		section, failed = runGateway(ctx, suite, work)
	} else {
		section, failed = runDistribution(ctx, suite, work)
	}
	if section == "" {
		return failed
	}
	return errors.Join(failed, keep(out, section))
}

// keep puts a section into the page.
func keep(out, section string) error {
	fmt.Print(section)
	old, err := os.ReadFile(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return atomicfile.WriteFile(out, []byte(replaced(string(old), section)), 0o644)
}

// runDistribution runs the suite of the OCI distribution specification.
func runDistribution(ctx context.Context, suite, work string) (string, error) {
	if _, err := os.Stat(filepath.Join(suite, "conformance", "main.go")); err != nil {
		return "", fmt.Errorf("suite %q: want a checkout of opencontainers/distribution-spec or ipfs/gateway-conformance: %w", suite, err)
	}
	program := filepath.Join(work, "suite")
	if _, err := command(ctx, filepath.Join(suite, "conformance"), nil, "go", "build", "-o", program, "."); err != nil {
		return "", fmt.Errorf("build the suite: %w", err)
	}
	plain, err := check(ctx, filepath.Join(work, "plain"), program)
	if err != nil {
		return "", err
	}
	all, err := check(ctx, filepath.Join(work, "all"), program, "OCI_API_BLOBS_DIGEST_HEADER=true",
		"OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_MANIFESTS_TAG_PARAM=true")
	if err != nil {
		return "", err
	}
	commit, err := command(ctx, suite, nil, "git", "log", "-1", "--format=%H of %cs")
	if err != nil {
		commit = "" // a checkout need not be a repository
	}
	result := page(strings.TrimSpace(commit), plain, all)
	if bad := plain.bad() + all.bad(); bad > 0 || plain.Tests == 0 {
		return result, fmt.Errorf("%d of %d checks fail", bad, plain.Tests+all.Tests)
	}
	return result, nil
}

// check runs the suite against a registry on loopback.
func check(ctx context.Context, work, program string, more ...string) (*results, error) {
	r, err := registry.New(registry.Config{Dir: filepath.Join(work, "registry")})
	if err != nil {
		return nil, err
	}
	server := httptest.NewServer(r)
	defer func() { server.Close(); _ = r.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	said, ran := command(ctx, work, append([]string{
		"OCI_VERSION=1.1", "OCI_TLS=disabled", "OCI_REGISTRY=" + strings.TrimPrefix(server.URL, "http://"),
		"OCI_RESULTS_DIR=" + filepath.Join(work, "results"),
	}, more...), program)
	raw, err := os.ReadFile(filepath.Join(work, "results", "junit.xml"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the suite left no results: %s", said), err, ran)
	}
	return parse(raw)
}

func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said.String())
	}
	return said.String(), err
}
