package spec

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
)

const withFiles = `{"ignition":{"version":"3.2.0","unknown":1,"config":{"merge":[{"source":"file:///more.ign"}]},
  "security":{"tls":{"certificateAuthorities":[{"source":"\u0066ile:///ca.pem"}]}}},
 "storage":{"files":[{"path":"/a","contents":{"source":"file:///a%20b"},"append":[{"source":"data:,x"}]}]}}`

func TestFileURLsAreReadWhereTheyAreAllowedAndToldWhereNot(t *testing.T) {
	d, err := Loader{Files: true}.Load("stick", []byte(withFiles))
	if err != nil {
		t.Fatal(err)
	}
	c := d.Config
	got := []string{*c.Ignition.Config.Merge[0].Source, *c.Ignition.Security.TLS.CertificateAuthorities[0].Source, *c.Storage.Files[0].Contents.Source, *c.Storage.Files[0].Append[0].Source}
	if want := "file:///more.ign file:///ca.pem file:///a%20b data:,x"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	if len(d.Findings) != 1 || d.Findings[0].String() != "stick:1:32: $.ignition.unknown: the key is unknown, and ignored" {
		t.Errorf("warned of %v", d.Findings)
	}
	_, err = Loader{}.Load("http://h/a", []byte(withFiles))
	const want = `http://h/a:1:73: $.ignition.config.merge[0].source: names a file, and the config did not come from a folder or volume of the machine, ` +
		`want http, https, tftp, s3, arn, gs or data, as far as the version knows it (and 2 more errors)`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	bad := strings.Replace(withFiles, `"path":"/a"`, `"path":"a"`, 1)
	if _, err = (Loader{Files: true}).Load("stick", []byte(bad)); err == nil || err.Error() != `stick:3:30: $.storage.files[0].path: path not absolute, want a path that begins with "/"` {
		t.Errorf("beside a file URL: got %v", err)
	}
}

func TestOnlyWhatComesFromFilesMayNameFiles(t *testing.T) {
	child := `{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/c","contents":{"source":"file:///c"}}]}}`
	inline := "data:;base64,eyJpZ25pdGlvbiI6eyJ2ZXJzaW9uIjoiMy4wLjAifSwic3RvcmFnZSI6eyJmaWxlcyI6W3sicGF0aCI6Ii9jIiwiY29udGVudHMiOnsic291cmNlIjoiZmlsZTovLy9jIn19XX19"
	for source, good := range map[string]bool{"file:///more.ign": true, inline: true, "http://h/more.ign": false} {
		s := &shelf{configs: map[string]string{source: child}}
		first := text(`},"storage":{"files":[{"path":"/a","contents":{"source":"file:///a"}}]}}`, source)
		d, err := Loader{Files: true}.Load("stick", []byte(first))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Renderer{Loader: Loader{Files: true}, Fetch: s.fetch}.Render(t.Context(), "stick", d.Config)
		if good && (err != nil || *got.Config.Storage.Files[1].Contents.Source != "file:///c" || *got.Config.Storage.Files[0].Contents.Source != "file:///a") {
			t.Errorf("%.20s: got %v, %v", source, got, err)
		}
		if !good && (err == nil || !strings.HasPrefix(err.Error(), source+":1:") || !strings.Contains(err.Error(), "names a file, and the config did not come from")) {
			t.Errorf("%.20s: got %v, want it refused", source, err)
		}
	}
}

func TestNothingIsParsedThatIsNotAdmitted(t *testing.T) {
	s := &shelf{configs: map[string]string{
		"first":      text(`}}`, "http://h/a", "data:,not%20even%20JSON"),
		"http://h/a": text(`}}`),
	}}
	refused := errors.New("refused")
	var asked []string
	admit := func(_ context.Context, name string, raw []byte, hashed bool) ([]byte, error) {
		asked = append(asked, name)
		if hashed {
			return nil, refused
		}
		return raw, nil
	}
	d, err := Loader{}.Load("first", []byte(s.configs["first"]))
	if err != nil {
		t.Fatal(err)
	}
	s.configs["data:,not%20even%20JSON"] = "not even JSON"
	_, err = Renderer{Fetch: s.fetch, Admit: admit}.Render(t.Context(), "first", d.Config)
	if !errors.Is(err, refused) || strings.Join(asked, " ") != "http://h/a data:…" {
		t.Errorf("got %v after %q", err, asked)
	}
}

// However a config names files, no mask is left in it, and who may name none
// gets none.
//
//fuzz:parser fileurl.go
func FuzzFileURLs(f *testing.F) {
	f.Add([]byte(withFiles))
	f.Add([]byte(`{"ignition":{"version":"3.0.0","config":{"replace":{"source":"FILE:x"}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if strings.Contains(string(raw), "invalid") {
			return // may be the mask's own name
		}
		if d, err := (Loader{Files: true}).Load("fuzz", raw); err == nil {
			eachSource(reflect.ValueOf(&d.Config).Elem(), func(source string) string {
				if strings.HasPrefix(source, mask) {
					t.Errorf("a mask is left: %q", source)
				}
				return source
			})
		}
		if d, err := (Loader{}).Load("fuzz", raw); err == nil {
			eachSource(reflect.ValueOf(&d.Config).Elem(), func(source string) string {
				if isFileURL(source) {
					t.Errorf("names a file: %q", source)
				}
				return source
			})
		}
	})
}
