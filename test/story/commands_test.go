package story

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/internal/deb/debtest"
)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":   exits,
	"race":    race,
	"archive": archive,
	"flip":    flip,
	"small":   small,
	"tools":   tools,
	"dial":    dial,
	"term":    term,
	"holdup":  holdup,
	"held":    held,
	"moved":   moved,
	"noise":   noise,
	"begin":   begin,
	"end":     end,
	"visit":   visit,
	"rot":     rot,
}

// exits CODE PROGRAM ARG… wants this very exit code, and an error told as it
// should be: one line, at most one hint behind it; one object with --json.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err = ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code: got %d, want %d", got, want)
	}
	if want != 0 && args[1] == "holdfast" {
		ts.Check(told(ts.ReadFile("stderr"), want, slices.Contains(args, "--json")))
	}
}

// longest is what still reads as one clear line.
const longest = 400

// told checks how an error reads: progress may stand before it, nothing
// behind it.
func told(stderr string, code int, asJSON bool) error {
	if asJSON {
		return toldJSON(stderr, code)
	}
	lines := strings.Split(strings.TrimRight(stderr, "\n"), "\n")
	if strings.HasPrefix(lines[len(lines)-1], "hint: ") {
		lines = lines[:len(lines)-1]
	}
	for i, line := range lines {
		if isError, last := strings.HasPrefix(line, "holdfast: "), i == len(lines)-1; isError != last {
			return fmt.Errorf("want one line of error and at most one hint at the end, got line %q", line)
		}
		if len(line) > longest {
			return fmt.Errorf("%d bytes are too many for one clear line: %s", len(line), line)
		}
	}
	return nil
}

func toldJSON(stderr string, code int) error {
	d := json.NewDecoder(strings.NewReader(stderr))
	var last map[string]any
	for {
		var v map[string]any
		err := d.Decode(&v)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("standard error with --json: %w", err)
		}
		if last["error"] != nil {
			return fmt.Errorf("there is more behind the error: %v", v)
		}
		last = v
	}
	text, _ := last["error"].(string)
	if text == "" || last["exit_code"] != float64(code) {
		return fmt.Errorf("got %v, want an object with error and exit_code %d", last, code)
	}
	return nil
}

// race CODE PROGRAM ARG… runs two at once: one must succeed, and the other end
// with CODE.
func race(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: race CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var both [2]*exec.Cmd
	var said [2]bytes.Buffer
	for i := range both {
		c := exec.Command(args[1], args[2:]...)
		c.Dir, c.Stderr = ts.MkAbs("."), &said[i]
		c.Env = append(os.Environ(), "HOLDFAST_STATE="+ts.Getenv("HOLDFAST_STATE"))
		ts.Check(c.Start())
		both[i] = c
	}
	codes := []int{}
	for i, c := range both {
		_ = c.Wait()
		codes = append(codes, c.ProcessState.ExitCode())
		ts.Logf("[exit code %d]\n%s", codes[i], said[i].String())
	}
	if slices.Sort(codes); !slices.Equal(codes, []int{0, want}) {
		ts.Fatalf("exit codes: got %v, want 0 and %d", codes, want)
	}
}

// archive SUITE FILE… puts the package of each control FILE into $MIRROR, with
// /usr/share/NAME/data in it. archive -forget SUITE drops all.
func archive(ts *testscript.TestScript, _ bool, args []string) {
	a := ts.Value(archiveKey{}).(*debtest.Archive)
	if len(args) < 2 {
		ts.Fatalf("usage: archive SUITE FILE…, archive -forget SUITE")
	}
	if args[0] == "-forget" {
		a.Forget(args[1])
		return
	}
	for _, file := range args[1:] {
		for _, control := range strings.Split(ts.ReadFile(file), "\n\n") {
			name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(control), "Package: "), "\n")
			a.Add(args[0], control, debtest.File{Name: "./usr/"}, debtest.File{Name: "./usr/share/"},
				debtest.File{Name: "./usr/share/" + name + "/"},
				debtest.File{Name: "./usr/share/" + name + "/data", Content: strings.Repeat(name+"\n", 20000)})
		}
	}
}

// flip LAYOUT manifest|config|layer inverts a byte in the middle of that blob.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: flip LAYOUT manifest|config|layer")
	}
	path, err := findBlob(ts.MkAbs(args[0]), args[1])
	ts.Check(err)
	raw, err := os.ReadFile(path)
	ts.Check(err)
	raw[len(raw)/2] ^= 0xff
	ts.Check(os.WriteFile(path, raw, 0o644))
}

type descriptor struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
}

// named says whether it is an image, not what refers to one.
func named(d descriptor) bool { return d.Annotations["org.opencontainers.image.ref.name"] != "" }

func findBlob(layout, part string) (string, error) {
	var doc struct {
		Manifests, Layers []descriptor
		Config            descriptor
	}
	read := func(path string) error {
		raw, err := os.ReadFile(path)
		return errors.Join(err, json.Unmarshal(raw, &doc))
	}
	blob := func(d descriptor) string {
		return filepath.Join(layout, "blobs", filepath.FromSlash(strings.Replace(d.Digest, ":", "/", 1)))
	}
	for range 100 { // a registry writes it a moment after what it acknowledged
		if err := read(filepath.Join(layout, "index.json")); err != nil {
			return "", err
		}
		if len(doc.Manifests) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(doc.Manifests) == 0 {
		return "", fmt.Errorf("%s names no image", layout)
	}
	image := doc.Manifests[max(0, slices.IndexFunc(doc.Manifests, named))]
	manifest := blob(image)
	if part == "manifest" {
		return manifest, nil
	}
	if err := read(manifest); err != nil {
		return "", err
	}
	if part == "config" {
		return blob(doc.Config), nil
	}
	return blob(doc.Layers[0]), nil
}

// small DIR SIZE makes DIR a file system that holds SIZE, as tmpfs takes it.
func small(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: small DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(syscall.Mount("none", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { ts.Check(syscall.Unmount(dir, syscall.MNT_DETACH)) })
}

// tools NAME… leaves these programs alone on the search path, beside holdfast.
func tools(ts *testscript.TestScript, _ bool, args []string) {
	dir, err := os.MkdirTemp(ts.MkAbs("."), "tools")
	ts.Check(err)
	for _, name := range append([]string{"holdfast"}, args...) {
		path, err := exec.LookPath(name)
		ts.Check(err)
		ts.Check(os.Symlink(path, filepath.Join(dir, name)))
	}
	ts.Setenv("PATH", dir)
}

const patience = 20 * time.Second

// dial ADDRESS… waits until somebody listens at each.
func dial(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(patience)
	for _, address := range args {
		for {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				ts.Check(conn.Close())
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("nobody listens: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// term asks every background command to end, as systemd does.
func term(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// An upload is a blob on its way to a registry, held up half way.
type upload struct {
	rest   *io.PipeWriter
	answer chan error
}

var blob = bytes.Repeat([]byte("anchor\n"), 2<<20) // more than the network holds

// begin sends the registry at $REGISTRY half a blob; end sends the rest, and
// wants that it was taken. A story has one such upload at a time.
func begin(ts *testscript.TestScript, _ bool, _ []string) {
	url := fmt.Sprintf("http://%s/v2/slow/blobs/uploads/", ts.Getenv("REGISTRY"))
	location, err := startUpload(url)
	ts.Check(err)
	r, w := io.Pipe()
	u := &upload{rest: w, answer: make(chan error, 1)}
	go func() { u.answer <- put(location, r) }()
	_, err = w.Write(blob[:len(blob)/2])
	ts.Check(err)
	ts.Value(uploadKey{}).(chan *upload) <- u
}

func end(ts *testscript.TestScript, _ bool, _ []string) {
	u := <-ts.Value(uploadKey{}).(chan *upload)
	_, err := u.rest.Write(blob[len(blob)/2:])
	ts.Check(errors.Join(err, u.rest.Close()))
	ts.Check(<-u.answer)
}

func startUpload(url string) (string, error) {
	resp, err := http.Post(url, "application/octet-stream", nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	location, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("%s: %w", resp.Status, err)
	}
	q := location.Query()
	q.Set("digest", fmt.Sprintf("sha256:%x", sha256.Sum256(blob)))
	location.RawQuery = q.Encode()
	return location.String(), nil
}

func put(url string, body io.Reader) error {
	req, err := http.NewRequest(http.MethodPut, url, body)
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(blob))
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("upload: got %s, want 201", resp.Status)
	}
	return nil
}
