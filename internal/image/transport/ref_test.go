package transport

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/oci"
)

func TestReferencesReadAsPeopleTypeThem(t *testing.T) {
	t.Chdir(t.TempDir())
	sample(t, "built", "", "amd64", plainLayer)
	write(t, "saved.tar", nil)
	write(t, "redis", nil)
	d := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]Ref{
		"-": {Kind: Archive, Path: "-"}, "docker-archive:x": {Kind: Archive, Path: "x"}, "docker-archive:-": {Kind: Archive, Path: "-"},
		"docker-archive:x.tar:a/b:c": {Kind: Archive, Path: "x.tar", Name: "a/b:c"},
		"saved.tar":                  {Kind: Archive, Path: "saved.tar"}, "./none.tar": {Kind: Archive, Path: "./none.tar"}, "./redis": {Kind: Archive, Path: "./redis"},
		"built": {Kind: Layout, Path: "built"}, "built:v1": {Kind: Layout, Path: "built", Name: "v1"}, "./new": {Kind: Layout, Path: "./new"},
		"oci:new": {Kind: Layout, Path: "new"}, "oci:new:v1": {Kind: Layout, Path: "new", Name: "v1"}, "/abs/dir:v1": {Kind: Layout, Path: "/abs/dir", Name: "v1"},
		"oci:new@" + d: {Kind: Layout, Path: "new", Digest: oci.Digest(d)},
	} {
		if got := source1(t, in); got != want {
			t.Errorf("%s: got %+v, want %+v", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"redis": "index.docker.io/library/redis:latest", "redis:7": "index.docker.io/library/redis:7", "user/app": "index.docker.io/user/app:latest",
		"docker.io/library/redis": "index.docker.io/library/redis:latest", "localhost:5000/app": "localhost:5000/app:latest",
		"ghcr.io/a/b/c:v1": "ghcr.io/a/b/c:v1", "docker://ghcr.io/a/b": "ghcr.io/a/b:latest", "127.0.0.1:5000/app@" + d: "127.0.0.1:5000/app@" + d,
		"[::1]:5000/app": "[::1]:5000/app:latest",
	} {
		if got := source1(t, in); got.Kind != Registry || got.Remote.Name() != want {
			t.Errorf("%s: got %v, want %s", in, got, want)
		}
	}
}

func TestBadReferencesAreRefusedInOneLine(t *testing.T) {
	for _, bad := range []string{
		"", "oci:", "docker-archive:", "oci::v1", "UPPER", "a b", "a\nb", "a\x00b", "http://host/a", "https://host/a", "host.com/../etc", "127.0.0.1:5000/a/../../b",
		"127.0.0.1:5000/./a", "127.0.0.1:5000/a/..", "127.0.0.1:5000//a", "app@sha256:123", "app:", "app:..", "oci:d:../../x", "oci:d:-", "oci:d@sha256:zz",
		"docker-archive:f@sha256:" + strings.Repeat("a", 64), "oci:d:v1@sha256:" + strings.Repeat("a", 64), strings.Repeat("a", 5000), "host.com/" + strings.Repeat("a/", 200) + "a",
	} {
		ref, err := Parse(bad)
		if err == nil {
			t.Errorf("%.60q is read as %s", bad, ref)
		} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
			t.Errorf("%.60q: the error is no line: %q", bad, err)
		}
	}
}

func TestDestinationsAreNeverGuessed(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll(filepath.Join("plain"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := "@sha256:" + strings.Repeat("a", 64)
	for _, bad := range []string{"-", "docker-archive:x", "x.tar", "out", "plain", "user/app", "127.0.0.1:5000/app" + d, "oci:x" + d} {
		if ref, err := ParseTarget(bad); err == nil {
			t.Errorf("%s is read as %s", bad, ref)
		}
	}
	for _, good := range []string{"./out", "oci:out:v1", "/abs/out", "127.0.0.1:5000/app", "localhost/app", "docker.io/user/app:v1", "docker://user/app"} {
		target1(t, good)
	}
}
