package deb

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestResolverChoosesWhatAptChooses compares with apt on a machine on which
// nothing is installed, and without Recommends.
func TestResolverChoosesWhatAptChooses(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get: run it on Debian")
	}
	a := realArchive(t)
	u, err := a.Indexes(t.Context(), "bookworm", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	apt := emptyApt(t, a)
	list := "redis-server nginx linux-image-cloud-amd64 postgresql openssh-server libreoffice"
	if more := os.Getenv("HOLDFAST_TEST_APT_PACKAGES"); more != "" {
		list = more
	}
	for _, name := range strings.Fields(list) {
		ours, err := u.Resolve(Request{Packages: []string{name}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, p := range ours {
			got = append(got, p.String())
		}
		want := apt(name)
		if more, less := without(got, want), without(want, got); len(more)+len(less) > 0 {
			t.Errorf("%s: %d packages; we alone have %q, apt alone has %q", name, len(got), more, less)
		}
	}
}

// emptyApt gives apt's answer to the wish for a package, sorted.
func emptyApt(t *testing.T, a *Archive) func(name string) []string {
	root := t.TempDir()
	var sources strings.Builder
	for _, suite := range []string{"bookworm", "bookworm-updates", "bookworm-security"} {
		for _, uri := range a.archives(suite) {
			fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", a.cfg.Keyring, uri, suite)
		}
	}
	conf := fmt.Sprintf("Dir::State %q; Dir::State::status \"/dev/null\"; Dir::Cache %[1]q; APT::Sandbox::User \"root\";\n"+
		"Dir::Etc::sourceparts \"/dev/null\"; Dir::Etc::sourcelist %q; APT::Install-Recommends \"false\";\n",
		root, filepath.Join(root, "list"))
	for name, text := range map[string]string{"list": sources.String(), "conf": conf} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		// Options win over the machine's configuration, which may switch these off.
		args = append(args, "-o=Dir::Cache::pkgcache=pkgcache.bin", "-o=Dir::Cache::srcpkgcache=srcpkgcache.bin", "-o=Acquire::GzipIndexes=false")
		cmd := exec.CommandContext(t.Context(), "apt-get", args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(root, "conf"), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("apt-get %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("update")
	return func(name string) []string {
		var list []string
		for line := range strings.Lines(run("install", "--simulate", name)) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "Inst" {
				list = append(list, f[1]+" "+strings.TrimPrefix(f[2], "("))
			}
		}
		return list
	}
}

func without(list, gone []string) []string {
	set := map[string]bool{}
	for _, s := range list {
		set[s] = true
	}
	for _, s := range gone {
		delete(set, s)
	}
	return slices.Sorted(maps.Keys(set))
}
