package diff

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"time"

	"crypto/sha256"
	"encoding/hex"

	"holdfast/internal/boot/squashfs"
	"holdfast/internal/deb"
	"holdfast/internal/oci"
)

// A File is what is compared of one path.
type File struct {
	Type   string            `json:"type"` // file, dir, link, char, block, fifo or socket
	Mode   string            `json:"mode"` // octal, with setuid, setgid and sticky
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Time   time.Time         `json:"mtime"`
	Size   int64             `json:"size"`             // of a file
	Digest oci.Digest        `json:"digest,omitempty"` // of a file
	Target string            `json:"target,omitempty"` // of a link
	Device string            `json:"device,omitempty"` // MAJOR:MINOR
	Xattrs map[string]string `json:"xattrs,omitempty"` // values are as they are, any bytes

	packages []listedPackage // when it is a list of dpkg's
}

var types = map[byte]string{
	tar.TypeReg: "file", tar.TypeDir: "dir", tar.TypeSymlink: "link", tar.TypeChar: "char",
	tar.TypeBlock: "block", tar.TypeFifo: "fifo", squashfs.TypeSocket: "socket",
}

// differs names what is not the same. A link's mode means nothing.
func (f *File) differs(g *File) []string {
	var what []string
	for _, d := range []struct {
		name  string
		other bool
	}{
		{"type", f.Type != g.Type}, {"content", f.Digest != g.Digest || f.Size != g.Size},
		{"mode", f.Mode != g.Mode && f.Type != "link"}, {"owner", f.UID != g.UID || f.GID != g.GID},
		{"target", f.Target != g.Target}, {"device", f.Device != g.Device},
		{"xattrs", !maps.Equal(f.Xattrs, g.Xattrs)}, {"mtime", !f.Time.Equal(g.Time)},
	} {
		if d.other {
			what = append(what, d.name)
		}
	}
	return what
}

func fileOf(kind byte, mode uint32, uid, gid int, at time.Time) *File {
	return &File{Type: types[kind], Mode: fmt.Sprintf("%04o", mode&0o7777), UID: uid, GID: gid, Time: at.UTC()}
}

// fill hashes the file's bytes, and looks into them when they list packages.
func (f *File) fill(name string, r io.Reader) error {
	h := sha256.New()
	n := &count{}
	r = io.TeeReader(r, io.MultiWriter(h, n))
	if listsPackages(name) {
		f.packages = readPackages(r)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("/%s: %w", name, err)
	}
	f.Size, f.Digest = n.bytes, oci.Digest("sha256:"+hex.EncodeToString(h.Sum(nil)))
	return nil
}

type count struct{ bytes int64 }

func (c *count) Write(p []byte) (int, error) { c.bytes += int64(len(p)); return len(p), nil }

type listedPackage struct{ name, version string }

// listsPackages knows where dpkg keeps what is installed, and where images
// without dpkg keep the same, a file for each package.
func listsPackages(name string) bool {
	return name == "var/lib/dpkg/status" || path.Dir(name) == "var/lib/dpkg/status.d" && !strings.HasSuffix(name, ".md5sums")
}

// readPackages stops at what is no control file: the file's bytes are compared
// anyhow.
func readPackages(r io.Reader) (list []listedPackage) {
	for p, err := range deb.Paragraphs(r) {
		if err != nil {
			return list
		}
		status := p.Get("Status")
		if name := p.Get("Package"); name != "" && (status == "" || strings.HasSuffix(status, " installed")) {
			list = append(list, listedPackage{name, p.Get("Version")})
		}
	}
	return list
}

// collectPackages gathers what the files list. A second architecture's package
// is told apart by its version alone.
func (c *content) collectPackages() {
	for _, f := range c.files {
		for _, p := range f.packages {
			c.packages[p.name] = p.version
		}
	}
}
