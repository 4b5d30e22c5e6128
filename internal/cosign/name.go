package cosign

import (
	"fmt"
	"regexp"
	"strings"

	"holdfast/internal/oci"
)

// A Name is how an image in a registry is called: HOST[:PORT]/PATH, and a tag,
// a digest or both.
type Name struct {
	Repository string // with the host
	Tag        string
	Digest     oci.Digest
}

var (
	hostForm = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)
	// pathForm and tagForm are the distribution spec's grammar, "Pulling manifests".
	pathForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// ParseName reads a name in full: with its host, and nothing is added.
func ParseName(s string) (Name, error) {
	rest, digest, pinned := strings.Cut(s, "@")
	var n Name
	n.Repository = rest
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		n.Repository, n.Tag = rest[:i], rest[i+1:]
		if !tagForm.MatchString(n.Tag) {
			return Name{}, fmt.Errorf("image name %.200q: tag %.80q: want letters, digits, and then _ . - too", s, n.Tag)
		}
	}
	host, path, _ := strings.Cut(n.Repository, "/")
	if len(s) > 1024 || !hostForm.MatchString(host) || !pathForm.MatchString(path) {
		return Name{}, fmt.Errorf("image name %.200q: want HOST[:PORT]/PATH[:TAG][@DIGEST]", s)
	}
	if host == "index.docker.io" { // as some libraries call it
		n.Repository = "docker.io/" + path
	}
	var err error
	if pinned {
		n.Digest, err = oci.ParseDigest(digest)
	}
	return n, err
}

func (n Name) String() string {
	s := n.Repository
	if n.Tag != "" {
		s += ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + string(n.Digest)
	}
	return s
}

// Path is the repository without its host.
func (n Name) Path() string {
	_, path, _ := strings.Cut(n.Repository, "/")
	return path
}
