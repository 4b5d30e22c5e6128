package clients

import (
	"path/filepath"
	"testing"
)

type skopeo struct{ *testing.T }

// options are those of a command that goes to the registry, with a file of
// credentials that ends with the test.
func (s skopeo) options(h host, who person, side string) []string {
	if h.ca == "" {
		side = "--" + side + "tls-verify=false"
	} else {
		side = "--" + side + "cert-dir=" + filepath.Dir(h.ca)
	}
	return []string{"--authfile=" + authFile(s.T, h, who), side}
}

func (s skopeo) login(h host, who person) error {
	args := append([]string{"login", "--username=" + who.name, "--password-stdin"}, s.options(h, nobody, "")...)
	_, err := run(s.Context(), who.password, "skopeo", append(args, h.address)...)
	return err
}

func (s skopeo) push(h host, who person, layout, ref string) error {
	args := append([]string{"copy", "--preserve-digests"}, s.options(h, who, "dest-")...)
	_, err := run(s.Context(), "", "skopeo", append(args, "oci:"+layout+":v1", "docker://"+ref)...)
	return err
}

func (s skopeo) pull(h host, who person, ref string) (string, error) {
	into := s.TempDir()
	args := append([]string{"copy", "--preserve-digests"}, s.options(h, who, "src-")...)
	if _, err := run(s.Context(), "", "skopeo", append(args, "docker://"+ref, "oci:"+into+":v1")...); err != nil {
		return "", err
	}
	args = append([]string{"inspect", "--format={{.Digest}}"}, s.options(h, who, "")...)
	return run(s.Context(), "", "skopeo", append(args, "docker://"+ref)...)
}

func TestSkopeo(t *testing.T) {
	needs(t, "skopeo", "skopeo")
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { hold(t, skopeo{t}, guarded(t, secure)) })
	}
}
