package debtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// A File is a regular file of a package, or a folder where Name ends in a
// slash. Header changes what else the tar says of it; it may be nil.
type File struct {
	Name, Content string
	Header        func(*tar.Header)
}

// Build makes a .deb of a control paragraph and files.
func Build(t testing.TB, control string, files ...File) []byte {
	t.Helper()
	return Ar(
		"debian-binary", []byte("2.0\n"),
		"control.tar.gz", compress(t, string(Tar(t, File{Name: "./control", Content: control}))),
		"data.tar", Tar(t, append([]File{{Name: "./"}}, files...)...))
}

// Tar makes a tar of files.
func Tar(t testing.TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: 0o644, Size: int64(len(f.Content)), Typeflag: tar.TypeReg, ModTime: Now}
		if strings.HasSuffix(f.Name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if f.Header != nil {
			f.Header(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.Content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Ar makes an ar archive of members, each a name (string) and its bytes ([]byte).
func Ar(members ...any) []byte {
	b := []byte("!<arch>\n")
	for i := 0; i+1 < len(members); i += 2 {
		data := members[i+1].([]byte)
		b = append(b, fmt.Sprintf("%-16s%-12d%-6d%-6d%-8o%-10d`\n", members[i], Now.Unix(), 0, 0, 0o100644, len(data))...)
		if b = append(b, data...); len(data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}
