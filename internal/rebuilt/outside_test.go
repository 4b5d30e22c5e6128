package rebuilt

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/internal/sign"
)

// openssl knows nothing of DSSE but what is signed: protocol 1.0.2, "PAE".
func TestOpensslVerifiesAStatement(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl: apt-get install openssl")
	}
	var e sign.Envelope
	if err := json.Unmarshal(aStatement(t), &e); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	verify := func(message []byte) error {
		for name, content := range map[string][]byte{"key": publicKey(t).PEM(), "sig": e.Signatures[0].Sig, "message": message} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), tool, "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "message", "-sigfile", "sig")
		cmd.Dir = dir
		return cmd.Run()
	}
	message := sign.PreAuthEncoding(e.PayloadType, e.Payload)
	if err := verify(message); err != nil {
		t.Errorf("openssl: %v", err)
	}
	message[len(message)-1] ^= 1
	if verify(message) == nil {
		t.Error("openssl took another message")
	}
}
