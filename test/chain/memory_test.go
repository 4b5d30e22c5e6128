package chain

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"holdfast/internal/deb/debtest"
	"holdfast/internal/wiring"
)

func TestAnImageFitsIntoItsSizeAnd64MiB(t *testing.T) {
	b := needs(t)
	size := 256
	if s := os.Getenv("HF_SIZE"); s != "" {
		size, _ = strconv.Atoi(s)
	}
	over := 64
	if s := os.Getenv("HF_OVER"); s != "" {
		over, _ = strconv.Atoi(s)
	}
	bulk := b.bulk(t, size<<20)
	var out bytes.Buffer
	r := b.run(t, &out)
	r.Image, r.Entrypoint, r.Args = "oci:"+b.encrypted(t, bulk), nil, nil
	r.Memory = size + over
	if os.Getenv("HF_CONSOLE") != "" {
		r.Console = os.Stderr
	}
	result := start(t, b, r)
	t.Log(result.Outcome, out.String())
	for _, s := range result.Report.Stages {
		t.Log(s)
	}
}

// bulk is an image of size bytes whose program weighs them.
func (b *bench) bulk(t *testing.T, size int) string {
	t.Helper()
	a := debtest.New(t)
	weigh := filepath.Join(t.TempDir(), "weigh")
	t.Setenv("CGO_ENABLED", "0")
	tool(t, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", weigh, "./testdata/weigh")
	program, err := os.ReadFile(weigh)
	if err != nil {
		t.Fatal(err)
	}
	a.Add("bookworm", "Package: weigh", debtest.File{Name: "./usr/"}, debtest.File{Name: "./usr/bin/"},
		debtest.File{Name: "./usr/bin/weigh", Content: string(program)})
	packages := "weigh"
	for _, name := range a.AddBulk("bookworm", size) {
		packages += ", " + name
	}
	recipe := filepath.Join(t.TempDir(), "bulk")
	if err := os.MkdirAll(recipe, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "name: bulk\nsuite: bookworm\narchitecture: amd64\npackages: [" + packages + "]\n" +
		"files: [{path: /usr/bin/weigh, source: weigh, mode: 0755}]\noci: {entrypoint: [/usr/bin/weigh]}\n"
	if err := os.WriteFile(filepath.Join(recipe, "recipe.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "cp", weigh, recipe)
	builder := b.builder
	builder.Sources = wiring.Sources{Mirror: a.URL, Keyring: a.Keyring}
	if _, _, err := builder.Lock(t.Context(), recipe); err != nil {
		t.Fatal(err)
	}
	l, err := wiring.LoadLocked(recipe)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := builder.OCI(t.Context(), l, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
