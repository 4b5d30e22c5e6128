package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/api"
)

const goodDocument = `version = "0.1.0"
algorithm = "sha256"
[data]
"holdfast.json" = '''{"image":"r:5000/app@sha256:00","registry":{"url":"https://r","ca":"c"},"broker":{"url":"","ca":""},"process":{},"control":["stop"]}'''
`

// A recorder stands for the TPM and remembers what was measured.
type recorder struct {
	documents [][]byte
	err       error
}

func (r *recorder) MeasureInitData(_ context.Context, document []byte) (sum [sha256.Size]byte, err error) {
	r.documents = append(r.documents, document)
	return sha256.Sum256(document), r.err
}

func handOver(t *testing.T, document string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	entry := filepath.Join(dir, api.InitDataFile)
	if err := os.MkdirAll(entry, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"raw": document, "size": strconv.Itoa(len(document)) + "\n"} {
		if err := os.WriteFile(filepath.Join(entry, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestConfigurationIsReadAsItWasMeasured(t *testing.T) {
	m := new(recorder)
	c, err := configure(context.Background(), m, handOver(t, goodDocument))
	if err != nil {
		t.Fatal(err)
	}
	if string(c.document) != goodDocument || len(m.documents) != 1 || string(m.documents[0]) != goodDocument {
		t.Errorf("measured %q, want the document once, byte for byte", m.documents)
	}
	if c.guest.Image != "r:5000/app@sha256:00" || len(c.guest.Control) != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestWhatCannotBeParsedIsMeasuredAllTheSame(t *testing.T) {
	m := new(recorder)
	if _, err := configure(context.Background(), m, handOver(t, "=== no TOML")); err == nil {
		t.Error("no error")
	}
	if len(m.documents) != 1 {
		t.Errorf("measured %d documents before parsing, want 1", len(m.documents))
	}
}

func TestNothingIsParsedThatWasNotMeasured(t *testing.T) {
	broken := errors.New("the machine has no TPM")
	c, err := configure(context.Background(), &recorder{err: broken}, handOver(t, goodDocument))
	if !errors.Is(err, broken) || c.guest.Image != "" {
		t.Errorf("got %v and image %q, want the measurer's error and no configuration", err, c.guest.Image)
	}
}

func TestDocumentHasToBeThereAndBounded(t *testing.T) {
	m := new(recorder)
	for want, dir := range map[string]string{
		"the host handed over no opt/holdfast/initdata": t.TempDir(),
		"has 0 bytes":       handOver(t, ""),
		"has 1048577 bytes": handOver(t, strings.Repeat(" ", 1<<20+1)),
	} {
		if _, err := configure(context.Background(), m, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if len(m.documents) != 0 {
		t.Errorf("measured %d documents, want none", len(m.documents))
	}
}

func TestUnknownAndUnsupportedAreRefused(t *testing.T) {
	for want, change := range map[string][2]string{
		`version "0.2.0", want 0.1.0`:         {`"0.1.0"`, `"0.2.0"`},
		`algorithm "sha384", want sha256`:     {`"sha256"`, `"sha384"`},
		`unknown key "extra"`:                 {`[data]`, "extra = 1\n[data]"},
		`unknown key "data.\"aa.toml\""`:      {`[data]`, "[data]\n\"aa.toml\" = \"\""},
		`unknown key "Version"`:               {`[data]`, "Version = \"0.1.0\"\n[data]"},
		`unknown key "Data"`:                  {`[data]`, "[Data]"},
		`name "Image" is there twice, or`:     {`"registry"`, `"Image":"r:5000/evil@sha256:00","registry"`},
		`name "image" is there twice, or`:     {`"registry"`, `"image":"r:5000/evil@sha256:00","registry"`},
		`name "ſecrets" is there twice, or`:   {`"registry"`, `"ſecrets":[{"name":"a","resource":"kbs:///a/b/c"}],"registry"`},
		`name "URL" is there twice, or`:       {`"url"`, `"URL"`},
		`nested too deep`:                     {`["stop"]`, strings.Repeat("[", 100)},
		`no "holdfast.json" in [data]`:        {`"holdfast.json" = `, "#"},
		`unknown field "imagination"`:         {`{"image"`, `{"imagination"`},
		`something follows the configuration`: {`}'''`, `} {}'''`},
		`unknown control call "exec"`:         {`"stop"`, `"exec"`},
	} {
		_, err := parseInitData([]byte(strings.Replace(goodDocument, change[0], change[1], 1)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
