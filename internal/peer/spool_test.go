package peer

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestAStrangersBlobIsNotSpooledOntoAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if _, err := spool(dir, 1<<60); !errors.Is(err, errNoRoom) {
		t.Errorf("got %v", err)
	}
	f, err := spool(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, err := io.Copy(struct{ io.Writer }{f}, strings.NewReader("a blob")); n != 6 || err != nil || f.unasked <= 0 {
		t.Errorf("got %d, %v; the disk is asked again after %d bytes", n, err, f.unasked)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}
