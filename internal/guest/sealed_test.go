package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/api"
	"holdfast/internal/enc/sealed"
)

const (
	signerName = "kbs:///default/signing-key/k"
	secretName = "kbs:///default/secret/password"
)

// sealing makes sealed secrets, and a broker that can open them.
func sealing(t *testing.T, content string) (text string, b fakeBroker) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "enc", "sealed", "testdata", "test-key.json"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sealed.PrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = sealed.Seal(sealed.NewVault(secretName), signerName, key); err != nil {
		t.Fatal(err)
	}
	return text, fakeBroker{signerName: raw, secretName: []byte(content)}
}

func TestSealedVariablesAndFilesAreUnsealed(t *testing.T) {
	text, broker := sealing(t, "hunter2")
	g := &guest{Config: Config{Broker: broker, Guest: api.GuestConfig{
		Process: api.Process{Env: []string{"PASSWORD=" + text, "REPLACED=plain", "LIKE=sealedtext"}},
		Secrets: []api.SecretRef{{Name: "file", Sealed: text}},
	}}, image: new(image)}
	g.image.config.Config = v1.ImageConfig{Env: []string{"OWN=" + text, "REPLACED=sealed.of.no.use"}}
	files := map[string][]byte{}
	if err := g.fetchSecrets(t.Context(), files); err != nil || !bytes.Equal(files["file"], []byte("hunter2")) {
		t.Fatalf("got %q, %v", files, err)
	}
	env := spec{image: g.image.config.Config, process: g.Guest.Process, unsealed: g.unsealed}.env()
	for _, want := range []string{"PASSWORD=hunter2", "OWN=hunter2", "REPLACED=plain", "LIKE=sealedtext"} {
		if !slices.Contains(env, want) {
			t.Errorf("got %q, want %s", env, want)
		}
	}
}

func TestSealedVariablesThatCannotBeOpenedAreTold(t *testing.T) {
	text, broker := sealing(t, "a\x00b")
	for want, c := range map[string]Config{
		"variable V: the secret has a zero byte":    {Broker: broker},
		"variable V: is a sealed secret, but there": {},
		"variable V: fetch the key that signed":     {Broker: fakeBroker{}},
	} {
		c.Guest.Process.Env = []string{"V=" + text}
		g := &guest{Config: c, image: new(image)}
		if err := g.fetchSecrets(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
