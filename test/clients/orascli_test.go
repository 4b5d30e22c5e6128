package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// orasProgram is the program itself, as people run it.
type orasProgram struct {
	*testing.T
	program string
}

func newOrasProgram(t *testing.T) orasProgram {
	t.Helper()
	program := os.Getenv("HOLDFAST_TEST_ORAS")
	if program == "" {
		t.Skip("pushes and pulls with oras 1.3: make test builds it, or give the program in HOLDFAST_TEST_ORAS")
	}
	return orasProgram{t, program}
}

// options are those of a command that goes to the registry, for one side of a
// copy or for its only one.
func (o orasProgram) options(h host, who person, side string) []string {
	list := []string{"--" + side + "registry-config=" + authFile(o.T, h, who)}
	if h.ca == "" {
		return append(list, "--"+side+"plain-http")
	}
	return append(list, "--"+side+"ca-file="+h.ca)
}

func (o orasProgram) do(stdin string, args ...string) (string, error) {
	return run(o.Context(), stdin, o.program, args...)
}

func (o orasProgram) login(h host, who person) error {
	args := append([]string{"login", "--username=" + who.name, "--password-stdin"}, o.options(h, nobody, "")...)
	_, err := o.do(who.password, append(args, h.address)...)
	return err
}

func (o orasProgram) push(h host, who person, layout, ref string) error {
	args := append([]string{"copy", "--from-oci-layout"}, o.options(h, who, "to-")...)
	_, err := o.do("", append(args, layout+":v1", ref)...)
	return err
}

func (o orasProgram) pull(h host, who person, ref string) (string, error) {
	args := append([]string{"copy", "--to-oci-layout"}, o.options(h, who, "from-")...)
	if _, err := o.do("", append(args, ref, o.TempDir()+":v1")...); err != nil {
		return "", err
	}
	return o.do("", append(append([]string{"resolve"}, o.options(h, who, "")...), ref)...)
}

func TestOrasProgram(t *testing.T) {
	o := newOrasProgram(t)
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { hold(t, orasProgram{t, o.program}, guarded(t, secure)) })
	}
}

func TestOrasProgramAttachesAndDiscovers(t *testing.T) {
	o, h := newOrasProgram(t), serve(t, nil)
	dir, digest := layout(t, t.Name())
	ref := h.address + "/app:v1"
	if err := o.push(h, nobody, dir, ref); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(t.TempDir(), "note.txt")
	write(t, note, "a note")
	plain := o.options(h, nobody, "")
	if _, err := o.do("", append(append([]string{"attach", "--disable-path-validation", "--artifact-type=" + noteType}, plain...), ref, note)...); err != nil {
		t.Fatal(err)
	}
	out, err := o.do("", append(append([]string{"discover", "--format=json"}, plain...), ref)...)
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Referrers []struct{ Digest, ArtifactType string } `json:"referrers"`
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found.Referrers) != 1 || found.Referrers[0].ArtifactType != noteType {
		t.Fatalf("oras discovers %s, %v", out, err)
	}
	if got := (craneClient{t}).referrers(h.address+"/app@"+digest, noteType); got != found.Referrers[0].Digest {
		t.Errorf("go-containerregistry finds %q, want %s", got, found.Referrers[0].Digest)
	}
}
