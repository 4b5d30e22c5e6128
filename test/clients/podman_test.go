package clients

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"
)

// authFile is what "docker login" and "podman login" write.
func authFile(t *testing.T, h host, who person) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	text := `{"auths": {}}`
	if who != nobody {
		login := base64.StdEncoding.EncodeToString([]byte(who.name + ":" + who.password))
		text = fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, h.address, login)
	}
	write(t, path, text)
	return path
}

// podman is podman or buildah, which have their words in common; each holds
// its images in a folder of the test.
type podman struct {
	*testing.T
	program string
	global  []string
}

func newPodman(t *testing.T, program string) podman {
	needs(t, program, program)
	needsRoot(t)
	dir := t.TempDir()
	t.Cleanup(func() { _, _ = run(t.Context(), "", "rm", "-rf", dir) })
	return podman{t, program, []string{"--root=" + filepath.Join(dir, "root"), "--runroot=" + filepath.Join(dir, "run"), "--storage-driver=vfs"}}
}

func (p podman) run(h host, who person, stdin string, verb string, args ...string) (string, error) {
	words := append(append([]string{}, p.global...), verb, "--authfile="+authFile(p.T, h, who))
	if h.ca == "" {
		words = append(words, "--tls-verify=false")
	} else {
		words = append(words, "--cert-dir="+filepath.Dir(h.ca))
	}
	return run(p.Context(), stdin, p.program, append(words, args...)...)
}

func (p podman) login(h host, who person) error {
	_, err := p.run(h, nobody, who.password, "login", "--username="+who.name, "--password-stdin", h.address)
	return err
}

func (p podman) push(h host, who person, layout, ref string) error {
	id, err := run(p.Context(), "", p.program, append(append([]string{}, p.global...), "pull", "-q", "oci:"+layout+":v1")...)
	if err != nil {
		return err
	}
	_, err = p.run(h, who, "", "push", "-q", id, "docker://"+ref)
	return err
}

func (p podman) pull(h host, who person, ref string) (string, error) {
	if _, err := run(p.Context(), "", p.program, append(append([]string{}, p.global...), "rmi", "--all", "--force")...); err != nil {
		return "", err
	}
	id, err := p.run(h, who, "", "pull", "-q", "docker://"+ref)
	if err != nil {
		return "", err
	}
	words := []string{"inspect", "--type=image", "--format={{.Digest}}", id}
	if p.program == "buildah" {
		words[2] = "--format={{.FromImageDigest}}"
	}
	return run(p.Context(), "", p.program, append(append([]string{}, p.global...), words...)...)
}

func TestPodman(t *testing.T) { hold(t, newPodman(t, "podman"), guarded(t, true)) }
