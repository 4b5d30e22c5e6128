package registry

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The power went after the library had named files and before anybody synced
// them: the names are there, and what they name is not.
func TestNamesOfWhatThePowerCutTookLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	c, _ := start(t, Config{Dir: dir})
	manifest := c.push("some/where", "v1")
	lost := []byte("named, and never synced")
	c.want(c.upload("some/where", lost), http.StatusCreated)

	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	name := strings.Replace(digestOf(lost), ":", "/", 1)
	for _, in := range []string{".blobs", "some/where/blobs"} {
		if err := os.Truncate(filepath.Join(after, in, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	c, _ = start(t, Config{Dir: after})
	c.pull("some/where", "v1", manifest)
	c.want(c.do(http.MethodHead, "/v2/some/where/blobs/"+digestOf(lost), "", nil), http.StatusNotFound)
	c.want(c.upload("some/where", lost), http.StatusCreated)
}

// What was closed in order is not read again, however much it is.
func TestAFolderThatWasClosedInOrderIsNotReadAgain(t *testing.T) {
	dir := t.TempDir()
	c, r := start(t, Config{Dir: dir})
	c.push("r", "v1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, servingFile)); !os.IsNotExist(err) {
		t.Fatalf("got %v, want no %s", err, servingFile)
	}
}
