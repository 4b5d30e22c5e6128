package provenance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// The example of https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/digest_set.md
func TestModuleSumsAreWrittenAsInTotoHasThem(t *testing.T) {
	got := dirHash("h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=")["dirHash"]
	if want := "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnotherComposerIsNamed(t *testing.T) {
	this := Builder{Version: Composer()}
	if this.Version["holdfast"] == "" || this.Version["go"] != runtime.Version() {
		t.Errorf("got %v, want the versions of program and toolchain", this.Version)
	}
	if got := this.Other(); got != nil {
		t.Errorf("got %q of this program", got)
	}
	older := Builder{Version: map[string]string{"go": "go1.2.3", "holdfast": this.Version["holdfast"]}}
	if got := older.Other(); len(got) != 1 || got[0] != "go go1.2.3, here "+runtime.Version() {
		t.Errorf("got %q, want the toolchain named", got)
	}
	if got := (Builder{}).Other(); got != nil {
		t.Errorf("got %q of one who does not say", got)
	}
}

func file(path, content string) File {
	return File{Path: path, Digest: oci.SHA256([]byte(content)), Content: []byte(content)}
}

func TestOnlyFilesInsideTheFolderAreWritten(t *testing.T) {
	for name, test := range map[string]struct {
		files []File
		want  string
	}{
		"climbing":        {[]File{file("../x", "a")}, "want a path inside"},
		"absolute":        {[]File{file("/etc/x", "a")}, "want a path inside"},
		"twice":           {[]File{file("a", "a"), file("a", "a")}, "there twice"},
		"below a file":    {[]File{file("a", "a"), file("a/b", "a")}, "a/b"},
		"another content": {[]File{{Path: "a", Digest: oci.SHA256(nil), Content: []byte("a")}}, "its content is"},
		"too large":       {[]File{{Path: "a", Digest: oci.SHA256([]byte("a"))}}, "too large to be carried along"},
		"good":            {[]File{file("a/b/c", "a"), file("empty", "")}, ""},
	} {
		err := Parameters{Files: test.files}.Unpack(t.TempDir())
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

//fuzz:parser sources.go:Unpack,write provenance.go:Parse
func FuzzSourcesStayInside(f *testing.F) {
	f.Add([]byte(`{"buildDefinition":{"buildType":"urn:holdfast:build:image:v1","externalParameters":{"format":"oci","recipe":"r","lock":"l",
		"files":[{"path":"r","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}}}`))
	f.Fuzz(func(t *testing.T, predicate []byte) {
		if !json.Valid(predicate) {
			return
		}
		p, err := Parse(sign.Statement{PredicateType: PredicateType, Predicate: predicate})
		if err != nil {
			return
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "sources")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if p.BuildDefinition.External.Unpack(dir) == nil {
			for _, file := range p.BuildDefinition.External.Files {
				raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file.Path)))
				if err != nil || oci.SHA256(raw) != file.Digest {
					t.Errorf("%q was accepted and is %s, %v", file.Path, oci.SHA256(raw), err)
				}
			}
		}
		if outside, _ := os.ReadDir(parent); len(outside) != 1 {
			t.Errorf("a file was written outside: %v", outside)
		}
	})
}
