package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type watched struct {
	Keeper
	console, log strings.Builder
	posted       [][]byte
}

func keeper(t *testing.T, boot string, dir string) *watched {
	t.Helper()
	w := &watched{}
	w.Keeper = Keeper{File: filepath.Join(dir, "run", boot, "report.json"), Root: filepath.Join(dir, "root"), Keep: "/var/lib/ignition/report.json",
		Console: &w.console, Engine: "e", Platform: "file", Boot: boot, Now: func() time.Time { return start.Add(250 * time.Millisecond) },
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Post: func(_ context.Context, _ types.Ignition, body []byte) error {
			w.posted = append(w.posted, body)
			return nil
		}}
	if err := os.MkdirAll(w.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) take(t *testing.T, stage string, err error) {
	t.Helper()
	if err != nil {
		err = fmt.Errorf("stage %s: %w", stage, err)
	}
	w.Take(t.Context(), ignition.Outcome{Stage: stage, Started: start, Err: err, Configs: []ignition.FetchedConfig{{Kind: "user", Source: "file"}, {Kind: "user", Source: "file"}}})
}

func read(t *testing.T, path string) Report {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARunIsToldOnceItIsDone(t *testing.T) {
	dir := t.TempDir()
	w := keeper(t, "b1", dir)
	w.take(t, "fetch", nil)
	w.take(t, "disks", nil)
	if w.console.Len() > 0 || len(w.posted) > 0 {
		t.Errorf("told %q and %q before the end", w.console.String(), w.posted)
	}
	w.take(t, "files", nil)
	w.take(t, "umount", nil)
	if got := w.console.String(); got != "ignition: provisioned from platform file\n" {
		t.Errorf("the console had %q", got)
	}
	r := read(t, filepath.Join(dir, "root/var/lib/ignition/report.json"))
	if r.Status != Done || len(r.Stages) != 3 || r.Stages[1] != (Stage{"disks", Done, start, 250}) || len(r.Configs) != 1 || r.Previous != nil {
		t.Errorf("kept %+v", r)
	}
	if len(w.posted) != 1 || !strings.Contains(string(w.posted[0]), `"status": "done"`) || w.log.Len() > 0 {
		t.Errorf("sent %q, warned %s", w.posted, w.log.String())
	}
}

func TestAFailureIsToldWithItsFieldAndToTheNextBoot(t *testing.T) {
	dir := t.TempDir()
	w := keeper(t, "b1", dir)
	w.take(t, "fetch", nil)
	w.take(t, "files", ignition.At(errors.New("a file\nis there\x1b[31m already"), "$.storage.files[%d]", 0))
	if got := w.console.String(); got != "ignition: provisioning failed: stage files: $.storage.files[0]: a file is there [31m already\n" {
		t.Errorf("the console had %q", got)
	}
	if r := read(t, w.File); r.Status != Failed || r.Failure.Path != "$.storage.files[0]" || r.Failure.Stage != "files" || len(w.posted) != 1 {
		t.Errorf("got %+v, sent %d", r, len(w.posted))
	}
	next := keeper(t, "b2", dir)
	next.take(t, "files", nil)
	r := read(t, filepath.Join(dir, "root/var/lib/ignition/report.json"))
	if r.Status != Done || r.Previous == nil || r.Previous.Status != Failed || r.Previous.Failure.Path != "$.storage.files[0]" || !strings.Contains(next.log.String(), "the run before failed") {
		t.Errorf("kept %+v, warned %s", r, next.log.String())
	}
	// the next boot's own report of the same run knows it too
	if r := read(t, next.File); r.Previous == nil {
		t.Errorf("got %+v", r)
	}
}

func TestAReportThatCannotBeMadeIsAWarning(t *testing.T) {
	dir := t.TempDir()
	w := keeper(t, "b1", dir)
	if err := errors.Join(os.MkdirAll(filepath.Dir(w.File), 0o755), os.WriteFile(w.File, []byte("{"), 0o600), os.RemoveAll(w.Root)); err != nil {
		t.Fatal(err)
	}
	w.Post = func(context.Context, types.Ignition, []byte) error { return errors.New("nobody there") }
	w.take(t, "files", nil)
	for _, want := range []string{"the report of stages before is not read", "not kept for later boots", "the report is not sent", "nobody there"} {
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("want %q in %s", want, w.log.String())
		}
	}
	if r := read(t, w.File); r.Status != Done {
		t.Errorf("got %+v", r)
	}
}

func TestAReportIsKeptBelowTheRoot(t *testing.T) {
	dir := t.TempDir()
	w := keeper(t, "b1", dir)
	outside := filepath.Join(dir, "outside")
	if err := errors.Join(os.Mkdir(outside, 0o755), os.MkdirAll(filepath.Join(w.Root, "var"), 0o755), os.Symlink(outside, filepath.Join(w.Root, "var/lib"))); err != nil {
		t.Fatal(err)
	}
	w.take(t, "files", nil)
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("left the root: %v, %v", entries, err)
	}
}
