package story

import (
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// visit STATUS URL prints what a server answers.
func visit(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: visit STATUS URL")
	}
	r, err := http.Get(args[1])
	ts.Check(err)
	defer r.Body.Close()
	if strconv.Itoa(r.StatusCode) != args[0] {
		ts.Fatalf("%s, want %s", r.Status, args[0])
	}
	_, err = io.Copy(ts.Stdout(), r.Body)
	ts.Check(err)
}

// rot FILE OFFSET changes a bit of a file, as a bad disk does.
func rot(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: rot FILE OFFSET")
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[at] ^= 1
	ts.Check(os.WriteFile(path, b, 0o644))
}
